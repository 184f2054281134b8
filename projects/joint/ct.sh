#!/usr/bin/env bash
# JSSR, JSynR, JSegR and V-Net of bodies on real CT in three phases, three seeds each; painted bodies have the labels.
# DATA is the folder with hcc_tace_ct; REGISTER a run of projects/register/train.py.
. "$(dirname "$0")/../common.sh"
PYTHON=${PYTHON:-.venv/bin/python}

once painted $PYTHON projects/joint/pictures.py "$RUNS/painted"
once hcc $PYTHON projects/joint/target.py "$DATA" "$RUNS/hcc"
prepared painted --recipe jssr-body --no-rigid
prepared hcc --recipe jssr-body

data=(--data "$RUNS/hcc-prepared")
labelled=(--supervised "$RUNS/painted-prepared" --start-from body-compact)
register=(--start-from "$REGISTER")
for seed in 0 1 2; do
    with=(--set "training.seed=$seed")
    trained "joint-runs/jssr-$seed" jssr-body "${data[@]}" "${labelled[@]}" "${register[@]}" "${with[@]}"
    trained "joint-runs/jsegr-$seed" projects/joint/jsegr_body.py "${data[@]}" "${labelled[@]}" "${register[@]}" "${with[@]}"
    trained "joint-runs/jsynr-$seed" projects/joint/jsynr_body.py "${data[@]}" "${register[@]}" "${with[@]}"
    trained "joint-runs/vnet-$seed" projects/joint/vnet_body.py "${data[@]}" "${labelled[@]}" "${with[@]}"
done
