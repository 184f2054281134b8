#!/usr/bin/env bash
# CT before contrast and in the arterial phase, aligned to T1-like MR: the JSSR paper's systems where appearances are
# far apart. docs/notebook, "CT to T1".
. "$(dirname "$0")/../common.sh"

phantoms ct-t1 --patients 64 --seed 1 --phases t1,non-contrast,arterial
phantoms ct-t1-labelled --patients 48 --seed 2 --population supervised --phases t1
phantoms ct-t1-test --patients 20 --seed 11 --phases t1,non-contrast,arterial
prepared ct-t1
prepared ct-t1-labelled

data=(--data "$RUNS/ct-t1-prepared" --set preprocessing.reference_phase=t1 --set 'training.patch=[80,64,48]' --set training.schedule_by=network)
labelled=(--supervised "$RUNS/ct-t1-labelled-prepared" --set training.stages.segment.steps=500)
trained ct-t1-runs/jsynr projects/jssr/jsynr.py "${data[@]}" --set training.stages.align.steps=1500
trained ct-t1-runs/jssr jssr-compact "${data[@]}" "${labelled[@]}" --set training.stages.align.steps=1000 --set training.stages.joint.steps=500
trained ct-t1-runs/jsegr projects/jssr/jsegr.py "${data[@]}" "${labelled[@]}" --set training.stages.joint.steps=1500
smoother=(--set training.stages.align.weights.smooth=6)  # the recipes have 2, which suits CT to CT
trained ct-t1-runs/jsynr-smooth projects/jssr/jsynr.py "${data[@]}" --set training.stages.align.steps=1500 "${smoother[@]}"
smoother+=(--set training.stages.joint.weights.smooth=6)
trained ct-t1-runs/jssr-smooth jssr-compact "${data[@]}" "${labelled[@]}" --set training.stages.align.steps=1000 --set training.stages.joint.steps=500 \
    "${smoother[@]}"
trained ct-t1-runs/voxelmorph-mind projects/jssr/voxelmorph_mind.py "${data[@]}" --set training.stages.align.steps=1500

runs=("$RUNS"/ct-t1-runs/{jssr,jssr-smooth,jsynr,jsynr-smooth,jsegr} "projects/jssr/voxelmorph_mind.py:$RUNS/ct-t1-runs/voxelmorph-mind")
$JSSR benchmark "$RUNS/ct-t1-test" --split all -o "$RUNS/ct-t1-tables" --workers "$WORKERS" --against jssr-smooth \
    "${runs[@]/#/--run=}" --tool discrete
