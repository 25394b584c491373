#!/usr/bin/env bash
# A suite: however it is cut in pieces, by signals, by kills or by members, and on any number of ranks, it leaves the checkpoints and
# studies of one that was not; and each member is what `coterie train` makes of the same recipe.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"

# Three members of two epochs of 20 batches. The report is a stand-in that notes that it was called.
sed -e 's/^  epochs: .*/  epochs: 2/' -e '/^  experts:/d' "$scratch/small.yaml" >"$scratch/suite.yaml"
printf 'suite:\n  experts: [2, 8, 16]\n' >>"$scratch/suite.yaml"
echo 'echo "$1" >>"$REPORTS"' >"$scratch/report"
export COTERIE_PYTHON=/bin/bash COTERIE_REPORT="$scratch/report" REPORTS="$scratch/reports"
members=(e2-s7 e8-s7 e16-s7)
suite=(suite "$scratch/suite.yaml" --set output.report=true --set checkpoint.every_steps=6)

# run RANKS FOLDER ARGUMENT...: the suite, to its end or to where the arguments say.
run() {
    local n="$1" dir="$scratch/$2"
    shift 2
    ranks "$n" "${suite[@]}" --set "output.dir=$dir" "$@" >"$scratch/list" 2>"$scratch/log" || fail "$dir: $(tail -n 5 "$scratch/log")"
}

# start RANKS FOLDER ARGUMENT...: the same in the background, its process is $job.
start() {
    local n="$1" dir="$scratch/$2"
    shift 2
    mpirun --oversubscribe --bind-to none -n "$n" "$COTERIE" "${suite[@]}" --set "output.dir=$dir" "$@" >"$scratch/list" \
        2>"$scratch/job.log" &
    job=$!
}

# ended CODE: the job in the background ends with this code.
ended() {
    local status=0
    wait "$job" || status=$?
    [ "$status" = "$1" ] || fail "ended with $status, not $1: $(tail -n 5 "$scratch/job.log")"
}

# until_there FILE: or until the job has ended.
until_there() {
    for ((w = 0; w < 3000; w++)); do
        if [ -e "$1" ] || ! kill -0 "$job" 2>/dev/null; then return; fi
        sleep 0.02
    done
    fail "no $1: $(tail -n 5 "$scratch/job.log")"
}

# All ranks and mpirun at once.
kill_job() {
    local processes
    processes="$(pgrep -P "$job" || true)"
    # shellcheck disable=SC2086
    kill -KILL $processes "$job" 2>/dev/null || true
    wait "$job" 2>/dev/null || true
    for process in $processes; do
        while kill -0 "$process" 2>/dev/null; do sleep 0.02; done
    done
}

signal_job() {
    # shellcheck disable=SC2046
    kill -USR1 $(pgrep -P "$job" | tail -n 1)
}

results() {
    local member file
    for member in "${members[@]}"; do
        for file in latest.h5 stats.h5 study.h5; do echo "$member $file $(digest "$scratch/$1/$member/$file")"; done
        (cd "$scratch/$1/$member" && ls)
    done
}

# same FOLDER: results as those of the whole suite, all done.
same() {
    diff <(results whole) <(results "$1") || fail "$1: other results than the whole suite"
}

# states FOLDER: of the three members, in their order.
states() {
    "$COTERIE" "${suite[@]}" --set "output.dir=$scratch/$1" --list --format json | grep -o '"state": "[^"]*"' | cut -d'"' -f4 | paste -sd,
}

expect_states() {
    local got
    got="$(states "$1")"
    [ "$got" = "$2" ] || fail "$1: $got, not $2"
}

expect_reports() {
    local got
    got="$(cat "$REPORTS" 2>/dev/null | wc -l || true)"
    [ "$got" = "$1" ] || fail "$got reports so far, not $1"
}

# ---- what is wrong is said before anything is done ----
expect 64 "no recipe given" "$COTERIE" suite
expect 64 "leave out --member" "$COTERIE" "${suite[@]}" --list --member 1
expect 64 "members are 0 to 2" "$COTERIE" "${suite[@]}" --member 3
expect 64 "--member" "$COTERIE" "${suite[@]}" --member -1
expect 64 "unknown option '--resume'" "$COTERIE" "${suite[@]}" --resume auto
expect 64 "neither text nor json" "$COTERIE" "${suite[@]}" --list --format xml
expect 78 "suite.experts: is empty" ranks 2 suite "$scratch/small.yaml"
expect 78 "suite.experts" ranks 2 "${suite[@]}" --set suite.experts=2,2
expect 78 "suite.experts" "$COTERIE" "${suite[@]}" --set suite.experts=0
expect 66 "$scratch/nowhere" ranks 2 "${suite[@]}" --list --set data.source=idx --set "data.path=$scratch/nowhere"
expect 78 "train.drop_last" "$COTERIE" "${suite[@]}" --set train.drop_last=true --set train.batch=5000 --set "output.dir=$scratch/new"
expect 64 "2 Soft MoE layers" "$COTERIE" "${suite[@]}" --set model.layers=2 --set model.residual=true --select greedy --set "output.dir=$scratch/new"
expect 64 "--keep: 0" "$COTERIE" "${suite[@]}" --keep 0,2 --set "output.dir=$scratch/new"
expect 78 "no validation split" ranks 2 "${suite[@]}" --split validation --set "output.dir=$scratch/new"
expect 64 "--seed" "$COTERIE" "${suite[@]}" --select combine --seed 1
[ ! -e "$scratch/new" ] || fail "begun in spite of an error"
touch "$scratch/file"
expect 73 "$scratch/file" ranks 2 "${suite[@]}" --set "output.dir=$scratch/file/suite"
echo "refusals: one line each"

# ---- as a whole ----
expect_states whole "not begun,not begun,not begun"
[ ! -e "$scratch/whole" ] || fail "--list has made a folder"
run 1 whole
expect_states whole "done,done,done"
expect_reports 1
[ "$(cat "$REPORTS")" = "$scratch/whole" ] || fail "a report of $(cat "$REPORTS")"
grep -qE "^ +1 +8 +7 +done +40/40( +[0-9.]+%){4}\$" "$scratch/list" || fail "no list at the end: $(cat "$scratch/list")"
grep -qE "member 2, 3 of 3: 16 experts, seed 7; .* so far, about .* left" "$scratch/log" || fail "no progress: $(cat "$scratch/log")"
ranks 1 train "$scratch/suite.yaml" --set model.experts=8 --set checkpoint.every_steps=6 --set output.report=false \
    --set "output.dir=$scratch/alone" 2>/dev/null
[ "$(digest "$scratch/alone/latest.h5")" = "$(digest "$scratch/whole/e8-s7/latest.h5")" ] || fail "a member is another run than train makes"
"$COTERIE" "${suite[@]}" --set "output.dir=$scratch/whole" --list --format json >"$scratch/list"
"$python" - "$scratch/list" <<'END' || fail "the list says otherwise than the studies"
import h5py, json, sys
for member in json.load(open(sys.argv[1]))["members"]:
    with h5py.File(member["folder"] + "/study.h5") as file:
        score, random = (dict(zip(file["keep"][...], file[name][0])) for name in ("accuracy_combine", "accuracy_random_mean"))
    wanted = [member["experts"] >> i for i in range(4) if member["experts"] >> i]
    assert [found["kept"] for found in member["results"]] == wanted, member
    assert all(abs(found["accuracy"] - score[found["kept"]]) < 1e-9 for found in member["results"]), member  # nine digits are printed
    assert any(score[k] != random[k] for k in wanted), "numbers that tell nothing"
END
run 2 two
same two
echo "on 1 and 2 ranks: the same bits, those of runs alone"

# ---- done is done, unless something has changed ----
inode="$(stat -c %i "$scratch/two/e2-s7/study.h5")"
run 1 two
expect_reports 3
[ "$(stat -c %i "$scratch/two/e2-s7/study.h5")" = "$inode" ] || fail "a study was made again"
if grep -q "steps of" "$scratch/log"; then fail "a member was entered again"; fi
run 1 two --set optimizer.learning_rate=0.5
[ "$(grep -c "by another recipe.*optimizer.learning_rate" "$scratch/log")" = 3 ] || fail "no warning of another recipe"
printf 'damaged' >"$scratch/two/e8-s7/study.h5"
rm "$scratch/two/e16-s7/study.h5"
expect_states two "done,trained,trained"
run 2 two
same two
before="$(numbers "$scratch/two/e16-s7/study.h5" -d /combine_mass)"
run 1 two --set train.epochs=3
expect_states two "done,done,done"
[ "$(numbers "$scratch/two/e16-s7/study.h5" -d /combine_mass)" != "$before" ] || fail "the study is of an earlier checkpoint"
[ "$(readlink "$scratch/two/e16-s7/latest.h5")" = checkpoint-60.h5 ] || fail "not trained further"
echo "what is done is left alone; what has changed is done again"

# ---- members by themselves, in any order, two at once ----
rm "$REPORTS"
run 1 members --member 2
expect_states members "not begun,not begun,done"
expect_reports 0
start 1 members --member 0
run 1 members --member 1
ended 0
[ "$(sort -u "$REPORTS")" = "$scratch/members" ] || fail "no report when the last member was done"
same members
run 1 seeds --set suite.seeds=7,8 --set suite.experts=2 --member 1
[ -e "$scratch/seeds/e2-s8/study.h5" ] || fail "a seed is no member"
ranks 1 train "$scratch/suite.yaml" --set model.experts=2 --set seed=8 --set checkpoint.every_steps=6 --set output.report=false \
    --set "output.dir=$scratch/alone-8" 2>/dev/null
[ "$(digest "$scratch/alone-8/latest.h5")" = "$(digest "$scratch/seeds/e2-s8/latest.h5")" ] || fail "a member with another seed than its own"
"$COTERIE" "${suite[@]}" --set suite.seeds=8,7 --set suite.experts=16,2 --list --format json >"$scratch/list"
[ "$(grep -oE '"(member|experts|seed)": [0-9]+' "$scratch/list" | cut -d' ' -f2 | paste -sd' ')" = "0 16 8 1 2 8 2 16 7 3 2 7" ] ||
    fail "members in another order: $(cat "$scratch/list")"
run 1 seeds --set suite.seeds=7,8 --set suite.experts=2 --member 1 --select dispatch --keep 1,4 --no-timing
"$COTERIE" inspect "$scratch/seeds/e2-s8/study.h5" | grep -q loss_dispatch || fail "what was asked for later is not in the study"
run 1 seeds --set suite.seeds=7,8 --set suite.experts=2 --member 1 --select exhaustive --subset-limit 1
inode="$(stat -c %i "$scratch/seeds/e2-s8/study.h5")"
for limit in 2 2; do
    run 1 seeds --set suite.seeds=7,8 --set suite.experts=2 --member 1 --select exhaustive --subset-limit "$limit"
    made="$(stat -c %i "$scratch/seeds/e2-s8/study.h5")"
    [ "${first:=$made}" = "$made" ] && [ "$made" != "$inode" ] || fail "subsets searched under another limit"
done
echo "members by themselves: the same bits"

# ---- signals: in the training, which saves a checkpoint, and in a study, of which nothing is left ----
COTERIE_FAULT="call=rename match=checkpoint action=delay:1000" LD_PRELOAD="$FAULT_LIBRARY" start 2 signals
until_there "$scratch/signals/e8-s7/checkpoint-6.h5"
signal_job
ended 75
expect_states signals "done,training,not begun"
grep -q "suite has stopped in member 1" "$scratch/job.log" || fail "not said how to go on: $(tail -n 3 "$scratch/job.log")"
start 2 signals --member 1 --seeds 20000
until_there "$scratch/signals/e8-s7/study.h5.partial"
signal_job
ended 75
expect_states signals "done,trained,not begun"
[ -z "$(ls "$scratch/signals/e8-s7" | grep study)" ] || fail "half a study is left"
run 2 signals
same signals
echo "signals stop a suite where it can go on"

# ---- the folder of a member that is in use ----
start 1 locked --set train.epochs=10000 --member 1
until_there "$scratch/locked/e8-s7/latest.h5"
expect 73 "in use by process" "$COTERIE" "${suite[@]}" --set "output.dir=$scratch/locked" --member 1
signal_job
ended 75
echo "two never work on one member"

# ---- numbers that break down in one member: the others go on ----
run 1 broken --member 0
status=0
ranks 2 "${suite[@]}" --set "output.dir=$scratch/broken" --set optimizer.learning_rate=1e30 >"$scratch/list" 2>"$scratch/log" || status=$?
[ "$status" = 70 ] || fail "ended with $status, not 70: $(tail -n 5 "$scratch/log")"
[ "$(grep -c "other members go on" "$scratch/log")" = 2 ] || fail "not all members were tried: $(cat "$scratch/log")"

# ---- killed again and again: in the training, in a checkpoint, in a study ----
RANDOM=1
faults=("call=rename match=checkpoint action=delay:300" "call=rename,pwrite match=study action=delay:300")
for ((round = 0; round < 8; round++)); do
    COTERIE_FAULT="${faults[round % 2]}" LD_PRELOAD="$FAULT_LIBRARY" start $((1 + RANDOM % 2)) killed
    sleep "$((1 + RANDOM % 2)).$((RANDOM % 90 + 10))"
    kill_job
done
run 2 killed
same killed
echo "killed $round times: the same bits"
