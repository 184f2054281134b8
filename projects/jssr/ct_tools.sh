#!/usr/bin/env bash
# Systems and tools on four phantom patients, one process with all threads, nothing beside: seconds count.
# docs/notebook, "Beside the tools people use".
. "$(dirname "$0")/../common.sh"

phantoms test4 --patients 4 --seed 3
tools=(discrete greedy greedy-mi convexadam affine syn-mi elastix)
command -v deedsBCV > /dev/null && tools+=(deeds)
$JSSR benchmark "$RUNS/test4" --split all -o "$RUNS/ct-tools" --run "$SHIPPED" --refined "$SHIPPED" "${tools[@]/#/--tool=}"
