# What the experiments share. Each step is done once: an interrupted experiment, begun again, goes on.
#   JSSR     the program (by default jssr of .venv)
#   RUNS     where scans, runs and tables go (by default runs, which git ignores)
#   WORKERS  processes of what is not trained (by default 2)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
JSSR=${JSSR:-.venv/bin/jssr}
RUNS=${RUNS:-runs}
WORKERS=${WORKERS:-2}
SHIPPED=src/jssr/weights/jssr-compact.safetensors
mkdir -p "$RUNS"

once() {  # once NAME COMMAND...: unless it was done before
    local mark="$RUNS/.done-${1//\//-}"
    shift
    [ -e "$mark" ] && return
    echo "$(date +%T) $*"
    "$@"
    touch "$mark"
}

phantoms() {  # phantoms NAME OPTIONS...: scans in $RUNS/NAME
    once "$1" $JSSR phantom "$RUNS/$1" --workers "$WORKERS" "${@:2}"
}

prepared() {  # prepared NAME OPTIONS...: $RUNS/NAME, prepared, in $RUNS/NAME-prepared
    once "$1-prepared" $JSSR prepare "$RUNS/$1" -o "$RUNS/$1-prepared" --workers "$WORKERS" "${@:2}"
}

trained() {  # trained NAME RECIPE OPTIONS...: a run in $RUNS/NAME
    local go_on=()
    [ -d "$RUNS/$1" ] && go_on=(--resume)
    once "$1" $JSSR train "$2" -o "$RUNS/$1" "${@:3}" "${go_on[@]}"
}
