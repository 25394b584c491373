#!/usr/bin/env bash
# An OpenBLAS that does not know the processor is told what fits; what the user asks for stays.
source "$(dirname "$0")/../support/cli.bash"

# core_under NAME COMMAND...: the kernels of two ranks that this command starts.
core_under() {
    local folder="$scratch/$1"
    shift
    "$@" mpirun --oversubscribe --bind-to none -n 2 "$COTERIE" train "$scratch/small.yaml" --steps 0 \
        --set output.dir="$folder" >/dev/null 2>&1
    core_of "$folder/latest.h5"
}

if [[ "$(uname -m)" != x86_64 ]]; then
    echo "only on x86-64 OpenBLAS has kernels to fall back to: skipped"
    exit 77
fi

grep -qw avx2 /proc/cpuinfo && told=told || told=Prescott
core="$(core_under unaware env -u OPENBLAS_CORETYPE LD_PRELOAD="$OLD_BLAS")"
[[ $core == "$told" ]] || fail "OpenBLAS without knowledge of the processor runs $core, not $told"

core="$(core_under own env -u OPENBLAS_CORETYPE)"
[[ $core != Prescott || $told == Prescott ]] || fail "OpenBLAS runs $core where AVX2 is at hand"

core="$(core_under asked env OPENBLAS_CORETYPE=Prescott)"
[[ $core == Prescott ]] || fail "OpenBLAS runs $core, not what the environment asked for"
