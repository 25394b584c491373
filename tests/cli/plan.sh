#!/usr/bin/env bash
# coterie bench machine and coterie plan: a profile is measured, saved and used; memory is what a run takes; times hang together.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"
cd "$scratch"

cat >check.py <<'END2'
import json, sys
found = json.load(open(sys.argv[1]))
timed, peak = sys.argv[2] == "timed", float(sys.argv[3])
assert found["parameters"] == 196 * 16 + 1 + 2 * 16 * 196 * 6 + 784 * 10, found["parameters"]
forecasts = [found[key] for key in ("asked", "slots", "tokens")] + ([found["best"]] if timed else [])
assert ("best" in found) == timed
for forecast in forecasts:
    memory = forecast["memory_bytes"]
    assert forecast["parts"] == 1, forecast["parts"]
    assert sum(memory.values()) == 2 * memory["total"], memory
    assert ("ms_per_step" in forecast) == timed
    if timed:
        phases = forecast["phases_ms"]
        assert abs(sum(phases.values()) - forecast["ms_per_step"]) < 1e-6 * forecast["ms_per_step"]
        assert all(phases[phase] > 0 for phase in ("data", "route", "experts", "head", "sums", "update")), phases
        assert abs(forecast["samples_per_s"] - 64e3 / forecast["ms_per_step"]) < 1e-3 * forecast["samples_per_s"]
        assert found["best"]["ms_per_step"] <= found["asked"]["ms_per_step"] * (1 + 1e-9)
assert found["tokens"]["memory_bytes"]["tokens"] > 0 and found["slots"]["memory_bytes"]["tokens"] == 0
if peak > 0:
    assert abs(found["asked"]["memory_bytes"]["total"] - peak) < 0.15 * peak, (found["asked"]["memory_bytes"], peak)
END2

# planned RANKS TIMED PEAK ARGUMENT...
planned() {
    local n="$1" timed="$2" peak="$3"
    shift 3
    timeout 60 "$COTERIE" plan small.yaml --ranks "$n" "$@" --format json >plan.json 2>log || fail "plan on $n ranks: $(cat log)"
    [ "$(wc -l <plan.json)" = 1 ] || fail "more than one line of JSON"
    "$python" check.py plan.json "$timed" "$peak" || fail "plan on $n ranks: $(cat plan.json)"
}

# ---- without a profile: memory and bytes, and how to get one ----
for n in 1 2 3 64; do planned "$n" untimed 0; done
timeout 60 "$COTERIE" plan small.yaml --ranks 2 >text 2>log || fail "as text: $(cat log)"
grep -q 'no times: .*bench machine' text || fail "no word on how to make a profile: $(cat text)"

# ---- 96 hidden units in all: 13 experts have 7 each, 100 have the one that each needs ----
for shape in "13 7" "100 1"; do
    read -r experts hidden <<<"$shape"
    timeout 60 "$COTERIE" plan small.yaml --ranks 2 --set "model.experts=$experts" --format json >plan.json 2>log || fail "$(cat log)"
    grep -q "\"parameters\": $((196 * experts + 1 + 2 * experts * 196 * hidden + 784 * 10))," plan.json ||
        fail "$experts experts are not $hidden wide: $(cat plan.json)"
done

# ---- a profile, and the memory of real ranks ----
ranks 2 bench machine --seconds 0.2 >text 2>log || fail "bench machine: $(cat log)"
grep -q 'GFLOP/s' text || fail "bench machine says nothing: $(cat text)"
[ -s machine.json ] || fail "no profile"
ranks 1 bench machine --seconds 0.2 --output one.json --format json >json 2>log || fail "bench machine on one rank: $(cat log)"
"$python" -c 'import json; d = json.load(open("json")); assert d["ranks"] == 1 and d["message"] is None, d' || fail "$(cat json)"

cat >watch.sh <<'END2'
"$@" &
while grep VmHWM /proc/$!/status 2>/dev/null >>"peak.$$"; do sleep 0.02; done
wait $!
END2
for n in 1 2; do
    rm -rf peak.* run
    timeout 120 mpirun --oversubscribe --bind-to none -n "$n" bash watch.sh "$COTERIE" train small.yaml --set output.dir=run --set model.experts=16 \
        --set train.steps=3 2>log || fail "a run on $n ranks: $(cat log)"
    peak="$(cat peak.* | awk '$2 > most { most = $2 } END { print most * 1024 }')"
    # A sanitizer's memory is not the program's.
    case "$("$COTERIE" --version; nm -D "$COTERIE" 2>/dev/null || true)" in *__asan*) peak=0 ;; esac
    planned "$n" timed "$peak"
done
planned 2 timed 0 --set parallel.shared_memory=false
planned 2 timed 0 --set parallel.reproducible=false
planned 4 timed 0 --set parallel.expert_replicas=2 --machine machine.json
# What a batch is computed in.
timeout 60 "$COTERIE" plan small.yaml --ranks 2 --set train.accumulate=4 >text 2>log || fail "in parts: $(cat log)"
grep -q '^exchange by .* grains, a batch in 4 parts$' text || fail "no word on parts: $(cat text)"
timeout 60 "$COTERIE" plan small.yaml --ranks 2 >text 2>log || fail "as text: $(cat log)"
grep -q 'parts' text && fail "parts of one: $(cat text)"
grep -q '^use  *--set parallel.exchange=' text || fail "no advice: $(cat text)"
grep -qiE 'nan|inf ' text && fail "a number that is none: $(cat text)"
# What the advice says can be run.
read -ra advice <<<"$(sed -n 's/^use *//p' text)"
ranks 2 train small.yaml "${advice[@]}" --set output.dir=advised --steps 1 2>log || fail "the advice: $(cat log)"
# What the profile was measured on is not what the run will be on, nor this build.
grep -q '^The profile ' text && fail "a doubt about a profile that fits: $(cat text)"
sed 's/"build": "[^"]*"/"build": "0.0.9 of old"/' machine.json >old.json
timeout 60 "$COTERIE" plan small.yaml --ranks 4 --machine old.json >text 2>log || fail "an old profile: $(cat log)"
grep -q '^The profile has 2 ranks on a node, the run 4: ' text || fail "no word on ranks: $(cat text)"
grep -q '^The profile is of another build, 0.0.9 of old: ' text || fail "no word on the build: $(cat text)"
timeout 60 "$COTERIE" plan small.yaml --ranks 2 --set parallel.blas_threads=2 >text 2>log || fail "two threads: $(cat log)"
grep -q '^Times are of one thread a rank, not of 2 ' text || fail "no word on threads: $(cat text)"
# Nothing is known of messages between nodes, or on one rank of any.
timeout 60 "$COTERIE" plan small.yaml --ranks 4 --nodes 2 >text 2>log || fail "two nodes: $(cat log)"
grep -q 'no times: .*message_between' text || fail "times out of nothing: $(cat text)"
timeout 60 "$COTERIE" plan small.yaml --ranks 2 --machine one.json >text 2>log || fail "one.json: $(cat log)"
grep -q 'no times: ' text || fail "times out of nothing: $(cat text)"

# Any number of layers.
"$COTERIE" plan small.yaml --ranks 2 --set model.embed=16 --set model.layers=12 >text 2>log || fail "12 layers: $(cat log)"

# ---- a plan that is left to timing ----
ranks 2 train small.yaml --set parallel.reproducible=false --set output.dir=timed --steps 1 2>log || fail "auto: $(cat log)"
grep -qE 'exchange by (slots|tokens), in shared memory, as timed here: [0-9.]+ ms' log || fail "no reason: $(cat log)"
ranks 2 train small.yaml --set output.dir=ruled --steps 1 2>log || fail "auto: $(cat log)"
grep -q 'exchange by slots, in shared memory, by the shapes' log || fail "no reason: $(cat log)"

# ---- what cannot be ----
expect 64 "--ranks" "$COTERIE" plan small.yaml
expect 64 "--ranks" "$COTERIE" plan small.yaml --ranks two
expect 64 "runs alone" ranks 2 plan small.yaml --ranks 2
expect 64 "--nodes" "$COTERIE" plan small.yaml --ranks 4 --nodes 3
expect 64 "--nodes" "$COTERIE" plan small.yaml --ranks 4 --nodes 0
expect 66 "nowhere.yaml" "$COTERIE" plan nowhere.yaml --ranks 2
expect 66 "nowhere.json" "$COTERIE" plan small.yaml --ranks 2 --machine nowhere.json
expect 78 "expert_replicas" "$COTERIE" plan small.yaml --ranks 4 --set parallel.expert_replicas=3
head -c 1000 machine.json >cut.json
expect 65 "cut.json:1" "$COTERIE" plan small.yaml --ranks 2 --machine cut.json
expect 65 "no machine profile" "$COTERIE" plan small.yaml --ranks 2 --machine plan.json
for n in 1 2; do
    expect 64 "neither a recipe nor --set" ranks "$n" bench machine small.yaml
    expect 64 "--output" ranks "$n" bench step small.yaml --output x.json
    expect 73 "plan.json/machine.json" ranks "$n" bench machine --seconds 0.01 --output plan.json/machine.json
done
expect 74 "machine.json" env LD_PRELOAD="$FAULT_LIBRARY" COTERIE_FAULT="call=fsync match=*machine.json* action=fail:ENOSPC" \
    timeout 60 "$COTERIE" bench machine --seconds 0.01
echo "planned, and refused"
