#!/usr/bin/env bash
# What a user can get wrong ends, on 1 and on 3 ranks and within five seconds, with one clear line and the exit code of sysexits.h, and
# leaves what was there as it was.
source "$(dirname "$0")/../support/cli.bash"

checked=0

milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}

# What the start and the end alone take, by ranks: up to seconds where host names resolve slowly.
declare -A start_up
for n in 1 3; do
    began="$(milliseconds)"
    ranks "$n" --version >/dev/null
    start_up[$n]=$(($(milliseconds) - began))
done

# refused CODE TEXT ARGUMENT...: the program on 1 and on 3 ranks, as expect, in under five seconds.
refused() {
    local code="$1" text="$2" n began
    shift 2
    for n in 1 3; do
        began="$(milliseconds)"
        expect "$code" "$text" ranks "$n" "$@"
        [ $(($(milliseconds) - began - start_up[$n])) -lt 5000 ] || fail "'$*' on $n ranks took over five seconds"
        checked=$((checked + 1))
    done
}

small="$scratch/small.yaml"
good="$scratch/good"
ranks 1 train "$small" --steps 3 --set "output.dir=$good" 2>/dev/null || fail "the run to damage"
good_digest="$(digest "$good/latest.h5")"

# ---- the command line ----
refused 64 "unknown command 'trian'" trian
refused 64 "no recipe given" train
refused 64 "--wrong" train --wrong "$small"
refused 64 "--steps" train "$small" --steps -1
refused 64 "--steps" train "$small" --steps 3x
refused 64 "--profile takes no value" train "$small" --profile=yes
refused 64 "may be several options" specialize "$good/latest.h5" --se 3
refused 64 "an option lacks its value" train "$small" --steps
refused 64 "argument 2 is not UTF-8" inspect $'caf\xe9.h5'
refused 64 "exclude each other" train "$small" --init a --resume b
refused 64 "no checkpoint given" eval
refused 64 "--keep" eval "$good/latest.h5" --keep 0
refused 64 "16 experts" eval "$good/latest.h5" --keep 17
refused 64 "--split" eval "$good/latest.h5" --split tset
refused 64 "neither text nor json" eval "$good/latest.h5" --format xml

# ---- the recipe ----
refused 66 "nowhere.yaml" train "$scratch/nowhere.yaml"
refused 78 "model.experts" train "$small" --set model.experts=0
refused 78 "model.expert" train "$small" --set model.exprets=4
refused 78 "model.patch_height" train "$small" --set model.patch_height=13 --set "output.dir=$scratch/new"
refused 78 "train.drop_last" train "$small" --set train.drop_last=true --set train.batch=5000 --set "output.dir=$scratch/new"
refused 78 "parallel.expert_replicas" train "$small" --set parallel.expert_replicas=2048 --set "output.dir=$scratch/new"
printf 'seed: 1\nmodel:\n  experts: 4\n  layres: 2\n' >"$scratch/key.yaml"
refused 78 "key.yaml:4" train "$scratch/key.yaml"
printf 'seed: 1\nmodel:\n  experts: 12abc\n' >"$scratch/number.yaml"
refused 78 "number.yaml:3" train "$scratch/number.yaml"

# ---- the data ----
"$COTERIE" data make --source glyphs --train 60 --test 20 -o "$scratch/idx" >/dev/null
idx=(train "$small" --set data.source=idx --set "output.dir=$scratch/new")
damaged() {
    rm -rf "$scratch/bad"
    cp -r "$scratch/idx" "$scratch/bad"
}
refused 66 "$scratch/nowhere" "${idx[@]}" --set "data.path=$scratch/nowhere"
damaged && truncate -s 5000 "$scratch/bad/train-images-idx3-ubyte"
refused 65 "train-images-idx3-ubyte" "${idx[@]}" --set "data.path=$scratch/bad"
damaged && printf '\1' | dd of="$scratch/bad/train-images-idx3-ubyte" bs=1 seek=2 conv=notrunc status=none
refused 65 "0x00000803" "${idx[@]}" --set "data.path=$scratch/bad"
damaged && printf '\12' | dd of="$scratch/bad/t10k-labels-idx1-ubyte" bs=1 seek=11 conv=notrunc status=none
refused 65 "t10k-labels-idx1-ubyte" "${idx[@]}" --set "data.path=$scratch/bad"

# ---- ranks that differ ----
# apart OPTIONS OPTIONS: two ranks of which mpirun starts each in its own way.
apart() {
    local command=("$COTERIE" "${idx[@]}" --set data.path=idx --set data.train_samples=60 --set data.test_samples=20)
    # shellcheck disable=SC2086 # several words
    timeout 60 mpirun --oversubscribe --bind-to none -n 1 $1 "${command[@]}" : -n 1 $2 "${command[@]}"
}
mkdir "$scratch/there"
"$COTERIE" data make --source glyphs --train 60 --test 20 --seed 2 -o "$scratch/there/idx" >/dev/null
expect 78 "the data's checksum" apart "--wdir $scratch" "--wdir $scratch/there"
if [ "$(uname -m)" = x86_64 ] && [ "$(core_of "$good/latest.h5")" != Prescott ]; then
    expect 78 "the OpenBLAS kernel" apart "--wdir $scratch" "--wdir $scratch -x OPENBLAS_CORETYPE=Prescott"
else
    echo "OpenBLAS has one kernel to choose from here: two ranks cannot differ, skipped"
fi

# ---- the run folder ----
touch "$scratch/file"
refused 73 "$scratch/file" train "$small" --set "output.dir=$scratch/file/run"
refused 73 "--resume auto" train "$small" --set "output.dir=$good"
ranks 1 train "$small" --steps 1 --set "output.dir=$scratch/early" 2>/dev/null || fail "the earlier run"
refused 73 "past the step 1" train "$small" --set "output.dir=$good" --resume "$scratch/early/latest.h5"

mkdir "$scratch/own"
cp "$small" "$scratch/own/recipe.yaml"
refused 73 "stands where the run writes" train "$scratch/own/recipe.yaml" --set "output.dir=$scratch/own"
cmp "$small" "$scratch/own/recipe.yaml" || fail "a recipe was written over"

# ---- checkpoints ----
refused 66 "nowhere.h5" eval "$scratch/nowhere.h5"
cp "$good/latest.h5" "$scratch/cut.h5" && truncate -s 30000 "$scratch/cut.h5"
refused 65 "cut.h5" eval "$scratch/cut.h5"
echo "not HDF5" >"$scratch/text.h5"
refused 65 "text.h5" eval "$scratch/text.h5"
refused 78 "moe.0" train "$small" --set model.experts=8 --set "output.dir=$scratch/new" --init "$good/latest.h5"

# ---- numbers that break down: the last good checkpoint stays ----
refused 70 "expert" train "$small" --set optimizer.learning_rate=1e30 --set checkpoint.every_steps=1 --set "output.dir=$scratch/nan" --resume auto

[ "$(digest "$good/latest.h5")" = "$good_digest" ] || fail "a refused command has changed a checkpoint"
[ ! -e "$scratch/new/latest.h5" ] || fail "a refused command has written a checkpoint"
echo "$checked refusals, each with its one line and code"
