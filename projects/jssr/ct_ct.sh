#!/usr/bin/env bash
# CT in three phases aligned to the venous one: tables 1 and 2 of the JSSR paper with its systems at equal steps of the
# register. docs/notebook, "The paper's comparison, CT to CT".
. "$(dirname "$0")/../common.sh"

phantoms target --patients 64 --seed 1
phantoms labelled --patients 48 --seed 2 --population supervised
phantoms test40 --patients 40 --seed 3
prepared target
prepared labelled

data=(--data "$RUNS/target-prepared" --set 'training.patch=[80,64,48]')
segment=(--supervised "$RUNS/labelled-prepared" --set training.stages.segment.steps=500)
joint=("${segment[@]}" --set training.stages.align.steps=1000 --set training.stages.joint.steps=500)
lapirn=()
for stage in coarse=300 middle-alone=100 middle=300 fine-alone=200 fine=600; do
    lapirn+=(--set "training.stages.${stage/=/.steps=}")
done
trained ct-ct-runs/jssr jssr-compact "${data[@]}" "${joint[@]}"
trained ct-ct-runs/jssr-commute projects/jssr/commute.py "${data[@]}" "${joint[@]}"
trained ct-ct-runs/jssr-raw projects/jssr/raw.py "${data[@]}" "${joint[@]}"
trained ct-ct-runs/jsegr projects/jssr/jsegr.py "${data[@]}" "${segment[@]}" --set training.stages.joint.steps=1500
trained ct-ct-runs/jsynr projects/jssr/jsynr.py "${data[@]}" --set training.stages.align.steps=1500
trained ct-ct-runs/voxelmorph projects/jssr/voxelmorph.py "${data[@]}" --set training.stages.align.steps=1500
trained ct-ct-runs/voxelmorph-mind projects/jssr/voxelmorph_mind.py "${data[@]}" --set training.stages.align.steps=1500
trained ct-ct-runs/lapirn projects/jssr/lapirn.py "${data[@]}" "${lapirn[@]}"
trained ct-ct-runs/pix2pix projects/jssr/pix2pix.py "${data[@]}" --set training.stages.synthesise.steps=1500
trained ct-ct-runs/vnet projects/jssr/vnet.py "${data[@]}" --supervised "$RUNS/labelled-prepared" --set training.stages.segment.steps=1000

ours=$RUNS/ct-ct-runs
first=("$ours"/{jssr,jsynr,jsegr} "projects/jssr/voxelmorph.py:$ours/voxelmorph"
    "projects/jssr/voxelmorph_mind.py:$ours/voxelmorph-mind" "projects/jssr/lapirn.py:$ours/lapirn"
    "$ours"/{jssr-commute,jssr-raw} "$SHIPPED")
second=("projects/jssr/vnet.py:$ours/vnet" "$ours"/{jsegr,jssr,jsynr} "projects/jssr/pix2pix.py:$ours/pix2pix")
$JSSR benchmark "$RUNS/test40" --split all -o "$RUNS/ct-ct-tables" --workers "$WORKERS" --against jssr \
    "${first[@]/#/--run=}" --tool discrete "${second[@]/#/--synthesis=}"
