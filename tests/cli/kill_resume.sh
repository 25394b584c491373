#!/usr/bin/env bash
# A run that is killed with SIGKILL again and again, and resumed on other numbers of ranks, leaves the files of one that was not. Ten of
# the kills come inside a checkpoint, and some inside a record of the statistics, whose writing and renaming are slowed down for that.
source "$(dirname "$0")/../support/cli.bash"

kills="${COTERIE_KILLS:-30}"
inside="${COTERIE_KILLS_INSIDE:-10}"
recording="${COTERIE_KILLS_RECORDING:-3}"
counts=(1 2 4 8)
longest=$([ -n "${COTERIE_FULL:-}" ] && echo 3 || echo 1) # seconds until a kill, at the most
RANDOM="${COTERIE_KILL_SEED:-1}"
run=("${promised[@]}" --set checkpoint.every_steps=7 --set checkpoint.keep=3)

ranks 2 "${run[@]}" --set "output.dir=$scratch/reference" 2>"$scratch/log" || fail "$(tail -n 3 "$scratch/log")"
reference="$(digest "$scratch/reference/latest.h5")"
best="$(readlink "$scratch/reference/best.h5")"
stats="$(digest "$scratch/reference/stats.h5")"

# What can be compared of the metrics: everything but times.
events() {
    sed -E 's/, "(seconds|samples_per_s)": [^,}]*//g; s/, "ledger": .*//' "$1/metrics.jsonl" | grep -v '"event": "\(end\|warning\)"'
}

# start DIR: the run on a random number of ranks, resumed, in the background; its process is $job.
start() {
    local n="${counts[RANDOM % 4]}"
    touch "$scratch/mark"
    mpirun --oversubscribe --bind-to none -n "$n" "$COTERIE" "${run[@]}" --set "output.dir=$1" --resume auto \
        2>>"$scratch/log" &
    job=$!
}

# All ranks and mpirun at once, and no earlier than they are there.
kill_job() {
    local members
    members="$(pgrep -P "$job" || true)"
    # shellcheck disable=SC2086
    kill -KILL $members "$job" 2>/dev/null || true
    wait "$job" 2>/dev/null || true
    while [ -n "$members" ] && pgrep -x coterie -P 1 >/dev/null; do sleep 0.05; done
}

check() {
    [ "$(digest "$1/latest.h5")" = "$reference" ] || fail "$1: other bits than an uninterrupted run"
    [ "$(digest "$1/stats.h5")" = "$stats" ] || fail "$1: other statistics than an uninterrupted run"
    [ "$(readlink "$1/best.h5")" = "$best" ] || fail "$1: best.h5 is $(readlink "$1/best.h5"), not $best"
    diff <(events "$scratch/reference") <(events "$1") >"$scratch/diff" || fail "$1: other metrics: $(head -n 5 "$scratch/diff")"
    diff <(cd "$scratch/reference" && ls) <(cd "$1" && ls) || fail "$1: other files"
}

# Whether the job in DIR is, or was when killed, in the middle of a checkpoint: one is being written, or is complete
# but not yet the latest. What an earlier job left is not newer than the mark made at the start.
is_inside() {
    local newest
    [ -z "$(find "$1" -name 'checkpoint-*.h5.partial' -newer "$scratch/mark" 2>/dev/null)" ] || return 0
    newest="$(find "$1" -name 'checkpoint-*.h5' -newer "$scratch/mark" -printf '%f\n' 2>/dev/null |
        sort -t- -k2 -n | tail -n 1)"
    [ -n "$newest" ] && [ "$(readlink "$1/latest.h5")" != "$newest" ]
}

# The same of a record: its copy of the file is there, or was a moment ago, and the checkpoint of its step is not yet.
is_recording() {
    [ -n "$(find "$1" -name 'stats.h5*' -newer "$scratch/mark" 2>/dev/null)" ]
}

# start_slow IS-THERE DIR FAULT...: begin DIR with one of the faults, that slow something down. Returns inside of it.
start_slow() {
    local is_there="$1" dir="$2" faults=("${@:3}")
    COTERIE_FAULT="${faults[RANDOM % ${#faults[@]}]}" LD_PRELOAD="$FAULT_LIBRARY" start "$dir"
    for ((w = 0; w < 1000; w++)); do
        if "$is_there" "$dir" || ! kill -0 "$job" 2>/dev/null; then break; fi
        sleep 0.02
    done
    sleep "0.0$((RANDOM % 10))"
}

# Slow checkpoints: in the writing, before the renaming, or between it and latest.h5.
start_inside() {
    start_slow is_inside "$1" "call=pwrite,pwritev match=checkpoint*.partial action=delay:50" \
        "call=rename match=checkpoint*.partial action=delay:1500" "call=rename,symlink match=latest action=delay:1500"
}

# Slow records: before the renaming, or between it and the checkpoint of the same step.
start_recording() {
    start_slow is_recording "$1" "call=rename match=stats action=delay:1500" "call=rename match=checkpoint action=delay:1500"
}

total=0
hits=0
records=0
round=0
while [ "$total" -lt "$kills" ] || [ "$hits" -lt "$inside" ] || [ "$records" -lt "$recording" ]; do
    round=$((round + 1))
    [ "$round" -le $((kills + inside + recording)) ] ||
        fail "only $hits of $total kills came inside a checkpoint, $records inside a record"
    dir="$scratch/run-$round"
    for ((i = 0; i < 10; i++)); do
        if [ "$hits" -lt "$inside" ]; then
            start_inside "$dir"
        elif [ "$records" -lt "$recording" ]; then
            start_recording "$dir"
        else
            [ "$total" -lt "$kills" ] || break
            start "$dir"
            sleep "$((RANDOM % longest)).$((RANDOM % 90 + 10))"
        fi
        ended=no
        kill -0 "$job" 2>/dev/null || ended=yes
        kill_job
        [ "$ended" = no ] || break
        total=$((total + 1))
        if is_inside "$dir"; then hits=$((hits + 1)); elif is_recording "$dir"; then records=$((records + 1)); fi
    done
    ranks "${counts[RANDOM % 4]}" "${run[@]}" --set "output.dir=$dir" --resume auto 2>"$scratch/log" ||
        fail "round $round does not resume: $(tail -n 3 "$scratch/log")"
    check "$dir"
    echo "round $round: $total kills so far, $hits of them inside a checkpoint, $records inside a record; the same bits"
done
