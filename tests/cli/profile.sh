#!/usr/bin/env bash
# train --profile, and the ledger of every run: what is written hangs together, bytes are those of the shapes, and a run is otherwise the
# same. That times are right to any figure is not tested: they depend on the machine.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"

small=("$scratch/small.yaml" --set train.epochs=2)

# profiled NAME RANKS "SETTING=VALUE..." ARGUMENT...: a run whose shapes the settings tell.
profiled() {
    local name="$1" n="$2" settings
    read -ra settings <<<"$3"
    shift 3
    ranks "$n" train "${small[@]}" --set "output.dir=$scratch/$name" "$@" --profile --format json >"$scratch/json" 2>"$scratch/log" ||
        fail "$name: $(tail -n 3 "$scratch/log")"
    "$python" "$COTERIE_SOURCE/tests/cli/profile.py" "$scratch/$name" "$scratch/json" "ranks=$n" "${settings[@]}" ||
        fail "$name: $(head -c 2000 "$scratch/json")"
}

slots=(--set parallel.exchange=slots)
tokens=(--set parallel.exchange=tokens)
messages=(--set parallel.shared_memory=false)
profiled alone 1 "exchange=slots messages=0 steps=40" "${slots[@]}"
profiled shared 2 "exchange=slots messages=0 steps=40" "${slots[@]}"
profiled slots 3 "exchange=slots messages=1 experts=13 layers=2 steps=40" "${slots[@]}" "${messages[@]}" \
    --set model.experts=13 --set model.layers=2
profiled replicas 4 "exchange=slots messages=1 replicas=2 accumulate=3 steps=40" "${slots[@]}" "${messages[@]}" \
    --set parallel.expert_replicas=2 --set train.accumulate=3
profiled tokens_shared 2 "exchange=tokens messages=0 steps=40" "${tokens[@]}"
profiled tokens 3 "exchange=tokens messages=1 layers=2 steps=40" "${tokens[@]}" "${messages[@]}" --set model.layers=2
profiled embedded 4 "exchange=tokens messages=1 replicas=2 embed=24 normalize=logits steps=40" "${tokens[@]}" "${messages[@]}" \
    --set parallel.expert_replicas=2 --set model.embed=24 --set router.normalize=logits

# ---- a profile changes nothing that is learned ----
ranks 2 train "${small[@]}" "${slots[@]}" --set "output.dir=$scratch/plain" 2>"$scratch/log" || fail "$(tail -n 3 "$scratch/log")"
for file in latest.h5 stats.h5; do
    [ "$(digest "$scratch/plain/$file")" = "$(digest "$scratch/shared/$file")" ] || fail "$file: other bits with a profile"
done
[ ! -e "$scratch/plain/trace.json" ] || fail "a trace that nobody asked for"

# ---- a run in parts: each call's own steps, on whatever number of ranks ----
profiled parts 2 "exchange=slots messages=0 steps=20" "${slots[@]}" --steps 20
profiled parts 3 "exchange=slots messages=0 first=20 steps=20" "${slots[@]}" --resume auto
[ "$("$python" -c "import h5py; print(len(h5py.File('$scratch/parts/stats.h5')['timing/step_bytes']))")" = 2 ] ||
    fail "a record is missing"
ranks 2 train "${small[@]}" --set "output.dir=$scratch/parts" --resume auto --profile >"$scratch/text" 2>"$scratch/log" || fail "a run that is over"
grep -q "no step was taken" "$scratch/text" || fail "a run that is over: $(cat "$scratch/text")"
[ "$(grep -c '"ph": "X"' "$scratch/parts/trace.json")" = 0 ] || fail "events of no step"
grep -q '"ledger": null' <(tail -n 1 "$scratch/parts/metrics.jsonl") || fail "costs of no step"

# ---- as text; and of a call that is stopped ----
mpirun --oversubscribe --bind-to none -n 2 "$COTERIE" train "${small[@]}" --set "output.dir=$scratch/text.d" --set train.epochs=1000 \
    --set stats.every=0 --profile >"$scratch/text" 2>"$scratch/log" &
job=$!
for ((i = 0; i < 600; i++)); do
    ! grep -q '"event": "epoch"' "$scratch/text.d/metrics.jsonl" 2>/dev/null || break
    sleep 0.1
done
kill -USR1 "$(pgrep -P "$job" | tail -n 1)"
code=0
wait "$job" || code=$?
[ "$code" = 75 ] || fail "stopped with $code: $(tail -n 3 "$scratch/log")"
[ "$(grep -cE '^  (data|route|dispatch|exchange|experts|combine|head|sums|update|step) ' "$scratch/text")" = 10 ] || fail "$(cat "$scratch/text")"
grep -qiE 'nan|inf' "$scratch/text" && fail "a number that is none: $(cat "$scratch/text")"
"$python" -c "import json, sys; json.load(open(sys.argv[1]))" "$scratch/text.d/trace.json" || fail "the trace of a stopped call"

# ---- what cannot be ----
expect 64 "--format is for --profile" "$COTERIE" train "${small[@]}" --format json
expect 64 "neither text nor json" "$COTERIE" train "${small[@]}" --profile --format xml

# unwritable NAME CODE TEXT COMMAND...: a trace that cannot be written ends the call with one line; the run itself is complete.
unwritable() {
    local folder="$scratch/$1"
    mkdir "$folder"
    echo before >"$folder/trace.json"
    case "$1" in
    folder) mkdir "$folder/trace.json.partial" ;;
    full) ln -s /dev/full "$folder/trace.json.partial" ;;
    esac
    expect "$2" "$3" "${@:4}" train "${small[@]}" --set "output.dir=$folder" --set train.epochs=1 --profile
    [ "$(cat "$folder/trace.json")" = before ] || fail "$1: a trace was replaced by none"
    digest "$folder/latest.h5" >"$scratch/out" || fail "$1: no checkpoint"
}
unwritable folder 73 "trace.json.partial" ranks 3
unwritable full 74 "is the disk full" ranks 3
unwritable renamed 74 "cannot be renamed" env LD_PRELOAD="$FAULT_LIBRARY" COTERIE_FAULT="call=rename match=trace.json action=fail:EIO" \
    timeout 60 "$COTERIE"
echo "the ledger adds up"
