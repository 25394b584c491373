#!/usr/bin/env bash
# Ranks on two hosts train to the same bits as ranks on one, by either exchange plan, also where a host has several; and they know
# which memory they share.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/hosts.bash"

# trained NAME COMMAND...: the digests of what it leaves.
trained() {
    local name="$1"
    shift
    "$@" "${promised[@]}" "${options[@]}" --set "output.dir=$scratch/$name" 2>"$scratch/$name.log" ||
        fail "$name: $(tail -n 5 "$scratch/$name.log")"
    echo "$(digest "$scratch/$name/latest.h5") $(digest "$scratch/$name/stats.h5")"
}

expect_log() {
    grep -qF "$2" "$scratch/$1.log" || fail "$1: nothing of '$2' in its log: $(cat "$scratch/$1.log")"
}

for plan in slots tokens; do
    options=(--set "parallel.exchange=$plan" --set train.epochs=1)
    together="$(trained "$plan-together" ranks 2)"
    expect_log "$plan-together" "exchange by $plan, in shared memory"
    for n in 2 4; do
        [ "$(trained "$plan-$n" apart "$n")" = "$together" ] || fail "$plan: $n ranks on two hosts give other bits"
        expect_log "$plan-$n" "exchange by $plan, by messages"
    done
    echo "same bits by $plan: 2 ranks of one host, 1 and 2 on each of two"
done
# Each expert group has a host to itself and shares its memory.
options=(--set train.epochs=1 --set parallel.expert_replicas=2)
together="$(trained replicas-together ranks 4)"
[ "$(trained replicas-apart apart 4)" = "$together" ] || fail "replicas: two hosts give other bits"
expect_log replicas-apart "in shared memory"
echo "same bits: an expert group on each host, in shared memory"
