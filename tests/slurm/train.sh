#!/usr/bin/env bash
# jobs/train.sbatch under a real Slurm: a run of two ranks that ends; the same with the signal that Slurm sends before the limit, under
# srun and under mpirun, which stops, goes back to the queue and ends with the same bits; and one that is cancelled, and stays so.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/cluster.bash"

clean() {
    cluster_stop
    rm -rf "$scratch"
}
trap clean EXIT

# The program, too slow to end before its signal until the job has been requeued once: 5 s a checkpoint, 15 checkpoints.
cat >"$scratch/slow" <<END
#!/usr/bin/env bash
if [ "\${SLURM_RESTART_COUNT:-0}" -eq 0 ]; then
    export COTERIE_FAULT="call=rename match=.partial action=delay:5000" LD_PRELOAD="$FAULT_LIBRARY"
fi
exec "$COTERIE" "\$@"
END
chmod +x "$scratch/slow"

# submit NAME PROGRAM LAUNCHER [SBATCH-OPTION...]: a run into the folder NAME, its log beside it; the job's number is ${ids[NAME]}.
declare -A ids
submit() {
    local name="$1" program="$2" launcher="$3"
    shift 3
    ids[$name]="$(cd "$scratch" && COTERIE="$program" COTERIE_LAUNCHER="$launcher" timeout 20 \
        sbatch --parsable --job-name="$name" --ntasks=2 --output=%x.log "$@" "$COTERIE_SOURCE/jobs/train.sbatch" small.yaml \
        --set "output.dir=$name" --set checkpoint.every_steps=4)" || fail "sbatch refuses $name"
}

# field ID NAME: what Slurm knows of a job.
field() {
    timeout 10 scontrol --oneliner show job "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"
}

has_ended() {
    [[ "$(field "$1" JobState)" =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY)$ ]]
}

# expect NAME STATE: how a job ends.
expect() {
    local id="${ids[$1]}" log="$scratch/$1.log" state
    within 120 has_ended "$id" || fail "$1: has not ended but is $(field "$id" JobState): $(tail -n 3 "$log")"
    state="$(field "$id" JobState)"
    [ "$state" = "$2" ] || fail "$1: $state, not $2: $(tail -n 5 "$log")"
}

# How often a job went back to the queue.
restarts() {
    field "${ids[$1]}" Restarts
}

expect_log() {
    grep -q "$2" "$scratch/$1.log" || fail "$1: nothing of '$2' in its log: $(cat "$scratch/$1.log")"
}

expect_job_id() {
    "$COTERIE" inspect "$scratch/$1/latest.h5" >"$scratch/inspected"
    grep -qE "^ *slurm_job_id +${ids[$1]}\$" "$scratch/inspected" || fail "$1: the checkpoint does not name its job"
}

export OMPI_MCA_hwloc_base_binding_policy=none
cluster_start "$scratch/cluster"

# Slurm looks at limits twice a minute and may send a signal a minute early: this one comes 10 s to 40 s after the start.
submit interrupted-srun "$scratch/slow" srun --time=1 --signal=B:USR1@20
submit interrupted-mpirun "$scratch/slow" mpirun --time=1 --signal=B:USR1@20
submit cancelled "$scratch/slow" srun
submit whole "$COTERIE" srun

expect whole COMPLETED
[ "$(restarts whole)" -eq 0 ] || fail "whole: was requeued"
expect_log whole "2 ranks, 16 experts"
expect_job_id whole
reference="$(digest "$scratch/whole/latest.h5")"
echo "a job of two ranks trained to its end"

within 60 test -e "$scratch/cancelled/latest.h5" || fail "cancelled: no checkpoint: $(cat "$scratch/cancelled.log")"
timeout 10 scancel "${ids[cancelled]}"
expect cancelled CANCELLED
[ "$(restarts cancelled)" -eq 0 ] || fail "cancelled: was requeued"
echo "a cancelled job stayed out of the queue"

for launcher in srun mpirun; do
    name="interrupted-$launcher"
    expect "$name" COMPLETED
    [ "$(restarts "$name")" -ge 1 ] || fail "$name: was not requeued: $(cat "$scratch/$name.log")"
    expect_log "$name" "start 1: stopped early"
    expect_log "$name" "resuming from $name/checkpoint-"
    expect_job_id "$name"
    [ "$(digest "$scratch/$name/latest.h5")" = "$reference" ] || fail "$name: other bits than an uninterrupted run"
    echo "a job under $launcher got its signal, was requeued and ended with the same bits"
done
