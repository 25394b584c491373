#!/usr/bin/env bash
# jobs/suite.sbatch under a real Slurm: a job array of three members, one of which gets the signal that Slurm sends before the limit,
# stops, goes back to the queue and goes on; the same bits as the suite in one piece, and one report when the last member is done.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/cluster.bash"

clean() {
    cluster_stop
    rm -rf "$scratch"
}
trap clean EXIT

sed '/^  experts:/d' "$scratch/small.yaml" >"$scratch/suite.yaml"
printf 'suite:\n  experts: [2, 8, 16]\n' >>"$scratch/suite.yaml"
echo 'echo "$1" >>"$REPORTS"' >"$scratch/report"
export COTERIE_PYTHON=/bin/bash COTERIE_REPORT="$scratch/report" REPORTS="$scratch/reports"
options=(suite.yaml --set output.report=true --set checkpoint.every_steps=4 --no-timing)
members=(e2-s7 e8-s7 e16-s7)

# The program, in member 1 too slow to end before its signal until the job has been requeued once: 5 s a checkpoint, 15 checkpoints.
cat >"$scratch/slow" <<END
#!/usr/bin/env bash
if [ "\${SLURM_ARRAY_TASK_ID:-}" = 1 ] && [ "\${SLURM_RESTART_COUNT:-0}" -eq 0 ]; then
    export COTERIE_FAULT="call=rename match=checkpoint action=delay:5000" LD_PRELOAD="$FAULT_LIBRARY"
fi
exec "$COTERIE" "\$@"
END
chmod +x "$scratch/slow"

# field ID NAME: what Slurm knows of a job.
field() {
    timeout 10 scontrol --oneliner show job "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"
}

has_ended() {
    [[ "$(field "$1" JobState)" =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY)$ ]]
}

# expect_completed ID LOG
expect_completed() {
    local state
    within 150 has_ended "$1" || fail "$1: has not ended but is $(field "$1" JobState): $(tail -n 3 "$2")"
    state="$(field "$1" JobState)"
    [ "$state" = COMPLETED ] || fail "$1: $state: $(tail -n 5 "$2")"
}

# submit LAUNCHER ARGUMENT...: the job's number.
submit() {
    local launcher="$1"
    shift
    (cd "$scratch" && COTERIE="$scratch/slow" COTERIE_LAUNCHER="$launcher" timeout 20 sbatch --parsable --ntasks=2 "$@") ||
        fail "sbatch refuses $*"
}

results() {
    local member file
    for member in "${members[@]}"; do
        for file in latest.h5 study.h5; do echo "$member $file $(digest "$scratch/$1/$member/$file")"; done
    done
}

export OMPI_MCA_hwloc_base_binding_policy=none
cluster_start "$scratch/cluster"
script="$COTERIE_SOURCE/jobs/suite.sbatch"

# Slurm looks at limits twice a minute and may send a signal a minute early: this one comes 10 s to 40 s after the start.
array="$(submit srun --array=0-2 --output='array-%a.log' --time=1 --signal=B:USR1@20 "$script" "${options[@]}" --set output.dir=array)"
# Without an array, the whole suite in one job.
one="$(submit mpirun --output=one.log "$script" "${options[@]}" --set output.dir=one)"

expect_completed "$one" "$scratch/one.log"
grep -q "the suite is done" "$scratch/one.log" || fail "the whole suite: $(tail -n 5 "$scratch/one.log")"
echo "a job without an array trained and studied the whole suite"

for member in 0 1 2; do expect_completed "${array}_$member" "$scratch/array-$member.log"; done
[ "$(field "${array}_1" Restarts)" -ge 1 ] || fail "member 1 was not requeued: $(cat "$scratch/array-1.log")"
grep -q "start 1: stopped early" "$scratch/array-1.log" || fail "member 1 was not stopped: $(cat "$scratch/array-1.log")"
grep -q "start 2: member 1 is done" "$scratch/array-1.log" || fail "member 1 did not go on: $(cat "$scratch/array-1.log")"
diff <(results one) <(results array) || fail "the array has other results"
[ "$(sort "$REPORTS" | paste -sd,)" = "array,one" ] || fail "reports of $(cat "$REPORTS")"
echo "a job array, with an interruption, ended with the same bits and a report"
