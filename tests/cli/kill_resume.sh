#!/usr/bin/env bash
# A run that is killed with SIGKILL again and again, and resumed on other numbers of ranks, leaves the files of one that was not. Ten of
# the kills come inside a checkpoint, whose writing and renaming are slowed down for that.
source "$(dirname "$0")/../support/cli.bash"

kills="${COTERIE_KILLS:-30}"
inside="${COTERIE_KILLS_INSIDE:-10}"
counts=(1 2 4 8)
RANDOM="${COTERIE_KILL_SEED:-1}"
run=("${promised[@]}" --set checkpoint.every_steps=7 --set checkpoint.keep=3)

ranks 2 "${run[@]}" --set "output.dir=$scratch/reference" 2>"$scratch/log" || fail "$(tail -n 3 "$scratch/log")"
reference="$(digest "$scratch/reference/latest.h5")"
best="$(readlink "$scratch/reference/best.h5")"

# What can be compared of the metrics: everything but times.
events() {
    sed -E 's/, "(seconds|samples_per_s)": [^,}]*//g' "$1/metrics.jsonl" | grep -v '"event": "\(end\|warning\)"'
}

# start DIR: the run on a random number of ranks, resumed, in the background; its process is $job.
start() {
    local n="${counts[RANDOM % 4]}"
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
    [ "$(readlink "$1/best.h5")" = "$best" ] || fail "$1: best.h5 is $(readlink "$1/best.h5"), not $best"
    diff <(events "$scratch/reference") <(events "$1") >"$scratch/diff" || fail "$1: other metrics: $(head -n 5 "$scratch/diff")"
    diff <(cd "$scratch/reference" && ls) <(cd "$1" && ls) || fail "$1: other files"
}

done_kills=0
round=0
while [ "$done_kills" -lt "$kills" ]; do
    round=$((round + 1))
    dir="$scratch/run-$round"
    for ((i = 0; i < 10 && done_kills < kills; i++)); do
        if [ "$inside" -gt 0 ]; then
            # Within the write, before the rename, or between the rename and latest.h5.
            case $((inside % 3)) in
            0) fault="call=pwrite match=.partial action=delay:300" ;;
            1) fault="call=rename match=.partial action=delay:1500" ;;
            2) fault="call=rename match=latest action=delay:1500" ;;
            esac
            COTERIE_FAULT="$fault" LD_PRELOAD="$FAULT_LIBRARY" start "$dir"
            for ((w = 0; w < 400; w++)); do
                compgen -G "$dir/*.h5.partial" >/dev/null && break
                kill -0 "$job" 2>/dev/null || break
                sleep 0.02
            done
            sleep "0.$((RANDOM % 9))"
            inside=$((inside - 1))
        else
            start "$dir"
            sleep "$((RANDOM % 2)).$((RANDOM % 90 + 10))"
        fi
        kill -0 "$job" 2>/dev/null && done_kills=$((done_kills + 1))
        kill_job
    done
    ranks "${counts[RANDOM % 4]}" "${run[@]}" --set "output.dir=$dir" --resume auto 2>"$scratch/log" ||
        fail "round $round does not resume: $(tail -n 3 "$scratch/log")"
    check "$dir"
    echo "round $round: $done_kills kills so far, the same bits"
done
