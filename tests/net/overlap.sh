#!/usr/bin/env bash
# Where slots travel about as long as the experts compute, chunks of experts hide a good part of the one behind the other
# (docs/performance.md has figures).
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"
source "$(dirname "$0")/hosts.bash"

# measured CHUNKS: milliseconds of a step, the lower quartile.
measured() {
    timeout 300 "$two_hosts" --mtu 9000 mpirun -n 2 "$COTERIE" bench step "$COTERIE_SOURCE/jobs/recipes/quickstart.yaml" \
        --set train.batch=256 --set data.train_samples=2560 --set model.expert_hidden_total=5120 \
        --set parallel.exchange=slots --set "parallel.chunks=$1" --seconds 1.5 --format json >"$scratch/json" 2>"$scratch/log" ||
        fail "$1 chunks: $(cat "$scratch/log")"
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["quartiles_ms"][0])' <"$scratch/json"
}

for ((round = 0; round < 2; round++)); do
    measured 1 >>"$scratch/whole"
    measured 8 >>"$scratch/cut"
done
whole="$(sort -g "$scratch/whole" | head -n 1)"
cut="$(sort -g "$scratch/cut" | head -n 1)"
echo "a step: $whole ms in one piece, $cut ms in 8 chunks"
"$python" -c 'import sys; whole, cut = map(float, sys.argv[1:]); sys.exit(cut > 0.87 * whole)' "$whole" "$cut" ||
    fail "nothing is hidden"
