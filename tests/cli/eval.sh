#!/usr/bin/env bash
# Evaluation: the same numbers and predictions on every number of ranks, all fields of the JSON, all splits, part of the experts, and
# regression. What is printed is recomputed from the predictions, and is what training has met; the best checkpoint is the best.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"

cat >"$scratch/check.py" <<'END_OF_PYTHON'
"""check.py JSON PREDICTIONS...: the first predictions agree with what was printed, the others with the first, to the bit."""
import json, sys, h5py, numpy as np

printed = json.load(open(sys.argv[1]))
files = [h5py.File(name) for name in sys.argv[2:]]
arrays = [{name: data[()] for name, data in file.items()} for file in files]
logits, labels, kept = (arrays[0][name] for name in ("logits", "labels", "kept"))
for other in arrays[1:]:
    assert all(other[name].tobytes() == arrays[0][name].tobytes() for name in arrays[0]), "other predictions on other ranks"

assert files[0].attrs["split"].decode() == printed["split"]
assert len(logits) == len(labels) == len(kept) == printed["samples"]
counts = kept.sum(axis=2, dtype=int)
assert kept.shape[2] == printed["experts"]
assert abs(counts.mean() - printed["kept"]) < 1e-8 * counts.mean() and abs(counts.std() - printed["kept_deviation"]) < 1e-6
assert printed["selector"] == "mass" or (counts == printed["kept"]).all()
logits = logits.astype(float)
if printed["accuracy"] is None:
    assert printed["accuracy_by_class"] is None and labels.dtype == np.float32
    loss = np.mean((logits[:, 0] - labels) ** 2)
    relative = loss / np.var(labels.astype(float))
    assert abs(relative - printed["relative_error"]) < 1e-6 * relative, relative  # nine digits are printed
else:
    assert printed["relative_error"] is None and labels.dtype == np.int32
    right = logits.argmax(axis=1) == labels
    classes = range(logits.shape[1])
    by_class = [right[labels == c].mean() if (labels == c).any() else None for c in classes]
    assert abs(right.mean() - printed["accuracy"]) < 1e-8, right.mean()
    for mine, theirs in zip(by_class, printed["accuracy_by_class"], strict=True):
        assert mine == theirs or abs(mine - theirs) < 1e-8, (mine, theirs)
    largest = logits.max(axis=1)
    loss = np.mean(largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1)) - logits[np.arange(len(labels)), labels])
# The program's losses are float32 a sample.
assert abs(loss - printed["loss"]) < 1e-5 * loss, (loss, printed["loss"])
END_OF_PYTHON

cat >"$scratch/epochs.py" <<'END_OF_PYTHON'
"""epochs.py FOLDER JSON...: best.h5 is the first of the best epochs, and epochs say what is printed of the checkpoints behind them."""
import json, os, sys, numpy as np

folder = sys.argv[1]
events = [json.loads(line) for line in open(f"{folder}/metrics.jsonl")]
epochs, steps = ([e for e in events if e["event"] == kind] for kind in ("epoch", "step"))
learns = epochs[0]["learning_rate"] > 0
names = [f"{split}_{measure}" for split in ("validation", "test") for measure in ("accuracy", "loss")]
errors = [[-e[name] if "accuracy" in name else e[name] for e in epochs] for name in names if epochs[0].get(name) is not None]
best, *others = map(np.argmin, errors)  # the first of equal ones
assert os.readlink(f"{folder}/best.h5") == f"checkpoint-{epochs[best]['step']}.h5", errors[0]
assert not learns or best not in (*others, np.argmax(errors[0]), len(epochs) - 1), f"numbers that tell nothing: {errors}"

sizes = np.diff([*range(0, 1100, 64), 1100])
for epoch in epochs if len(steps) == epochs[-1]["step"] else []:
    mean = np.average([e["loss"] for e in steps if e["epoch"] == epoch["epoch"]], weights=sizes)
    assert abs(mean - epoch["train_loss"]) < 1e-8 * mean, (mean, epoch)  # nine digits are printed

for printed in map(json.load, map(open, sys.argv[2:])):
    file = os.path.basename(os.path.realpath(printed["checkpoint"]))
    epoch, = (e for e in epochs if file == f"checkpoint-{e['step']}.h5")
    found = {name: value for name, value in epoch.items() if name.startswith(printed["split"])}
    assert found and not ("train_loss" in found and learns), file
    for name, met in found.items():
        now = printed[name.split("_", 1)[1]]
        # Trained with two expert replicas, evaluated with one: products of other shapes, so the last digits may differ.
        assert met == now or abs(met - now) < 1e-6 * now, (name, met, now)
END_OF_PYTHON

# evaluated RANKS NAME CHECKPOINT ARGUMENT...: on each number of ranks the same output but for the time, and predictions that agree with it.
evaluated() {
    local name="$2" checkpoint="$3" n first
    read -ra counts <<<"$1"
    first="$scratch/$name-${counts[0]}.json"
    shift 3
    for n in "${counts[@]}"; do
        ranks "$n" eval "$checkpoint" --format json --predictions "$scratch/$name-$n.h5" "$@" >"$scratch/$name-$n.json" 2>"$scratch/log" ||
            fail "$name on $n ranks: $(tail -n 3 "$scratch/log")"
        [ ! -s "$scratch/log" ] || fail "$name on $n ranks says on standard error: $(cat "$scratch/log")"
        sed -i 's/, "seconds": .*/}/' "$scratch/$name-$n.json" # times come last
        # On three ranks, which divide no power of two, the outputs of a sample are the same bits, but sums over samples are not.
        [ "$n" = 3 ] || cmp -s "$first" "$scratch/$name-$n.json" || fail "$name: $n ranks print another result"
    done
    "$python" "$scratch/check.py" "$first" "$scratch/$name"-[1-4].h5 || fail "$name: the predictions say otherwise"
    cp "$first" "$scratch/$name.json"
    echo "$name: $(cut -c 1-130 "$first")..."
}

field() {
    grep -o "\"$2\": [^,}]*" "$scratch/$1.json"
}

# By steps that grow too long the model is best before its end: by the validation split behind another epoch than by the test split.
small="$scratch/small.yaml"
ranks 2 train "$small" --set "output.dir=$scratch/run" --set data.validation=150 --set parallel.expert_replicas=2 --set model.layers=2 \
    --set model.residual=true --set seed=3 --set train.epochs=5 --set optimizer.learning_rate=0.07 --set schedule.warmup_steps=108 \
    --set output.log_every=1 2>"$scratch/log" || fail "$(tail -n 3 "$scratch/log")"
best="$scratch/run/best.h5"
before="$(sha256sum <"$best")"

evaluated "1 2 3 4" test "$best"
evaluated "1 2 3 4" part "$best" --keep 3
evaluated "1 2 3 4" mass "$best" --keep-mass 0.8
evaluated "1 2" dispatch "$best" --keep 3 --select dispatch
evaluated "1 4" chance "$best" --keep 3 --select random
evaluated 2 chance-1 "$best" --keep 3 --select random --seed 1
evaluated 2 all "$best" --keep 16
evaluated 2 all-mass "$best" --keep-mass 1
evaluated 1 train "$best" --split train
evaluated 2 validation "$best" --split validation
evaluated 3 few "$best" --set data.test_samples=7
[ "$(field test samples) $(field train samples) $(field validation samples) $(field few samples)" = \
    '"samples": 300 "samples": 1100 "samples": 150 "samples": 7' ] || fail "splits of other sizes"
# Kept slots are mixed expert by expert, not in one matrix product, so the last of nine digits may differ.
[ "$(field all loss | cut -c 1-14)" = "$(field test loss | cut -c 1-14)" ] || fail "keeping all experts is not keeping all"
[ "$(field all-mass loss | cut -c 1-14)" = "$(field test loss | cut -c 1-14)" ] || fail "keeping all the mass is not keeping all"
different="$(for name in test part mass dispatch chance chance-1; do field "$name" loss; done | sort -u | wc -l)"
[ "$different" = 6 ] || fail "six selections, $different losses"
[ "$(field part kept) $(field part selector)" = '"kept": 3.0 "selector": "combine"' ] || fail "not three experts by combine"
[ "$(field test kept) $(field test selector)" = '"kept": 16.0 "selector": null' ] || fail "not all experts"
"$python" "$scratch/epochs.py" "$scratch/run" "$scratch"/{test,validation}.json || fail "training has met something else"
# Without learning, an epoch is an evaluation of the training data, and of equal epochs the first is the best.
ranks 1 train "$small" --set "output.dir=$scratch/still" --set optimizer.learning_rate=0 --set train.epochs=2 --set train.accumulate=3 \
    2>"$scratch/log" || fail "$(tail -n 3 "$scratch/log")"
evaluated 1 still "$scratch/still/latest.h5" --split train
"$python" "$scratch/epochs.py" "$scratch/still" "$scratch/still.json" || fail "training has met something else than its data"

# ---- side by side ----
cat >"$scratch/compare.py" <<'END_OF_PYTHON'
"""compare.py COMPARED PART ALL: what is printed side by side is what either evaluation prints alone, and its times add up."""
import json, sys
both, part, all_experts = (json.load(open(name)) for name in sys.argv[1:])
for mine, alone in ((both, part), (both["all_experts"], all_experts)):
    for name in ("loss", "accuracy", "accuracy_by_class", "kept", "kept_deviation"):
        assert mine[name] == alone[name], name
    # A phase's longest rank is not another phase's, so their sum may exceed the whole; none alone does.
    phases = mine["phase_seconds_per_sample"]
    assert all(0 <= phases[name] <= mine["seconds_per_sample"] for name in phases), mine
    assert phases["experts"] > 0 and phases["route"] > 0
    assert abs(mine["seconds_per_sample"] * both["samples"] / mine["seconds"] - 1) < 1e-6
heavy = [e["phase_seconds_per_sample"]["experts"] + e["phase_seconds_per_sample"]["exchange"] for e in (both, both["all_experts"])]
assert abs(both["ratio"]["experts_and_exchange"] / (heavy[0] / heavy[1]) - 1) < 1e-6
assert abs(both["ratio"]["accuracy"] / (both["accuracy"] / both["all_experts"]["accuracy"]) - 1) < 1e-6
END_OF_PYTHON
ranks 2 eval "$best" --keep 3 --compare --format json >"$scratch/both.json" 2>"$scratch/log" || fail "--compare: $(cat "$scratch/log")"
"$python" "$scratch/compare.py" "$scratch/both.json" "$scratch/part.json" "$scratch/test.json" || fail "--compare says something else"
ranks 2 eval "$best" --keep-mass 0.8 --compare >"$scratch/text" 2>"$scratch/log" || fail "--compare as text"
grep -q 'experts + exchange' "$scratch/text" || fail "no times side by side"

# ---- text, and nothing but the result on standard output ----
ranks 2 eval "$best" --set data.test_samples=7 >"$scratch/text" 2>"$scratch/log" || fail "as text"
grep -q '^accuracy  *[0-9.]*%$' "$scratch/text" || fail "no accuracy in the text"
grep -q 'no samples' "$scratch/text" || fail "a class without samples has an accuracy"
grep -qi nan "$scratch/text" && fail "a number that is none"

# ---- regression: the test split chooses the best; evaluations know nothing of the noise that training has ----
ranks 2 train "$COTERIE_SOURCE/jobs/recipes/l2norm.yaml" --set "output.dir=$scratch/norm" --set train.steps=40 --set data.test_samples=500 \
    --set data.train_samples=2560 --set router.noise=0.5 --set optimizer.learning_rate=0.1 --set schedule.kind=constant \
    --set schedule.warmup_steps=100 2>"$scratch/log" || fail "$(tail -n 3 "$scratch/log")"
evaluated "1 4" regression "$scratch/norm/latest.h5"
evaluated 3 regression-part "$scratch/norm/latest.h5" --keep 5
evaluated 1 noiseless "$scratch/norm/latest.h5" --set router.noise=0
"$python" "$scratch/check.py" "$scratch/regression.json" "$scratch"/{regression,noiseless}-1.h5 || fail "an evaluation with noise"
"$python" "$scratch/epochs.py" "$scratch/norm" "$scratch/regression.json" || fail "training has met another error"

# ---- what cannot be ----
refused() { expect 64 "$1" "$COTERIE" eval "$best" "${@:2}"; }
refused "--keep-mass" --keep-mass 0
refused "--keep-mass" --keep-mass 1.01
refused "--keep-mass" --keep-mass much
refused "--keep-mass" --keep-mass nan
refused "exclude each other" --keep 2 --keep-mass 0.5
refused "'greedy'" --keep 2 --select greedy
refused "'best'" --keep 2 --select best
refused "--select" --select random
refused "after a pass over the whole split" --keep 2 --select common
refused "--seed" --keep 2 --seed 1
refused "--seed" --keep 2 --select random --seed -1
refused "--compare" --compare
refused "--keep" --keep 17
status=0
"$COTERIE" eval "$scratch/norm/latest.h5" --split validation 2>"$scratch/log" || status=$?
[ "$status" = 78 ] || fail "a split that is not there: code $status"
grep -q "data.validation" "$scratch/log" || fail "the line does not name the key: $(cat "$scratch/log")"
status=0
"$COTERIE" eval "$best" --predictions "$scratch/text/below-a-file.h5" >/dev/null 2>"$scratch/log" || status=$?
[ "$status" = 73 ] || fail "predictions that cannot be written: code $status"
expect_line 73 "is a checkpoint" "$COTERIE" eval "$best" --predictions "$best"
expect_line 73 "is not a regular file" "$COTERIE" eval "$best" --predictions "$scratch"
expect_line 73 "is a checkpoint" "$COTERIE" bench machine --seconds 0.1 --output "$best"
if [ -e /dev/full ]; then
    status=0
    "$COTERIE" eval "$best" >/dev/full 2>"$scratch/log" || status=$?
    [ "$status" = 74 ] || fail "standard output that cannot be written: code $status"
fi
[ "$(sha256sum <"$best")" = "$before" ] || fail "the checkpoint has changed"
find "$scratch" -name '*.partial*' | grep -q . && fail "a partial file is left"
echo "evaluated"
