#!/usr/bin/env bash
# The specialization study: the same bits on every number of ranks, curves that agree with `eval --keep K`, numbers printed that are those
# in the file, models of several layers and of regression, and files that stay as they were when anything fails.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"

small="$scratch/small.yaml"
fast=(--set optimizer.learning_rate=0.01 --set stats.every=0 --set output.report=false)

# trained NAME ARGUMENT...: a run in a folder of that name.
trained() {
    ranks 2 train "$small" "${fast[@]}" --set "output.dir=$scratch/$1" "${@:2}" 2>"$scratch/log" || fail "$1: $(tail -n 3 "$scratch/log")"
}

# studied RANKS NAME CHECKPOINT ARGUMENT...: on each number of ranks; equal digests but on three, which divide no power of two. The first
# is called $scratch/NAME.h5, and what it printed $scratch/NAME.json.
studied() {
    local name="$2" checkpoint="$3" n want=""
    read -ra counts <<<"$1"
    shift 3
    for n in "${counts[@]}"; do
        ranks "$n" specialize "$checkpoint" -o "$scratch/$name-$n.h5" --format json "$@" >"$scratch/$name-$n.json" 2>"$scratch/log" ||
            fail "$name on $n ranks: $(tail -n 3 "$scratch/log")"
        if [ -z "$want" ]; then want="$(digest "$scratch/$name-$n.h5")"; fi
        [ "$n" = 3 ] || [ "$(digest "$scratch/$name-$n.h5")" = "$want" ] || fail "$name: other bits on $n ranks"
    done
    cp "$scratch/$name-${counts[0]}.h5" "$scratch/$name.h5"
    cp "$scratch/$name-${counts[0]}.json" "$scratch/$name.json"
    echo "$name: $want"
}

cat >"$scratch/check.py" <<'END_OF_PYTHON'
"""printed JSON FILE: what was printed is what is in the file.   close FILE FILE: the same to rounding.
curve FILE CHECKPOINT COTERIE FOLDER [ARGUMENT...]: curves agree with the evaluations that keep so many experts.
has FILE NAME..., lacks FILE NAME...: variables.   keeps FILE K...: subset sizes."""
import json, subprocess, sys, h5py, numpy as np

def printed(report, name):
    said, file = json.load(open(report)), h5py.File(name)
    checked = 0
    for key, value in said.items():
        place = key if key in file else "timing/" + key
        if place not in file: continue
        data = file[place][()]
        data = data if place in ("keep", "mass", "seed") else data[0]
        # Nine digits are printed; what is no number is null.
        assert np.allclose(np.array(value, float), data.astype(float), rtol=1e-8, atol=0, equal_nan=True), key
        checked += 1
    assert checked >= 10, checked

def close(left, right):
    a, b = h5py.File(left), h5py.File(right)
    assert list(a) == list(b)
    for name in a:
        if isinstance(a[name], h5py.Dataset):  # sums of float64, in another order, of a few hundred float32
            x, y = a[name][()].astype(float), b[name][()].astype(float)
            assert np.allclose(x, y, rtol=1e-6, atol=1e-9, equal_nan=True), name

def evaluated(checkpoint, program, folder, split, *arguments):
    """JSON of an evaluation, and the margin by which each sample's best class leads."""
    command = [program, "eval", checkpoint, "--format", "json", "--split", split, "--predictions", folder + "/p.h5", *arguments]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    with h5py.File(folder + "/p.h5") as file:
        logits = np.sort(file["logits"][()].astype(float), axis=1)
        return said, logits, file["kept"][()]

def curve(name, checkpoint, program, folder, *arguments):
    file = h5py.File(name)
    split = file.attrs["split"].decode() if isinstance(file.attrs["split"], bytes) else file.attrs["split"]
    score = "accuracy" if "accuracy" in file else "relative_error"
    def agree(said, logits, accuracy, loss, what):
        # The study adds single experts' contributions, the evaluation mixes slots: float32 in another order.
        assert abs(said["loss"] / loss - 1) < 2e-5, (what, said["loss"], loss)
        if score == "accuracy":
            near = (logits[:, -1] - logits[:, -2] < 1e-4).mean()
            assert abs(said[score] - accuracy) <= near + 1e-9, (what, said[score], accuracy)
        else:
            assert abs(said[score] / accuracy - 1) < 2e-5, (what, said[score], accuracy)
    checked = 0
    for selector in ("combine", "dispatch", "random"):
        if f"loss_{selector}" not in file: continue
        for k, keep in enumerate(file["keep"]):
            at = (0, 1, k) if selector == "random" else (0, k)
            chosen = ["--select", selector] + (["--seed", str(file["seed"][1])] if selector == "random" else [])
            said, logits, kept = evaluated(checkpoint, program, folder, split, "--keep", str(keep), *chosen, *arguments)
            agree(said, logits, file[f"{score}_{selector}"][at], file[f"loss_{selector}"][at], (selector, keep))
            if selector != "random":
                used = [len(np.unique(kept[:, layer], axis=0)) for layer in range(kept.shape[1])]
                # Masses of the split's samples do not tie, so both choose alike.
                assert used == file[f"distinct_subsets_{selector}"][0, :, k].tolist(), (selector, keep, used)
            checked += 1
    for m, mass in enumerate(file["mass"] if "mass" in file else []):
        said, logits, kept = evaluated(checkpoint, program, folder, split, "--keep-mass", repr(float(mass)), *arguments)
        agree(said, logits, file[f"{score}_mass"][0, m], file["loss_mass"][0, m], ("mass", mass))
        assert abs(said["kept"] / file["kept_mass_mean"][0, m] - 1) < 1e-8
        assert abs(said["kept_deviation"] - file["kept_mass_sd"][0, m]) < 1e-6
        checked += 1
    assert checked, "nothing to compare"

def has(name, *variables):
    for variable in variables: assert variable in h5py.File(name), variable

def lacks(name, *variables):
    for variable in variables: assert variable not in h5py.File(name), variable

def keeps(name, *sizes):
    assert h5py.File(name)["keep"][()].tolist() == [int(size) for size in sizes], h5py.File(name)["keep"][()]

def everything(name):
    """What --select all --sweep --samples of the small model must hold."""
    file = h5py.File(name)
    keep, limit = file["keep"][()], 5000
    few = [k for k, n in enumerate(keep) if np.prod([(16 - i) / (i + 1) for i in range(n)]) <= limit + 0.5]
    searched = file["exhaustive_subsets"][0]
    assert (searched[few] > 0).all() and (np.delete(searched, few) == 0).all() and 0 < len(few) < len(keep), searched
    loss = {s: file["loss_" + s][0] for s in ("combine", "dispatch", "contribution", "common", "greedy", "exhaustive")}
    assert np.isnan(np.delete(loss["exhaustive"], few)).all()
    for s in loss: assert (loss["exhaustive"][few] <= loss[s][few] * (1 + 1e-6)).all(), s
    right = file["exhaustive_any_right"][0][few]
    for s in loss: assert (right >= file["accuracy_" + s][0][few] - 1e-12).all(), s
    for s in loss: assert s == "exhaustive" or abs(loss[s][-1] / file["loss"][0] - 1) < 1e-5, s
    assert np.allclose(file["top_share"][0, 0].sum(axis=1), keep) and (file["timing/seconds_per_sample"][0] > 0).all()
    assert file.attrs["selectors"] in (b"combine dispatch contribution random common greedy exhaustive mass",
                                       "combine dispatch contribution random common greedy exhaustive mass")
    mass, label, prediction = (file[n][()] for n in ("expert_mass", "label", "prediction"))
    assert mass.shape == (300, 1, 16) and np.allclose(mass.sum(axis=2), 1, atol=1e-5)
    assert np.allclose(mass.mean(axis=0), file["combine_mass"][0], atol=1e-6)
    assert abs((label == prediction).mean() - file["accuracy"][0]) < 1e-12
    assert np.array_equal(np.bincount(label, minlength=10), file["class_samples"][0])

def faster(name):
    """One expert of 16 takes a fraction of the time of all: 0.04 to 0.2 on idle and on crowded cores."""
    seconds = h5py.File(name)["timing/experts_seconds_per_sample"][0]
    assert seconds[0] < seconds[-1] / 2, seconds

globals()[sys.argv[1]](*sys.argv[2:])
END_OF_PYTHON
check() { "$python" "$scratch/check.py" "$@" || fail "$*"; }

trained run --set data.validation=150
best="$scratch/run/best.h5"
before="$(sha256sum <"$best")"

# ---- one layer: all selectors, two passes ----
studied "1 2 4 3" all "$best" --select all --sweep --samples --subset-limit 5000
check everything "$scratch/all.h5"
check printed "$scratch/all.json" "$scratch/all.h5"
check close "$scratch/all-1.h5" "$scratch/all-3.h5"
studied "2 1" default "$best"
check keeps "$scratch/default.h5" 1 2 4 8 16
check has "$scratch/default.h5" loss_combine loss_random loss_common loss_mass accuracy_random_sd top_share_by_class weight_norm \
    router_similarity_max
check lacks "$scratch/default.h5" loss_greedy loss_dispatch loss_contribution loss_exhaustive distinct_subsets_common label
studied "2" curves "$best" --select combine,dispatch,random,mass --masses 0.3,0.8 --seeds 2 --seed 3 --keep 3,1,9,3 --split validation --no-timing
check keeps "$scratch/curves.h5" 1 3 9 16
check lacks "$scratch/curves.h5" timing/seconds_per_sample
check curve "$scratch/curves.h5" "$best" "$COTERIE" "$scratch"

# ---- text ----
ranks 2 specialize "$best" -o "$scratch/text.h5" >"$scratch/text" 2>"$scratch/log" || fail "as text: $(cat "$scratch/log")"
grep -q '^ *16  1.0000 ' "$scratch/text" || fail "no row for all experts: $(cat "$scratch/text")"
grep -qi nan "$scratch/text" && fail "a number that is none"

# ---- several layers ----
trained deep --set model.layers=2 --set model.residual=true
deep="$scratch/deep/latest.h5"
studied "1 4 3" deep "$deep" --select combine,random,common,mass --masses 0.6 --seeds 2 --keep 2,5 --samples
check close "$scratch/deep-1.h5" "$scratch/deep-3.h5"
check printed "$scratch/deep.json" "$scratch/deep.h5"
check curve "$scratch/deep.h5" "$deep" "$COTERIE" "$scratch"
studied "2" deep-all "$deep" --select all --seeds 2 --keep 4
check has "$scratch/deep-all.h5" loss_combine loss_dispatch loss_random loss_common loss_mass
check lacks "$scratch/deep-all.h5" loss_greedy loss_contribution loss_exhaustive

# ---- regression; one expert; sizes that are no powers of two ----
ranks 2 train "$COTERIE_SOURCE/jobs/recipes/l2norm.yaml" "${fast[@]}" --set "output.dir=$scratch/norm" --set train.steps=60 --set stats.every=1 \
    --set data.test_samples=300 2>"$scratch/log" || fail "$(tail -n 3 "$scratch/log")"
studied "1 4" norm "$scratch/norm/latest.h5" --select all --samples --subset-limit 200 --seeds 2
check has "$scratch/norm.h5" relative_error_greedy relative_error_mass expert_mass
check lacks "$scratch/norm.h5" accuracy combine_mass_by_class label
check printed "$scratch/norm.json" "$scratch/norm.h5"
check curve "$scratch/norm.h5" "$scratch/norm/latest.h5" "$COTERIE" "$scratch"
for experts in 1 12; do
    trained "e$experts" --set "model.experts=$experts" --steps 2
    studied "1 2" "e$experts" "$scratch/e$experts/latest.h5" --select all --seeds 1
done
check keeps "$scratch/e1.h5" 1
check keeps "$scratch/e12.h5" 1 2 3 4 6 8 12

# ---- experts so wide that fewer are faster; times are medians of 15 batches ----
trained wide --set model.expert_hidden_total=4096 --set train.batch=60 --set data.test_samples=900 --steps 0
studied "1" wide "$scratch/wide/latest.h5" --select combine --keep 1
check faster "$scratch/wide.h5"

# ---- what cannot be ----
out="$scratch/kept.h5"
cp "$scratch/default.h5" "$out"
kept="$(sha256sum <"$out")"
refused() { expect "$1" "$2" "$COTERIE" specialize "${@:3}"; }
refused_on_three() {
    refused "$@"
    expect "$1" "$2" ranks 3 specialize "${@:3}"
}
refused 64 "no checkpoint given" -o "$out"
refused 64 "-o FILE" "$best"
refused 64 "'more'" "$best" more -o "$out"
refused 64 "'best'" "$best" -o "$out" --select combine,best
refused 64 "--select" "$best" -o "$out" --select ""
refused 64 "--keep" "$best" -o "$out" --keep 0
refused 64 "--keep" "$best" -o "$out" --keep 4,
refused 64 "exclude each other" "$best" -o "$out" --keep 4 --sweep
refused 64 "--seeds" "$best" -o "$out" --seeds 0
refused 64 "--seeds" "$best" -o "$out" --select combine --seeds 3
refused 64 "--seed" "$best" -o "$out" --select combine --seed 3
refused 64 "--seed" "$best" -o "$out" --seed -1
refused 64 "2^63" "$best" -o "$out" --seed 9223372036854775800
refused 64 "--masses" "$best" -o "$out" --masses 0.5,1.5
refused 64 "--masses" "$best" -o "$out" --masses 0.5,0.5
refused 64 "--masses" "$best" -o "$out" --select combine --masses 0.5
refused 64 "--subset-limit" "$best" -o "$out" --subset-limit 0
refused 64 "--split" "$best" -o "$out" --split tset
refused 64 "neither text nor json" "$best" -o "$out" --format xml
refused_on_three 64 "16 experts" "$best" -o "$out" --keep 4,17
refused 64 "C(E,K) = 12870 subsets" "$best" -o "$out" --select exhaustive --subset-limit 12869
refused 64 "2 Soft MoE layers" "$deep" -o "$out" --select combine,greedy
refused 64 "2 Soft MoE layers" "$deep" -o "$out" --select exhaustive
refused_on_three 66 "nowhere.h5" "$scratch/nowhere.h5" -o "$out"
refused 65 "small.yaml" "$small" -o "$out"
refused 78 "data.validation" "$deep" -o "$out" --split validation
refused 78 "model.exprets" "$best" -o "$out" --set model.exprets=3
# Places that cannot be written are told before anything is computed; what training has written is never replaced.
refused_on_three 73 "is a checkpoint" "$best" -o "$best"
refused 73 "the record of a training" "$best" -o "$scratch/norm/stats.h5"
refused 73 "$scratch/run" "$best" -o "$scratch/run"
refused_on_three 73 "nowhere" "$best" -o "$scratch/nowhere/study.h5"
refused 73 "small.yaml" "$best" -o "$small/study.h5"

# A disk that fails on one rank, early and late.
failing() {
    timeout 300 mpirun --oversubscribe --bind-to none -n 3 -x "LD_PRELOAD=$FAULT_LIBRARY" -x "COTERIE_FAULT=$1" \
        "$COTERIE" specialize "$best" -o "$out" --samples --no-timing
}
for rank in 0 2; do
    for fault in "call=write,pwrite,pwritev action=fail:ENOSPC" "call=write,pwrite,pwritev after=3 action=fail:EIO" \
        "call=fsync action=fail:EIO"; do
        expect 74 "kept.h5" failing "$fault match=kept.h5.partial rank=$rank"
    done
done

[ "$(sha256sum <"$out")" = "$kept" ] || fail "a study that failed has changed the file"
[ "$(sha256sum <"$best")" = "$before" ] || fail "the checkpoint has changed"
find "$scratch" -name '*.partial*' | grep -q . && fail "a partial file is left"
echo "specialized"
