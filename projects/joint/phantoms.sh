#!/usr/bin/env bash
# The paper's comparison with networks that already know bodies: JSSR, JSynR, JSegR and V-Net of bodies, three seeds each.
# Phantom patients in four phases have no labels; painted bodies have. Judged on 20 other phantom patients.
. "$(dirname "$0")/../common.sh"
PYTHON=${PYTHON:-.venv/bin/python}

phantoms joint-target --patients 16 --seed 21 --phases non-contrast,arterial,venous,delay
phantoms test20 --patients 20 --seed 3 --phases non-contrast,arterial,venous,delay,t1
once painted $PYTHON projects/joint/pictures.py "$RUNS/painted" --count 120
prepared painted --recipe jssr-body --no-rigid
once joint-target-unlabelled $PYTHON projects/joint/unlabelled.py "$RUNS/joint-target"
prepared joint-target --recipe jssr-body

size=(--set 'training.patch=[64,64,48]')
few=(--set training.stages.joint.steps=200)
fewer=(--set training.stages.synthesise.steps=100)
data=(--data "$RUNS/joint-target-prepared" "${size[@]}" "${few[@]}")
labelled=(--supervised "$RUNS/painted-prepared")
for seed in 0 1 2; do
    with=(--set "training.seed=$seed")
    both=(--start-from register-compact --start-from body-compact "${with[@]}")
    trained "joint-runs/jssr-$seed" jssr-body "${data[@]}" "${fewer[@]}" "${labelled[@]}" "${both[@]}"
    trained "joint-runs/jsegr-$seed" projects/joint/jsegr_body.py "${data[@]}" "${labelled[@]}" "${both[@]}"
    trained "joint-runs/jsynr-$seed" projects/joint/jsynr_body.py "${data[@]}" "${fewer[@]}" --start-from register-compact "${with[@]}"
    trained "joint-runs/vnet-$seed" projects/joint/vnet_body.py "${data[@]}" "${labelled[@]}" --start-from body-compact "${with[@]}"
done

once judged $PYTHON projects/register/cohorts.py "$RUNS/test20" "$RUNS/judged"
aligning=("$RUNS"/joint-runs/js*)
$JSSR benchmark "$RUNS/judged/ct" --split all -o "$RUNS/joint-tables" --threads 1 --against jssr-0 \
    "${aligning[@]/#/--run=}" --run register-compact --peer discrete
$PYTHON projects/joint/tables.py "$RUNS/joint-runs" "$RUNS/judged/ct" "$RUNS/joint-tables"
