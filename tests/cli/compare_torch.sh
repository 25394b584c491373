#!/usr/bin/env bash
# tools/compare-torch: the first 50 losses are those of PyTorch, with every option that matters to
# one; other losses are one line and exit code 1; then a table, or JSON.
source "$(dirname "$0")/../support/cli.bash"
compare="$COTERIE_SOURCE/tools/compare-torch"
python=/usr/bin/python3 # the one that the tool runs under

if ! "$python" -c 'import h5py, numpy, torch' 2>/dev/null; then
    echo "$python lacks h5py, numpy or torch: NOT compared with PyTorch"
    exit 77
fi
# Other tests may hold the cores.
export OMPI_MCA_hwloc_base_binding_policy=none

# compared OPTION...: it ends well, and its JSON is in $scratch/out.
compared() {
    timeout 300 "$compare" "$scratch/small.yaml" --format json "$@" >"$scratch/out" 2>"$scratch/err" ||
        fail "compare-torch $*: $(cat "$scratch/err")"
}

# holds EXPRESSION: it is true of that JSON, `found`.
holds() {
    "$python" -c "import json, sys; found = json.load(open(sys.argv[1])); sys.exit(not ($1))" "$scratch/out" ||
        fail "not true: $1: $(cat "$scratch/out")"
}

# ---- the same losses, and a row for each way of running ----
compared --seconds 0.2 --rounds 1
holds 'found["losses"] == 50 and found["largest_difference"] < 1e-4'
holds 'len(found["rows"]) == 4 and all(row["samples_per_s"] > 0 for row in found["rows"])'
holds 'max(row["ratio"] for row in found["rows"][:3]) == 1'

# Both by the same kernels of OpenBLAS, if PyTorch has it.
"$COTERIE" train "$scratch/small.yaml" --steps 0 --set output.dir="$scratch/core" >/dev/null 2>&1
holds "found['kernels'] in (None, '$(core_of "$scratch/core/latest.h5")')"

options=(router.normalize=logits router.noise=0.3 model.activation=gelu model.experts=5 model.slots=3
    model.patch_height=7 model.embed=12 model.embed_bias=true model.layers=2 model.residual=true
    model.expert_bias=true model.pool=mean model.head_bias=true loss.label_smoothing=0.1
    optimizer.kind=adamw optimizer.weight_decay=0.1 optimizer.clip_norm=0.5 train.accumulate=3
    schedule.kind=cosine schedule.warmup_steps=10 train.shuffle=false)
compared --rounds 0 --form einsum "${options[@]/#/--set=}"
holds 'found["losses"] == 50 and found["largest_difference"] < 1e-4 and not found["rows"]'

# Gradients that are clipped: unlike Adam, SGD does not undo their scale.
options=(data.source=l2norm data.train_samples=450 loss.kind=mean_squared_error model.patch_height=1 model.patch_width=8
    model.slots=2 model.expert_bias=true router.uniform_dispatch=true train.drop_last=true
    optimizer.kind=sgd optimizer.momentum=0.9 optimizer.clip_norm=4.6)
compared --rounds 0 --form projected --ranks 1 "${options[@]/#/--set=}"
holds 'found["losses"] == 21 and found["largest_difference"] < 1e-4'
"$COTERIE" train "$scratch/small.yaml" "${options[@]/#/--set=}" --set output.log_every=1 --set output.dir="$scratch/norms" 2>/dev/null
norms="$(sed -n 's/.*"gradient_norm": \([^,]*\).*/\1/p' "$scratch/norms/metrics.jsonl")"
awk '{ clipped += $1 > 4.6 } END { exit !(0 < clipped && clipped < NR) }' <<<"$norms" || fail "clipped always or never: $norms"

# ---- other losses: a program that learns faster than it is told to ----
cat >"$scratch/faster" <<END
#!/bin/sh
case "\$*" in *--resume*) set -- "\$@" --set optimizer.learning_rate=0.002 ;; esac
exec "$COTERIE" "\$@"
END
chmod +x "$scratch/faster"
COTERIE="$scratch/faster" expect_line 1 'in PyTorch (1 thread), off by' "$compare" "$scratch/small.yaml" --rounds 0

# ---- what is wrong ----
expect_line 64 'see tools/compare-torch --help' "$compare"
expect_line 64 'not a number of at least 1' "$compare" "$scratch/small.yaml" --ranks 0
expect_line 64 'no such program' env COTERIE="$scratch/nowhere" "$compare" "$scratch/small.yaml"
expect_line 66 'cannot read the recipe' "$compare" "$scratch/none.yaml"
expect_line 78 "unknown key 'model.expertz'" "$compare" "$scratch/small.yaml" --set model.expertz=3
