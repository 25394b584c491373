#!/usr/bin/env bash
# Three ranks divide no power of two: parameters agree with those of one rank to rounding, after one step and after an epoch.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"

cat >"$scratch/compare.py" <<'END'
import sys, h5py, numpy as np
a, b, bound = h5py.File(sys.argv[1]), h5py.File(sys.argv[2]), float(sys.argv[3])
# NumPy's max knows NaN.
worst = np.max([np.linalg.norm(a["params"][n][()].astype(float) - b["params"][n][()])
                / np.linalg.norm(b["params"][n][()].astype(float)) for n in b["params"]])
print(f"largest ||a-b||/||b|| of a parameter: {worst:.2e}, allowed {bound:.0e}")
sys.exit(not worst < bound)
END

compare() {
    "$python" "$scratch/compare.py" "$scratch/three/$1" "$scratch/one/$1" "$2" || fail "$1"
}

for steps in 1 0; do
    for n in 1 3; do
        [ "$n" = 1 ] && name=one || name=three
        limit=(--steps 1)
        [ "$steps" = 1 ] || limit=(--set train.epochs=1 --resume auto)
        ranks "$n" "${promised[@]}" --set "output.dir=$scratch/$name" "${limit[@]}" 2>"$scratch/log" ||
            fail "$(tail -n 3 "$scratch/log")"
    done
    # One step: float32 rounding of sums. One epoch: what training makes of it.
    if [ "$steps" = 1 ]; then compare latest.h5 1e-6; else compare latest.h5 1e-3; fi
done
