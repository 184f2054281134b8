#!/usr/bin/env bash
# macJNet, its ablations and shares of labels on CT and T1-like MR: tables 2 to 8 of its paper at a reduced size.
# docs/results.md, "macJNet".
. "$(dirname "$0")/common.sh"

phantoms ct-mr --patients 64 --seed 21 --phases venous,t1
phantoms ct-mr-test --patients 20 --seed 31 --phases venous,t1
prepared ct-mr

data=(--data "$RUNS/ct-mr-prepared" --set 'patch=[80,64,48]')
lapirn=()
for stage in coarse=300 middle-alone=100 middle=300 fine-alone=200 fine=600; do
    lapirn+=(--set "stages.${stage/=/.steps=}")
done
mind=(--set 'options={"similarity":"mind"}')
for level in coarse.weights.sim1 middle.weights.sim2 fine.weights.sim3; do
    mind+=(--set "stages.$level=20")
done
trained macjnet-runs/macjnet macjnet-compact "${data[@]}"
trained macjnet-runs/macjnet-mind macjnet-mind-compact "${data[@]}"
trained macjnet-runs/macjnet-mi macjnet-mi-compact "${data[@]}"
trained macjnet-runs/register macjnet-register-compact "${data[@]}"
trained macjnet-runs/register-mind macjnet-register-compact "${data[@]}" "${mind[@]}"
trained macjnet-runs/segmentors macjnet-segmentors-compact "${data[@]}"
for share in 0.05 0.1 1.0; do
    trained "macjnet-runs/macjnet-$share" macjnet-compact "${data[@]}" --set "labelled=$share"
done
set_roles=(--set anchor=venous --set moving=t1)
trained macjnet-runs/voxelmorph-mind voxelmorph-mind-compact "${data[@]}" "${set_roles[@]}" --set stages.align.steps=1500
trained macjnet-runs/lapirn-mind lapirn-mind-compact "${data[@]}" "${set_roles[@]}" "${lapirn[@]}"

runs=("$RUNS"/macjnet-runs/{macjnet,macjnet-mind,macjnet-mi,register,register-mind,macjnet-0.05,macjnet-0.1,macjnet-1.0,voxelmorph-mind,lapirn-mind})
$JSSR benchmark "$RUNS/ct-mr-test" --split all -o "$RUNS/macjnet-tables" --workers "$WORKERS" --likeness \
    --structure liver --structure liver_tumour "${runs[@]/#/--run=}" --tool discrete --tool elastix
for run in macjnet segmentors; do
    $JSSR evaluate "$RUNS/ct-mr-test" --split all --checkpoint "$RUNS/macjnet-runs/$run" --workers "$WORKERS" \
        -o "$RUNS/macjnet-segments-$run"
done
