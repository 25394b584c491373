#!/usr/bin/env bash
# A rank that nobody launched starts no daemon of Open MPI and makes no directory for it: it trains where there is none to be found,
# and beside others.
source "$(dirname "$0")/../support/cli.bash"

train_without_daemon() {
    OPAL_BINDIR="$scratch/nothing" ranks 1 train "$scratch/small.yaml" --steps 1 --set "output.dir=$scratch/$1" \
        >"$scratch/log" 2>&1
}

train_without_daemon alone || fail "$(tail -n 3 "$scratch/log")"
OMPI_MCA_ess_singleton_isolated=0 train_without_daemon asked && fail "a daemon that is asked for is not missed"

# One directory for all ranks would be taken from those that begin by those that end. A file has no directories.
train_without_directory() {
    TMPDIR="$scratch/small.yaml" ranks 1 train "$scratch/small.yaml" --steps 1 --set "output.dir=$scratch/$1" >"$scratch/log" 2>&1
}

train_without_directory nowhere || fail "$(tail -n 3 "$scratch/log")"
OMPI_MCA_orte_create_session_dirs=1 train_without_directory somewhere && fail "a directory that is asked for is not missed"
[ ! -e "$scratch/somewhere" ] || fail "trained without the directory that was asked for"
exit 0
