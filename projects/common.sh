# What the experiments share. Each step is done once: an interrupted experiment, begun again, goes on.
#   JSSR     the program (by default jssr of .venv)
#   RUNS     where scans, runs and tables go (by default runs, which git ignores)
#   WORKERS  processes of what is not trained (by default 2)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
JSSR=${JSSR:-.venv/bin/jssr}
RUNS=${RUNS:-runs}
WORKERS=${WORKERS:-2}
SHIPPED=src/jssr/weights/jssr-compact.safetensors
mkdir -p "$RUNS"

once() {  # once NAME COMMAND...: unless it was done before, by the same command
    local mark="$RUNS/.done-${1//\//-}"
    shift
    if [ -e "$mark" ]; then
        [ "$(cat "$mark")" = "$*" ] && return
        echo "$mark: done by another command; remove it and what it made" >&2
        exit 1
    fi
    echo "$(date +%T) $*"
    "$@"
    echo "$*" > "$mark"
}

phantoms() {  # phantoms NAME OPTIONS...: scans in $RUNS/NAME
    once "$1" $JSSR phantom "$RUNS/$1" --workers "$WORKERS" "${@:2}"
}

prepared() {  # prepared NAME OPTIONS...: $RUNS/NAME, prepared, in $RUNS/NAME-prepared
    once "$1-prepared" $JSSR prepare "$RUNS/$1" -o "$RUNS/$1-prepared" --workers "$WORKERS" "${@:2}"
}

trained() {  # trained NAME RECIPE OPTIONS...: a run in $RUNS/NAME
    once "$1" $JSSR train "$2" -o "$RUNS/$1" --resume "${@:3}"
}
