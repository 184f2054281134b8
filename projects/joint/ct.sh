#!/usr/bin/env bash
# JSSR, JSynR, JSegR and V-Net of bodies on real CT in three phases, three seeds each; painted bodies have the labels.
# DATA is the folder with hcc_tace_ct: DATA=... bash projects/joint/ct.sh
. "$(dirname "$0")/../common.sh"
PYTHON=${PYTHON:-.venv/bin/python}

once painted-ct $PYTHON projects/joint/pictures.py "$RUNS/painted-ct"
once hcc $PYTHON projects/joint/target.py "$DATA" "$RUNS/hcc"
prepared painted-ct --recipe jssr-body --no-rigid
prepared hcc --recipe jssr-body

data=(--data "$RUNS/hcc-prepared")
labelled=(--supervised "$RUNS/painted-ct-prepared" --start-from body-compact)
register=(--start-from register-compact)
for seed in 0 1 2; do
    with=(--set "training.seed=$seed")
    trained "joint-ct-runs/jssr-$seed" jssr-body "${data[@]}" "${labelled[@]}" "${register[@]}" "${with[@]}"
    trained "joint-ct-runs/jsegr-$seed" projects/joint/jsegr_body.py "${data[@]}" "${labelled[@]}" "${register[@]}" "${with[@]}"
    trained "joint-ct-runs/jsynr-$seed" projects/joint/jsynr_body.py "${data[@]}" "${register[@]}" "${with[@]}"
    trained "joint-ct-runs/vnet-$seed" projects/joint/vnet_body.py "${data[@]}" "${labelled[@]}" "${with[@]}"
done
