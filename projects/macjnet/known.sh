#!/usr/bin/env bash
# macJNet beside its register alone, macMIND beside MIND, three seeds each, on CT and T1-like MR; the register begins as one
# that knows bodies, the segmentors learn once before, the same for all. 30 % of the training pairs have label maps, as in the paper.
. "$(dirname "$0")/../common.sh"
PYTHON=${PYTHON:-.venv/bin/python}

phantoms macjnet-bodies --patients 24 --seed 41 --phases venous,t1
prepared macjnet-bodies --recipe projects/macjnet/macjnet_known.py

data=(--data "$RUNS/macjnet-bodies-prepared")
few=(--set training.labelled=0.3)
runs="$RUNS/known-runs"
trained "known-runs/segmentors" projects/macjnet/segmentors.py "${data[@]}" "${few[@]}" \
    --set 'preprocessing.spacing=[3,3,3]' --set 'training.patch=[48,48,32]' --set training.stages.segment.steps=500
mind=(--set 'network.options={"similarity":"mind","carried":true}' --set training.stages.joint.weights.sim3=20)
both=(--start-from register-compact --start-from "$runs/segmentors" "${few[@]}")
for seed in 0 1 2; do
    with=("${data[@]}" --set "training.seed=$seed")
    trained "known-runs/macjnet-$seed" projects/macjnet/macjnet_known.py "${with[@]}" "${both[@]}"
    trained "known-runs/register-$seed" projects/macjnet/macjnet_known_register.py "${with[@]}" --start-from register-compact
    trained "known-runs/macjnet_mind-$seed" projects/macjnet/macjnet_known.py "${with[@]}" "${both[@]}" "${mind[@]}"
done

phantoms test20 --patients 20 --seed 3 --phases non-contrast,arterial,venous,delay,t1
once judged $PYTHON projects/register/cohorts.py "$RUNS/test20" "$RUNS/judged"
aligning=("$RUNS"/known-runs/{macjnet,register,macjnet_mind}-[012])
$JSSR benchmark "$RUNS/judged/t1" --split all -o "$RUNS/known-tables" --threads 1 --against macjnet-0 \
    "${aligning[@]/#/--run=}" --run register-compact --peer discrete
$PYTHON projects/seeds.py "$RUNS/known-tables" --against macjnet
