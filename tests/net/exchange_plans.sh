#!/usr/bin/env bash
# Over 1 Gbit/s the plan `tokens` is much faster than `slots` where a sample has 4 tokens and 128 slots (docs/performance.md has
# figures): slots are 32 times the bytes, so on a busy machine too the factor of 3 is far away.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"
source "$(dirname "$0")/hosts.bash"

# measured PLAN: milliseconds of a step, the lower quartile: whatever else the machine does, does not disturb every step.
measured() {
    apart 2 bench step "$COTERIE_SOURCE/jobs/recipes/quickstart.yaml" --set train.batch=256 --set data.train_samples=2560 \
        --set model.experts=128 --set "parallel.exchange=$1" --seconds 1 --format json >"$scratch/json" 2>"$scratch/log" ||
        fail "$1: $(cat "$scratch/log")"
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["quartiles_ms"][0])' <"$scratch/json"
}

slots="$(measured slots)"
tokens="$(measured tokens)"
echo "a step: $slots ms by slots, $tokens ms by tokens"
# What the wire needs at the least: four times 128 samples of 64 slots, 196 numbers each, one way.
"$python" - "$slots" "$tokens" <<'PYTHON' || fail "not as a wire of 1 Gbit/s makes it"
import sys
slots, tokens = map(float, sys.argv[1:])
wire = 4 * 128 * 64 * 196 * 4 * 8 / 1e9 * 1e3
sys.exit(not (slots > 0.9 * wire and slots > 3 * tokens))
PYTHON
