#!/usr/bin/env bash
# The dual register on pelves, CT and T2-like MR: table 1 of its paper. docs/notebook, "The dual register".
. "$(dirname "$0")/../common.sh"

phantoms pelves --anatomy pelvis --paired --patients 100 --seed 1
phantoms pelves-test --anatomy pelvis --patients 20 --seed 11
prepared pelves --recipe dual-compact

data=(--data "$RUNS/pelves-prepared")
by() {  # by TERM: whole volumes, supervised by that term alone
    echo --set "training.stages.begin.weights={\"$1\":1,\"laplace\":0.01,\"size\":0.001}"
    echo --set "training.stages.align.weights={\"$1\":1,\"laplace\":0.5,\"size\":0.01}"
}
trained pelvis-runs/dual dual-compact "${data[@]}"
trained pelvis-runs/dual-ct projects/dual/ct.py "${data[@]}"
trained pelvis-runs/dual-mr projects/dual/mr.py "${data[@]}"
trained pelvis-runs/dual-volume dual-volume-compact "${data[@]}"
trained pelvis-runs/volume-ct dual-volume-compact "${data[@]}" $(by fixed_like)
trained pelvis-runs/volume-mr dual-volume-compact "${data[@]}" $(by moving_like)
# 2000 steps more: smoothness between the two of the recipe, then the recipe's.
on() {  # on RUN: goes on from it
    echo --start-from "$RUNS/pelvis-runs/$1" --set training.stages.begin.steps=1500 --set training.stages.align.steps=500
    echo --set training.stages.begin.weights.laplace=0.05 --set training.stages.begin.weights.size=0.005
}
trained pelvis-runs/dual-long dual-compact "${data[@]}" $(on dual)
trained pelvis-runs/dual-volume-long dual-volume-compact "${data[@]}" $(on dual-volume) \
    --set training.augment.p_moving_elastic=0.5

runs=("$RUNS"/pelvis-runs/{dual,dual-ct,dual-mr,dual-long,dual-volume,volume-ct,volume-mr,dual-volume-long})
organs=(bladder prostate rectum)
for against in syn-mi dual dual-volume; do  # the rows are measured once
    $JSSR benchmark "$RUNS/pelves-test" --split all -o "$RUNS/pelves-tables" --workers "$WORKERS" "${runs[@]/#/--run=}" \
        --against "$against" --tool affine --tool syn-mi --tool discrete "${organs[@]/#/--structure=}"
    cp "$RUNS/pelves-tables/tables.md" "$RUNS/pelves-tables/against-$against.md"
done
