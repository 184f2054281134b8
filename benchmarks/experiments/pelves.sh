#!/usr/bin/env bash
# The dual register on pelves, CT and T2-like MR: table 1 of its paper. docs/results.md, "The dual register".
. "$(dirname "$0")/common.sh"

phantoms pelves --anatomy pelvis --paired --patients 40 --seed 1
phantoms pelves-test --anatomy pelvis --patients 20 --seed 11
prepared pelves --recipe dual-compact
data=(--data "$RUNS/pelves-prepared")
for recipe in dual dual-ct dual-mr dual-volume; do
    trained "pelvis-runs/$recipe" "$recipe-compact" "${data[@]}"
done
trained pelvis-runs/dual-direct dual-direct-compact "${data[@]}" --set stages.align.steps=900
runs=("$RUNS"/pelvis-runs/{dual,dual-ct,dual-mr,dual-direct,dual-volume})
organs=(bladder prostate rectum)
$JSSR benchmark "$RUNS/pelves-test" --split all -o "$RUNS/pelves-tables" --workers "$WORKERS" "${runs[@]/#/--run=}" \
    --tool affine --tool syn-mi --tool discrete "${organs[@]/#/--structure=}"
