#!/usr/bin/env bash
# Stopping and resuming: whatever happens in between, a run leaves the files of one that was not interrupted, and what cannot be resumed
# is refused with everything left as it was.
source "$(dirname "$0")/../support/cli.bash"

small="$scratch/small.yaml"

# run RANKS FOLDER ARGUMENT...: the small run, to its end or to where the arguments say.
run() {
    local n="$1" dir="$scratch/$2"
    shift 2
    ranks "$n" train "$small" --set "output.dir=$dir" "$@" 2>"$scratch/log" || fail "$dir: $(tail -n 3 "$scratch/log")"
}

# refused CODE TEXT ARGUMENT...: the small run ends with this code and a line that holds this text.
refused() {
    local code="$1" text="$2" status=0
    shift 2
    "$COTERIE" train "$small" "$@" 2>"$scratch/log" || status=$?
    [ "$status" = "$code" ] || fail "code $status, not $code, from $*: $(tail -n 3 "$scratch/log")"
    grep '^coterie: error: ' "$scratch/log" | grep -qF -- "$text" || fail "no '$text' in $(tail -n 3 "$scratch/log")"
}

# What stays the same of the metrics; where a run was stopped, there is one more checkpoint.
events() {
    sed -E 's/, "(seconds|samples_per_s)": [^,}]*//g; s/, "ledger": .*//' "$scratch/$1/metrics.jsonl" | grep -v '"event": "\(end\|warning\|checkpoint\)"'
}

# same FOLDER FOLDER: the same bits, the same files and links, the same metrics.
same() {
    [ "$(digest "$scratch/$1/latest.h5")" = "$(digest "$scratch/$2/latest.h5")" ] || fail "$1, $2: other bits"
    [ "$(digest "$scratch/$1/stats.h5")" = "$(digest "$scratch/$2/stats.h5")" ] || fail "$1, $2: other statistics"
    [ "$(cd "$scratch/$1" && ls)" = "$(cd "$scratch/$2" && ls)" ] || fail "$1, $2: other files"
    [ "$(readlink "$scratch/$1/"{latest,best}.h5)" = "$(readlink "$scratch/$2/"{latest,best}.h5)" ] || fail "$1, $2: other links"
    diff <(events "$1") <(events "$2") || fail "$1, $2: other metrics"
}

damage() {
    printf '\377\377\377\377' | dd of="$1" bs=1 seek=$(($(stat -c %s "$1") / 2)) conv=notrunc status=none
}

# ---- in the middle of an epoch, with everything that depends on where the run is ----
options=(--set data.validation=100 --set train.eval_every=2 --set train.accumulate=3 --set router.noise=0.2 --set schedule.kind=cosine
    --set schedule.warmup_steps=10 --set checkpoint.every_steps=8 --set checkpoint.keep=2 --set optimizer.learning_rate=0.01)
run 1 whole "${options[@]}"
run 2 parts "${options[@]}" --steps 7
[ "$(readlink "$scratch/parts/latest.h5")" = checkpoint-7.h5 ] || fail "--steps 7 does not stop behind step 7"
run 4 parts "${options[@]}" --resume auto --steps 13
run 1 parts "${options[@]}" --resume auto
same whole parts
tail -n 1 "$scratch/parts/metrics.jsonl" | grep -q '"reason": "finished"' || fail "no end"
[ "$(grep -c '"event": "end"' "$scratch/parts/metrics.jsonl")" = 1 ] || fail "the ends of the parts are left"
if grep '"event": "warning"' "$scratch/parts/metrics.jsonl"; then fail "a warning, though nothing has changed"; fi
echo "in parts: as in one"

# ---- killed between two file operations: what that leaves, put there by hand ----
cp -r "$scratch/whole" "$scratch/mended"
rm "$scratch/mended/latest.h5"
ln -sf checkpoint-48.h5 "$scratch/mended/best.h5"
cp "$scratch/mended/checkpoint-48.h5" "$scratch/mended/checkpoint-40.h5"
echo partial >"$scratch/mended/checkpoint-56.h5.partial"
echo '{"event": "step", "step": 60, "epoch": 4}' >>"$scratch/mended/metrics.jsonl"
printf '{"event": "step", "st' >>"$scratch/mended/metrics.jsonl"
run 2 mended "${options[@]}" --resume auto
same whole mended
echo "leftovers are mended"

# ---- records: one with every stats.every-th evaluation and with the last, those past the checkpoint dropped ----
steps_of() {
    h5dump -d /step -y -w 0 "$scratch/$1/stats.h5" | sed -n 's/^ *\([0-9, ]*[0-9]\)$/\1/p' | tr -d ' '
}
run 1 records --set train.epochs=6 --set stats.every=4
[ "$(steps_of records)" = 80,120 ] || fail "records at $(steps_of records), not 80,120"
run 2 cut --set train.epochs=6 --set checkpoint.every_epochs=2 --steps 90
rm "$scratch/cut"/checkpoint-{80,90}.h5
run 1 cut --set train.epochs=6 --set checkpoint.every_epochs=2 --resume auto --steps 1
[ "$(steps_of cut)" = "$(seq -s , 20 20 "$(readlink "$scratch/cut/latest.h5" | tr -dc 0-9 | sed 's/5$//')")" ] ||
    fail "records at $(steps_of cut), resumed from $(readlink "$scratch/cut/latest.h5")"
run 1 none --set stats.every=0
[ ! -e "$scratch/none/stats.h5" ] || fail "records that the recipe does not want"
# Other variables do not fit into the same file; a new run begins without the records of an old one.
run 1 changed --steps 40
run 1 changed --set stats.level=masses --resume auto
[ "$(steps_of changed)" = 60 ] || fail "records at $(steps_of changed) behind a changed stats.level, not 60"
[ -e "$scratch/changed/stats-40.h5" ] || fail "the records from before stats.level changed are lost"
grep -q 'stats.level or stats.keep has changed' "$scratch/changed/metrics.jsonl" || fail "no warning of a changed stats.level"
rm "$scratch/changed"/{checkpoint-*,latest,best}*.h5
run 1 changed --set stats.level=masses --steps 25
[ "$(steps_of changed)" = 20 ] || fail "records of an old run in a new one"
echo "records come and go with the run"

# ---- a run that ends inside an epoch, and is then made longer; it learns fast, so the evaluation at the former end is not the best ----
fast=(--set optimizer.learning_rate=0.01)
run 1 long "${fast[@]}" --set train.steps=45
run 1 longer "${fast[@]}" --set train.steps=30
grep -q '"event": "epoch", "epoch": 2, "step": 30' "$scratch/longer/metrics.jsonl" || fail "no evaluation at the end of the run"
run 1 longer "${fast[@]}" --set train.steps=45 --resume auto
[ "$(digest "$scratch/long/latest.h5")" = "$(digest "$scratch/longer/latest.h5")" ] || fail "made longer: other bits"
echo "made longer: the same bits"

# ---- damaged checkpoints ----
run 1 damaged --set checkpoint.every_steps=10 --set checkpoint.keep=2
damage "$scratch/damaged/checkpoint-60.h5"
# The middle of the file is a moment; its weights are not taken either.
expect 65 "checkpoint-60.h5: /optimizer/" "$COTERIE" eval "$scratch/damaged/checkpoint-60.h5"
run 1 damaged --set checkpoint.every_steps=3 --set checkpoint.keep=1 --resume auto --steps 1
grep -q "passed over.*checkpoint-60.h5" "$scratch/log" || fail "no warning of the damage"
[ "$(readlink "$scratch/damaged/latest.h5")" = checkpoint-51.h5 ] || fail "the checkpoint before the damage is not taken"
digest "$scratch/damaged/latest.h5" >/dev/null || fail "the damaged checkpoint pushed out the new one"
for file in "$scratch/damaged"/checkpoint-*.h5; do damage "$file"; done
before="$(cd "$scratch/damaged" && cat metrics.jsonl checkpoint-*.h5 | sha256sum)"
refused 65 "none of its checkpoints is good" --set "output.dir=$scratch/damaged" --resume auto
[ "$(cd "$scratch/damaged" && cat metrics.jsonl checkpoint-*.h5 | sha256sum)" = "$before" ] || fail "a refused folder was changed"
echo "damaged checkpoints are passed over, and never all of them"

# ---- from a file, into another folder ----
run 1 plain
run 1 copy --resume "$scratch/plain/latest.h5"
[ "$(digest "$scratch/copy/latest.h5")" = "$(digest "$scratch/plain/latest.h5")" ] || fail "nothing saved in the new folder"
refused 73 "another checkpoint, of step 60" --set "output.dir=$scratch/copy" --resume "$scratch/plain/latest.h5"
run 1 within --steps 15
refused 73 "another checkpoint, of step 15" --set "output.dir=$scratch/within" --resume "$scratch/plain/latest.h5"
refused 78 "stands behind 15 batches" --set "output.dir=$scratch/within" --set train.batch=128 --resume auto
[ "$(readlink "$scratch/within/latest.h5")" = checkpoint-15.h5 ] || fail "a refused folder was changed"
run 2 within --resume auto --steps 1 --set optimizer.learning_rate=0.002 --set data.seed=8 --set parallel.grains=4 \
    --set parallel.exchange=tokens --set parallel.blas_threads=2 --set parallel.expert_replicas=2
diff - <(sed -n 's/.*"warning", "step": 15, "message": "resuming \(.*\)"}/\1/p' "$scratch/within/metrics.jsonl") <<'END' || fail "other warnings"
with another exchange plan than before (tokens, was slots): results may differ in rounding
with another number of BLAS threads than before (2, was 1): results may differ in rounding
with another number of grains than before (4, was 8): results may differ in rounding
with another number of expert replicas than before (2, was 1): results may differ in rounding
on other data than before
with a changed recipe: data.seed: 0 -> 8
with a changed recipe: optimizer.learning_rate: 0.001 -> 0.002
with a changed recipe: parallel.grains: 8 -> 4
with a changed recipe: parallel.expert_replicas: 1 -> 2
with a changed recipe: parallel.exchange: auto -> tokens
with a changed recipe: parallel.blas_threads: 1 -> 2
END
run 1 taken --init "$scratch/plain/latest.h5" --steps 0
"$COTERIE" inspect "$scratch/taken/latest.h5" --format json | grep -q '"step": 0[,}]' || fail "--init takes the step as well"
for name in plain taken; do
    "$COTERIE" eval "$scratch/$name/latest.h5" --format json | grep -o '"loss": [^,]*' >"$scratch/$name.loss"
done
cmp -s "$scratch/plain.loss" "$scratch/taken.loss" || fail "--init takes other weights"
echo "files are resumed from and taken from"

# ---- a signal to one rank of three; and while that runs, nobody else gets the folder ----
mpirun --oversubscribe --bind-to none -n 3 "$COTERIE" train "$small" --set "output.dir=$scratch/signal" --set train.epochs=10000 \
    2>"$scratch/signal.log" &
job=$!
for ((w = 0; w < 500; w++)); do
    [ ! -e "$scratch/signal/latest.h5" ] || break
    sleep 0.02
done
refused 73 "in use by process" --set "output.dir=$scratch/signal" --resume auto
# shellcheck disable=SC2046
kill -USR1 $(pgrep -P "$job" | tail -n 1)
status=0
wait "$job" || status=$?
[ "$status" = 75 ] || fail "code $status, not 75, after SIGUSR1: $(tail -n 3 "$scratch/signal.log")"
tail -n 1 "$scratch/signal/metrics.jsonl" | grep -q '"reason": "signal"' || fail "the metrics do not say why it ended"
stopped="$(readlink "$scratch/signal/latest.h5" | tr -dc 0-9 | sed 's/5$//')"
run 1 signal --set train.epochs=10000 --resume auto --steps 2
[ "$(readlink "$scratch/signal/latest.h5")" = "checkpoint-$((stopped + 2)).h5" ] || fail "not resumed where it was stopped"
echo "a signal stops all ranks"
