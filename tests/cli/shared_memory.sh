#!/usr/bin/env bash
# Machines with too little memory to share, for one array or for all together: ranks say so once, send messages, and get the same bits.
source "$(dirname "$0")/../support/cli.bash"

unshare --mount mount -t tmpfs tmpfs /dev/shm 2>"$scratch/log" || {
    echo "skipped: no /dev/shm of our own ($(cat "$scratch/log"))"
    exit 77
}

# trained NAME SIZE ARGUMENT...: on two ranks that have SIZE to share; two slot buffers of 26 MB are wanted, and 8 MiB for messages.
trained() {
    local name="$1" size="$2"
    shift 2
    timeout 300 unshare --mount bash -c 'mount -t tmpfs -o size="$1" tmpfs /dev/shm && shift && exec "$@"' - "$size" \
        mpirun -n 2 "$COTERIE" train "$scratch/small.yaml" --set model.experts=128 --set data.train_samples=256 --set data.test_samples=8 \
        --set train.batch=256 --set train.accumulate=1 --set train.epochs=1 --set "output.dir=$scratch/$name" "$@" 2>"$scratch/$name.log" ||
        fail "$name: $(tail -n 3 "$scratch/$name.log")"
}

# same NAME WARNINGS WAY: as many warnings, this way of exchange, and the bits of the run before.
same() {
    [ "$(grep -c 'warning: too little memory' "$scratch/$1.log")" = "$2" ] || fail "$1: not $2 warnings: $(cat "$scratch/$1.log")"
    grep -q "exchange by $3," "$scratch/$1.log" || fail "$1: not by $3: $(cat "$scratch/$1.log")"
    [ "$(digest "$scratch/$1/latest.h5")" = "$wanted" ] || fail "$1: other bits"
}

trained enough 1g --set parallel.exchange=slots
wanted="$(digest "$scratch/enough/latest.h5")"
same enough 0 "slots, in shared memory"
trained one 24m --set parallel.exchange=slots
same one 1 "slots, by messages"
trained both 40m --set parallel.exchange=slots
same both 1 "slots, by messages"
trained tokens-enough 1g --set parallel.exchange=tokens
wanted="$(digest "$scratch/tokens-enough/latest.h5")"
same tokens-enough 0 "tokens, in shared memory"
trained tokens 12m --set parallel.exchange=tokens
same tokens 1 "tokens, by messages"
