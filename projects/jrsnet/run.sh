#!/usr/bin/env bash
# JRS-Net and its baselines on radiographs: table 1 of its paper, on phantoms and on real films. DATA is a folder with
# the real ones (projects/jrsnet/real_radiographs.py says which); without it the phantoms alone. docs/notebook, "JRS-Net".
. "$(dirname "$0")/../common.sh"

phantoms chests --anatomy thorax --patients 100 --seed 1
phantoms chests-test --anatomy thorax --patients 20 --seed 11
prepared chests --recipe jrsnet-compact
trained chest-runs/jrsnet jrsnet-compact --data "$RUNS/chests-prepared"
trained chest-runs/jrsnet-noseg projects/jrsnet/noseg.py --data "$RUNS/chests-prepared"
trained chest-runs/dirnet projects/jrsnet/dirnet.py --data "$RUNS/chests-prepared"
trained chest-runs/flownet projects/jrsnet/flownet.py --data "$RUNS/chests-prepared"
runs=("$RUNS"/chest-runs/{jrsnet,jrsnet-noseg} "projects/jrsnet/dirnet.py:$RUNS/chest-runs/dirnet"
    "projects/jrsnet/flownet.py:$RUNS/chest-runs/flownet")
table() {
    $JSSR benchmark "$RUNS/$1" --split all -o "$RUNS/$1-tables" "${runs[@]/#/--run=}" --refined "${runs[0]}" --refine 40 \
        --tool elastix --tool discrete --structure lungs
}
table chests-test
if [ -n "${DATA:-}" ]; then
    once rays .venv/bin/python projects/jrsnet/real_radiographs.py "$DATA" "$RUNS/rays"
    table rays/made
    # What phantoms taught, and then real films of other patients and another hospital.
    prepared rays/films --recipe jrsnet-compact
    trained chest-runs/jrsnet-films jrsnet-compact --data "$RUNS/rays/films-prepared" \
        --start-from "$RUNS/chest-runs/jrsnet" --set training.stages.begin.steps=2000 --set training.stages.joint.steps=0
    runs=("$RUNS/chest-runs/jrsnet-films" "${runs[@]}")
    table rays/visits
fi
