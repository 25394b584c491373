# Shared by the command-line tests. Each gets from CTest: COTERIE (the program), COTERIE_SOURCE,
# COTERIE_BUILD and FAULT_LIBRARY.
set -euo pipefail

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# A page takes seconds: tests of pages say who makes them, all others call a program that does nothing.
export COTERIE_PYTHON=/bin/true

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# ranks N COMMAND...: the program on N ranks, one without mpirun; never for longer than five minutes.
ranks() {
    local n="$1" launcher=()
    shift
    [ "$n" = 1 ] || launcher=(mpirun --oversubscribe --bind-to none -n "$n")
    timeout 300 "${launcher[@]}" "$COTERIE" "$@"
}

# expect CODE TEXT COMMAND...: it ends with this exit code and one line of error, which holds this
# text. What it printed is in $scratch/out, its messages in $scratch/all.
expect() {
    local code="$1" text="$2" got=0
    shift 2
    "$@" >"$scratch/out" 2>"$scratch/all" || got=$?
    # The log, and mpirun's own remarks on an exit code, are other lines.
    grep '^coterie: error: ' "$scratch/all" >"$scratch/err" || true
    if [[ $got -ne $code || $(wc -l <"$scratch/err") -ne 1 ]] || ! grep -qF -- "$text" "$scratch/err"; then
        fail "'$*' ended with $got, not $code and '$text': $(cat "$scratch/all")"
    fi
}

# expect_line CODE TEXT TOOL...: the same of a tool, which says nothing else on its standard error.
expect_line() {
    local code="$1" text="$2" got=0
    shift 2
    timeout 300 "$@" >"$scratch/out" 2>"$scratch/err" || got=$?
    if [[ $got -ne $code || $(wc -l <"$scratch/err") -ne 1 ]] || ! grep -qF -- "$text" "$scratch/err"; then
        fail "'$*' ended with $got, not $code and '$text': $(cat "$scratch/err")"
    fi
}

# core_of CHECKPOINT: the kernels that OpenBLAS had in the run that wrote it.
core_of() {
    "$COTERIE" inspect "$1" | sed -n 's/^  blas_core *//p'
}

digest() {
    "$COTERIE" inspect --digest "$1"
}

# numbers FILE OPTION...: a digest of what h5dump selects by these options, without attributes: a digest of all covers the recipe, so any
# setting changes it, even one without an effect.
numbers() {
    h5dump -A 0 -m %.9g "${@:2}" "$1" | sed 1d | sha256sum
}

# A run of about two seconds: three epochs of 20 batches, the last one of each smaller.
cat >"$scratch/small.yaml" <<'END'
seed: 7
model:
  experts: 16
  expert_hidden_total: 96
router:
  normalize: inputs
data:
  source: glyphs
  train_samples: 1250
  test_samples: 300
train:
  batch: 64
  epochs: 3
  shuffle: true
output:
  log_every: 10
  report: false
END

# The run that promises are checked on: the small one, or with COTERIE_FULL=1 three epochs of MNIST,
# from the folder that COTERIE_MNIST names. That takes a quarter of an hour instead of two minutes.
promised=(train)
if [ -n "${COTERIE_FULL:-}" ] && [ -n "${COTERIE_MNIST:-}" ]; then
    promised+=("$COTERIE_SOURCE/jobs/recipes/mnist.yaml" --set "data.path=$COTERIE_MNIST" --set train.epochs=3
        --set output.report=false)
else
    promised+=("$scratch/small.yaml")
fi
