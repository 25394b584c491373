# A private Slurm of one node, for tests: cluster_start, cluster_stop. Its configuration, state, munge
# key and socket lie in one folder and its ports are its own, so it neither sees nor touches a Slurm
# or munge that the machine already runs. Between the two calls sbatch, scontrol and the others talk
# to it, by SLURM_CONF.

cluster_daemons=()

# skip REASON: end the script as skipped, in one line.
skip() {
    echo "skipped: $*"
    exit 77
}

# within SECONDS COMMAND...: try until the command succeeds; fails when it has not by then.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.2
    done
}

cluster_require() {
    local name
    PATH="$PATH:/usr/sbin:/sbin"
    for name in munged slurmctld slurmd sbatch srun scontrol setpriv; do
        command -v "$name" >/dev/null || skip "$name is missing (Debian: slurm-wlm, munge)"
    done
    # slurmd starts jobs as the user who submitted them.
    [[ "$(id -u)" -eq 0 ]] || skip "a private Slurm can be started by root only"
}

# Two neighbouring ports where nothing listens, the first in $cluster_port.
cluster_find_ports() {
    local try
    for ((try = 0; try < 50; try++)); do
        cluster_port=$((20000 + (RANDOM * 32768 + RANDOM) % 10000))
        (: <"/dev/tcp/127.0.0.1/$cluster_port") 2>/dev/null && continue
        (: <"/dev/tcp/127.0.0.1/$((cluster_port + 1))") 2>/dev/null && continue
        return 0
    done
    skip "no free ports"
}

# A job that is requeued waits for cred_expire seconds. OverTimeLimit, in minutes, lets a job outlast
# its limit: tests look at the signal that comes before it. Without cgroups this runs in containers.
cluster_configure() {
    local host
    host="$(hostname -s)"
    cat >"$cluster/slurm.conf" <<END_CONF
ClusterName=private
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$cluster_port
SlurmdPort=$((cluster_port + 1))
SlurmUser=root
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd.pid
AuthType=auth/munge
AuthInfo=socket=$cluster/munge.socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=5
SlurmdParameters=config_overrides
ReturnToService=2
OverTimeLimit=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP
END_CONF
}

# cluster_daemon NAME COMMAND...: in the background, its output in a log. It does not outlive this
# script, even when that is killed.
cluster_daemon() {
    local name="$1"
    shift
    setpriv --pdeathsig TERM -- "$@" >"$cluster/$name.log" 2>&1 &
    cluster_daemons+=($!)
}

# cluster_need NAME COMMAND...: skipped, with the daemon's last words, unless the command succeeds in
# time.
cluster_need() {
    local name="$1"
    shift
    within 30 "$@" || skip "$name does not start here: $(tail -n 1 "$cluster/$name.log")"
}

# cluster_start FOLDER: which is made.
cluster_start() {
    cluster_require
    cluster="$1"
    mkdir -p "$cluster/state" "$cluster/spool"
    cluster_find_ports
    cluster_configure
    export SLURM_CONF="$cluster/slurm.conf"
    (umask 077 && head -c 128 /dev/urandom >"$cluster/munge.key")
    cluster_daemon munged munged --foreground --force --key-file="$cluster/munge.key" \
        --socket="$cluster/munge.socket" --pid-file="$cluster/munge.pid" \
        --seed-file="$cluster/munge.seed" --log-file="$cluster/munge.log"
    cluster_need munged munge --no-input --socket="$cluster/munge.socket"
    cluster_daemon slurmctld slurmctld -D
    cluster_need slurmctld timeout 10 scontrol ping
    cluster_daemon slurmd slurmd -D
    cluster_need slurmd cluster_is_idle
}

cluster_is_idle() {
    [[ "$(timeout 10 sinfo --noheader --format=%T)" == idle ]]
}

# The jobs first, then the daemons that this script started, in reverse order.
cluster_stop() {
    local i daemon
    if [[ ${#cluster_daemons[@]} -eq 3 ]]; then
        timeout 10 scancel --user=root 2>/dev/null || true
        within 30 cluster_is_idle || true
    fi
    for ((i = ${#cluster_daemons[@]} - 1; i >= 0; i--)); do
        daemon="${cluster_daemons[i]}"
        kill "$daemon" 2>/dev/null || true
        within 10 cluster_is_gone "$daemon" || kill -KILL "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    done
    cluster_daemons=()
}

cluster_is_gone() {
    ! kill -0 "$1"
}
