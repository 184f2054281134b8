#!/usr/bin/env bash
# CT in three phases aligned to the venous one: tables 1 and 2 of the JSSR paper with its systems at equal steps of the
# register. docs/notebook, "The paper's comparison, CT to CT".
. "$(dirname "$0")/common.sh"

phantoms target --patients 64 --seed 1
phantoms labelled --patients 48 --seed 2 --population supervised
phantoms test40 --patients 40 --seed 3
prepared target
prepared labelled

data=(--data "$RUNS/target-prepared" --set 'patch=[80,64,48]')
segment=(--supervised "$RUNS/labelled-prepared" --set stages.segment.steps=500)
joint=("${segment[@]}" --set stages.align.steps=1000 --set stages.joint.steps=500)
lapirn=()
for stage in coarse=300 middle-alone=100 middle=300 fine-alone=200 fine=600; do
    lapirn+=(--set "stages.${stage/=/.steps=}")
done
trained ct-ct-runs/jssr jssr-compact "${data[@]}" "${joint[@]}"
trained ct-ct-runs/jssr-commute jssr-commute-compact "${data[@]}" "${joint[@]}"
trained ct-ct-runs/jssr-raw jssr-raw-compact "${data[@]}" "${joint[@]}"
trained ct-ct-runs/jsegr jsegr-compact "${data[@]}" "${segment[@]}" --set stages.joint.steps=1500
trained ct-ct-runs/jsynr jsynr-compact "${data[@]}" --set stages.align.steps=1500
trained ct-ct-runs/voxelmorph voxelmorph-compact "${data[@]}" --set stages.align.steps=1500
trained ct-ct-runs/voxelmorph-mind voxelmorph-mind-compact "${data[@]}" --set stages.align.steps=1500
trained ct-ct-runs/lapirn lapirn-compact "${data[@]}" "${lapirn[@]}"
trained ct-ct-runs/pix2pix pix2pix-compact "${data[@]}" --set stages.synthesise.steps=1500
trained ct-ct-runs/vnet vnet-compact "${data[@]}" --supervised "$RUNS/labelled-prepared" --set stages.segment.steps=1000

first=("$RUNS"/ct-ct-runs/{jssr,jsynr,jsegr,voxelmorph,voxelmorph-mind,lapirn,jssr-commute,jssr-raw} "$SHIPPED")
second=("$RUNS"/ct-ct-runs/{vnet,jsegr,jssr,jsynr,pix2pix})
$JSSR benchmark "$RUNS/test40" --split all -o "$RUNS/ct-ct-tables" --workers "$WORKERS" --against jssr \
    "${first[@]/#/--run=}" --tool discrete "${second[@]/#/--synthesis=}"
