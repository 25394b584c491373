#!/usr/bin/env bash
# A rank that nobody launched starts no daemon of Open MPI: it trains where there is none to be found.
source "$(dirname "$0")/../support/cli.bash"

train_without_daemon() {
    OPAL_BINDIR="$scratch/nothing" ranks 1 train "$scratch/small.yaml" --steps 1 --set "output.dir=$scratch/$1" \
        >"$scratch/log" 2>&1
}

train_without_daemon alone || fail "$(tail -n 3 "$scratch/log")"
OMPI_MCA_ess_singleton_isolated=0 train_without_daemon asked && fail "a daemon that is asked for is not missed"
exit 0
