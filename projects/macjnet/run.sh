#!/usr/bin/env bash
# macJNet, its ablations and shares of labels on CT and T1-like MR: tables 2 to 8 of its paper at a reduced size.
# docs/notebook, "macJNet".
. "$(dirname "$0")/../common.sh"

phantoms ct-mr --patients 64 --seed 21 --phases venous,t1
phantoms ct-mr-test --patients 20 --seed 31 --phases venous,t1
prepared ct-mr --recipe macjnet-compact

data=(--data "$RUNS/ct-mr-prepared")
of() {  # of SIMILARITY: the register's
    [ "$1" = macmind ] && return
    local weight=20
    [ "$1" = mi ] && weight=3
    echo --set "network.options={\"similarity\":\"$1\",\"costs\":\"mind-ssc\",\"carried\":true}"
    for level in coarse.weights.sim1 middle.weights.sim2 fine.weights.sim3; do
        echo --set "training.stages.$level=$weight"
    done
}
plan() {  # plan COARSE MIDDLE FINE: steps of the register by itself
    echo --set "training.stages.coarse.steps=$1" --set "training.stages.middle.steps=$2" --set "training.stages.fine.steps=$3"
}
from() {  # from RUN...: their weights first
    printf -- "--start-from $RUNS/macjnet-runs/%s " "$@"
}
joint="$(plan 0 0 0) --set training.stages.segment.steps=0"
# Registers and segmentors learn by themselves first, once for each similarity and share of labels. Joint training goes
# on from a pair of them, the segmentors alone and the register alone for as many steps.
for like in macmind mind mi; do
    trained "macjnet-runs/first-$like" projects/macjnet/register.py "${data[@]}" $(of $like) $(plan 250 250 500)
done
for share in 0.3 1.0 0.05 0.1; do
    trained "macjnet-runs/segmentors-$share" projects/macjnet/segmentors.py "${data[@]}" \
        --set training.stages.segment.steps=1200 --set "training.labelled=$share"
    trained "macjnet-runs/macjnet-$share" macjnet-compact "${data[@]}" $(from first-macmind "segmentors-$share") \
        $joint --set "training.labelled=$share"
done
for like in mind mi; do
    trained "macjnet-runs/macjnet-$like" "projects/macjnet/$like.py" "${data[@]}" $(from "first-$like" segmentors-0.3) \
        $joint --set training.labelled=0.3
done
trained macjnet-runs/segmentors projects/macjnet/segmentors.py "${data[@]}" $(from segmentors-0.3) \
    --set training.stages.segment.steps=300 --set training.learning_rates.M=0.0005 --set training.learning_rates.F=0.0005 --set training.labelled=0.3
trained macjnet-runs/register projects/macjnet/register.py "${data[@]}" $(from first-macmind) $(plan 0 0 300)
trained macjnet-runs/register-mind projects/macjnet/register.py "${data[@]}" $(of mind) $(from first-mind) $(plan 0 0 300)

others=("${data[@]}" --set preprocessing.reference_phase=venous --set preprocessing.moving=t1 --set 'preprocessing.spacing=[4,4,4]' --set 'training.patch=[64,48,48]')
lapirn=()
for stage in coarse=300 middle-alone=100 middle=200 fine-alone=200 fine=500; do
    lapirn+=(--set "training.stages.${stage/=/.steps=}")
done
trained macjnet-runs/voxelmorph-mind projects/jssr/voxelmorph_mind.py "${others[@]}" --set training.stages.align.steps=1300
trained macjnet-runs/lapirn-mind projects/jssr/lapirn_mind.py "${others[@]}" "${lapirn[@]}"

runs=("$RUNS"/macjnet-runs/{macjnet-0.3,macjnet-mind,macjnet-mi,register,register-mind,macjnet-0.05,macjnet-0.1,macjnet-1.0}
    "projects/jssr/voxelmorph_mind.py:$RUNS/macjnet-runs/voxelmorph-mind"
    "projects/jssr/lapirn_mind.py:$RUNS/macjnet-runs/lapirn-mind")
$JSSR benchmark "$RUNS/ct-mr-test" --split all -o "$RUNS/macjnet-tables" --workers "$WORKERS" --likeness \
    --structure liver --structure liver_tumour "${runs[@]/#/--run=}" \
    --tool discrete --tool discrete:mind --tool discrete:macmind --tool elastix
for run in macjnet-0.3 segmentors; do
    $JSSR evaluate "$RUNS/ct-mr-test" --split all --checkpoint "$RUNS/macjnet-runs/$run" --workers "$WORKERS" \
        -o "$RUNS/macjnet-segments-$run"
done
.venv/bin/python projects/macjnet/tables.py "$RUNS/macjnet-tables" "$RUNS/macjnet-segments-segmentors" \
    "$RUNS/macjnet-segments-macjnet-0.3" > "$RUNS/macjnet-tables/paper.md"
