#!/usr/bin/env bash
# However slots travel, in shared memory, by messages, between nodes, and in any number of chunks: the files have the same bits, and
# the log says how it was.
source "$(dirname "$0")/../support/cli.bash"

want=""
# same NAME RANKS TEXT OVERRIDE...: the log of the run has a line with this text, and its files have the first one's digest.
same() {
    local name="$1" n="$2" text="$3" override sets=() now
    shift 3
    for override in "$@"; do sets+=(--set "$override"); done
    ranks "$n" train "$scratch/small.yaml" --set "output.dir=$scratch/$name" --set train.epochs=2 \
        --set parallel.exchange=slots "${sets[@]}" 2>"$scratch/log" || fail "$name: $(tail -n 3 "$scratch/log")"
    grep -q "$text" "$scratch/log" || fail "$name: no '$text' in: $(cat "$scratch/log")"
    now="$(digest "$scratch/$name/latest.h5") $(digest "$scratch/$name/stats.h5")"
    [ -n "$want" ] || want="$now"
    [ "$now" = "$want" ] || fail "$name: other bits"
}

same alone 1 "16 experts"
same shared 4 "exchange by slots, in shared memory, "
same messages 4 "exchange by slots, by messages in 2 chunks, " parallel.shared_memory=false parallel.chunks=2
same many 2 "exchange by slots, by messages in 8 chunks, " parallel.node_ranks=1 parallel.chunks=100
same nodes 4 "exchange by slots, by messages between nodes in 3 chunks, " parallel.node_ranks=2 parallel.chunks=3
same uneven 4 "exchange by slots, by messages between nodes in 2 chunks, " parallel.node_ranks=3 parallel.chunks=2
same measured 2 "slots travel in [1248] chunks\?: the fastest steps took .* ms in 1, .* ms in 2, .* ms in 4, .* ms in 8$" \
    parallel.node_ranks=1
# Nothing to choose where nothing moves.
ranks 2 train "$scratch/small.yaml" --set "output.dir=$scratch/still" --steps 30 2>"$scratch/log" || fail "$(cat "$scratch/log")"
if grep -q "slots travel" "$scratch/log"; then fail "a choice in shared memory"; fi
# Tokens know nodes of one rank, or one node.
ranks 4 train "$scratch/small.yaml" --set "output.dir=$scratch/tokens" --steps 1 --set parallel.exchange=tokens \
    --set parallel.node_ranks=2 2>"$scratch/log" || fail "$(cat "$scratch/log")"
grep -q "exchange by tokens, by messages, " "$scratch/log" || fail "tokens: $(cat "$scratch/log")"
