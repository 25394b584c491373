#!/usr/bin/env bash
# A statistics file is complete whenever it is opened, also while training goes on; its sums are what they must be; its bits are the
# same on every number of ranks.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"
/usr/bin/python3 -c 'import h5py, xarray, h5netcdf' 2>/dev/null && python=/usr/bin/python3
check="$COTERIE_SOURCE/tests/cli/stats_open.py"

# ---- read while it is written ----
mpirun --oversubscribe --bind-to none -n 2 "$COTERIE" train "$scratch/small.yaml" --set "output.dir=$scratch/run" --set train.epochs=5000 \
    --set checkpoint.keep=1 2>"$scratch/log" &
training=$!
trap 'kill "$training" 2>/dev/null || true; rm -rf "$scratch"' EXIT
timeout 300 "$python" "$check" "$scratch/run/stats.h5" "$training" || fail "not complete while training: $(tail -n 3 "$scratch/log")"
code=0
wait "$training" || code=$?
[ "$code" = 75 ] || fail "ended with $code when it was stopped: $(tail -n 3 "$scratch/log")"
trap 'rm -rf "$scratch"' EXIT
records="$("$python" -c 'import h5py, sys; print(len(h5py.File(sys.argv[1])["record"]))' "$scratch/run/stats.h5")"
epochs="$(grep -c '"event": "epoch"' "$scratch/run/metrics.jsonl")"
[ "$records" = "$epochs" ] || fail "$records records after $epochs epochs"
find "$scratch/run" -name '*.partial*' | grep -q . && fail "a partial file is left"

# ---- the same bits ----
first="" study=""
for n in 1 2 4; do
    ranks "$n" train "$scratch/small.yaml" --set "output.dir=$scratch/run-$n" --set model.slots=2 2>"$scratch/log" || fail "$(tail -n 3 "$scratch/log")"
    now="$(digest "$scratch/run-$n/stats.h5")"
    [ "${first:=$now}" = "$now" ] || fail "$n ranks write another stats.h5"
    ranks "$n" specialize "$scratch/run-1/latest.h5" -o "$scratch/study-$n.h5" --select all --samples --seeds 2 >"$scratch/out" 2>"$scratch/log" ||
        fail "$(tail -n 3 "$scratch/log")"
    now="$(digest "$scratch/study-$n.h5")"
    [ "${study:=$now}" = "$now" ] || fail "$n ranks write another study"
done
"$python" - "$scratch/study-1.h5" <<'END'
import h5py, sys
with h5py.File(sys.argv[1], "r+") as file:
    file["combine_mass"][0, 0, 0] *= 1 + 1e-15
END
[ "$(digest "$scratch/study-1.h5")" != "$study" ] || fail "a digest that does not tell numbers apart"
"$python" "$check" --sums "$scratch/study-4.h5" || fail "sums of a study"
"$python" "$check" --sums "$scratch/run-4/stats.h5" || fail "sums of stats.h5"
echo "the same bits on 1, 2 and 4 ranks"
