#!/usr/bin/env bash
# macJNet and the dual register on real CT and MR of legs, one fold of three: DATA=... bash projects/legs.sh
# DATA is the folder with sts_ctmr. The register begins as one that knows bodies; the patients that are judged are left out.
. "$(dirname "$0")/common.sh"
PYTHON=${PYTHON:-.venv/bin/python}
FOLD=${FOLD:-1}

once real-legs $PYTHON benchmarks/real_scans.py "$DATA" "$RUNS/real" --sets sts_ctmr
once "legs-$FOLD" $PYTHON projects/legs.py "$DATA" "$RUNS/real" "$RUNS/legs-$FOLD" --fold "$FOLD"
once dual-begin $PYTHON projects/dual/begin.py "$RUNS/dual-begin.safetensors"
two=(--set preprocessing.reference_phase=ct --set preprocessing.moving=mr --set 'preprocessing.spacing=[2.3,2.3,2.3]')
once "legs-$FOLD-prepared" $JSSR prepare "$RUNS/legs-$FOLD/taught" -o "$RUNS/legs-$FOLD-prepared" --workers "$WORKERS" \
    --recipe projects/macjnet/macjnet_known.py --no-rigid --spacing 2.3 2.3 2.3

# Training bends the MR, and with it its label map and its paired ground truth: the scans as they are lie on each other.
bent=(--set training.augment.p_moving_elastic=1.0 --set training.augment.p_moving=1.0 --set training.augment.elastic=3.0)
data=(--data "$RUNS/legs-$FOLD-prepared" "${two[@]}" "${bent[@]}")
alone() {  # alone TERM: supervised by one modality
    echo --set "training.stages.align.weights={\"$1\":1,\"laplace\":0.5,\"size\":0.01}"
}
runs="legs-runs-$FOLD"
trained "$runs/macjnet-0" projects/macjnet/macjnet_known.py "${data[@]}" --set 'network.structures=["tumour"]' \
    --set 'inference.one_piece=[]' --start-from register-compact
trained "$runs/register-0" projects/macjnet/macjnet_known_register.py "${data[@]}" --start-from register-compact
trained "$runs/dual-0" projects/dual/dual_known.py "${data[@]}" --start-from "$RUNS/dual-begin.safetensors"
trained "$runs/ct-0" projects/dual/dual_known.py "${data[@]}" $(alone fixed_like) --start-from "$RUNS/dual-begin.safetensors"
trained "$runs/mr-0" projects/dual/dual_known.py "${data[@]}" $(alone moving_like) --start-from "$RUNS/dual-begin.safetensors"

$JSSR benchmark "$RUNS/legs-$FOLD/judged" --split all -o "$RUNS/legs-tables-$FOLD" --threads 1 --against macjnet-0 \
    $(printf -- "--run=%s " "$RUNS/$runs"/*) --run register-compact --peer discrete
$PYTHON projects/seeds.py "$RUNS/legs-tables-$FOLD" --against macjnet
