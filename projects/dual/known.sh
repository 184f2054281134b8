#!/usr/bin/env bash
# The dual register beside one modality alone, three seeds each, on pelves in CT and T2-like MR; the register begins as one that knows
# bodies.
. "$(dirname "$0")/../common.sh"
PYTHON=${PYTHON:-.venv/bin/python}

phantoms pelves-few --anatomy pelvis --paired --patients 24 --seed 1
prepared pelves-few --recipe projects/dual/dual_known.py
once dual-begin $PYTHON projects/dual/begin.py "$RUNS/dual-begin.safetensors"

alone() {  # alone TERM: supervised by one modality
    echo --set "training.stages.align.weights={\"$1\":1,\"laplace\":0.5,\"size\":0.01}"
}
for seed in 0 1 2; do
    data=(--data "$RUNS/pelves-few-prepared" --start-from "$RUNS/dual-begin.safetensors" --set "training.seed=$seed")
    trained "dual-known-runs/dual-$seed" projects/dual/dual_known.py "${data[@]}"
    trained "dual-known-runs/ct-$seed" projects/dual/dual_known.py "${data[@]}" $(alone fixed_like)
    trained "dual-known-runs/mr-$seed" projects/dual/dual_known.py "${data[@]}" $(alone moving_like)
done

phantoms pelves-test --anatomy pelvis --patients 20 --seed 11
$JSSR benchmark "$RUNS/pelves-test" --split all -o "$RUNS/dual-known-tables" --threads 1 --against dual-0 \
    $(printf -- "--run=%s " "$RUNS"/dual-known-runs/*) --run register-compact --peer discrete
$PYTHON projects/seeds.py "$RUNS/dual-known-tables" --against dual
