#!/usr/bin/env bash
# coterie bench: what it reports hangs together, and nothing is left behind. That a figure is good is not tested: times depend on the
# machine and on what else it does.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"

home="$scratch/home"
mkdir "$home"
recipe=("$scratch/small.yaml" --set "output.dir=$home/runs/small")

cat >"$scratch/check.py" <<'END'
import json, sys
kind, ranks, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
found = json.load(open(path))

def near(a, b, tolerance=1e-6):
    assert abs(a - b) <= tolerance * abs(b), (a, b)

assert found["benchmark"] == kind and found["ranks"] == ranks, found
if kind == "step":
    names = "data route dispatch exchange experts combine head sums update".split()
    phases, step = found["phases"], found["ms_per_step"]
    assert list(phases) == names, list(phases)
    assert found["batch"] == 64 and found["steps"] >= 20 and step > 0
    near(found["samples_per_s"], 64e3 / step)
    near(found["useful_gflops"], found["gflop"]["layers"] / (step * 1e-3))
    near(found["peak_share"], found["useful_gflops"] / found["peak_gflops"])
    near(found["gflop"]["head"], 2e-9 * 64 * 3 * 784 * 10)
    assert 0 < found["peak_share"] < 1, found["peak_share"]
    for time in [*phases.values(), found["busy"]]:
        low, high = time["quartiles_ms"]
        assert 0 <= low <= time["ms"] <= high and 0 <= time["slowest_rank"] < ranks, time
    assert all(phases[name]["ms"] > 0 for name in names if name != "exchange"), phases
    # On one rank the phases are the step, but for medians that are not of the same steps.
    if ranks == 1:
        near(sum(time["ms"] for time in phases.values()), step, 0.3)
    if len(sys.argv) > 4:
        assert found["exchange"] == sys.argv[4], found["exchange"]
elif kind == "exchange":
    rows = found["rows"]
    messages = [row for row in rows if row["way"] == "messages"]
    shared = [row for row in rows if row["way"] == "shared"]
    assert len(messages) == 9 and len(shared) in (0, 9)
    for i, row in enumerate(messages):
        near(row["bytes"], 2 ** (16 + i), 0.1)
        assert row["bytes"] == row["samples_a_rank"] * row["experts_a_rank"] * 196 * 4
    for row in rows:
        assert row["seconds"] > 0 and row["raw_seconds"] > 0
        near(row["ratio"], row["seconds"] / row["raw_seconds"])
else:
    assert found["parameters"] == int(sys.argv[4]) and found["moments"] == 2, found
    assert found["bytes"] == 4 * found["parameters"] * 3, found
    assert found["rounds"] >= 3
    near(found["ratio"], found["seconds"] / found["raw_seconds"])
END

# measured KIND RANKS ARGUMENT...: the JSON is one line that hangs together, and the text has no NaN. CHECK holds further arguments.
measured() {
    local kind="$1" n="$2"
    shift 2
    ranks "$n" bench "$kind" "${recipe[@]}" --seconds 0.2 "$@" --format json >"$scratch/json" 2>"$scratch/log" ||
        fail "$kind on $n ranks: $(cat "$scratch/log")"
    [ "$(wc -l <"$scratch/json")" = 1 ] || fail "$kind: more than one line of JSON"
    "$python" "$scratch/check.py" "$kind" "$n" "$scratch/json" "${CHECK[@]}" || fail "$kind on $n ranks: $(cat "$scratch/json")"
}

CHECK=(slots)
measured step 1
measured step 2
CHECK=(tokens)
measured step 2 --set parallel.exchange=tokens
CHECK=()
measured exchange 2
# Phi and its scale, the experts' two matrices, the head.
parameters=$((196 * 16 + 1 + 2 * 16 * 196 * 6 + 784 * 10))
CHECK=("$parameters")
measured checkpoint 1
measured checkpoint 2

for kind in step exchange checkpoint; do
    ranks 2 bench "$kind" "${recipe[@]}" --seconds 0.1 >"$scratch/text" 2>"$scratch/log" || fail "$kind as text: $(cat "$scratch/log")"
    grep -qiE 'nan|inf' "$scratch/text" && fail "$kind: a number that is none: $(cat "$scratch/text")"
    [ "$(wc -l <"$scratch/text")" -ge 4 ] || fail "$kind says nothing"
done
[ -z "$(ls -A "$home")" ] || fail "left behind: $(ls -A "$home")"

# ---- what cannot be ----
for n in 1 3; do
    expect 64 "none of step, exchange, checkpoint and machine" ranks "$n" bench stap "${recipe[@]}"
    expect 64 "and a recipe" ranks "$n" bench step
    expect 64 "unexpected 'more'" ranks "$n" bench step "${recipe[@]}" more
    expect 64 "--seconds" ranks "$n" bench step "${recipe[@]}" --seconds 0
    expect 64 "--seconds" ranks "$n" bench step "${recipe[@]}" --seconds nan
    expect 66 "nowhere.yaml" ranks "$n" bench step "$scratch/nowhere.yaml"
    expect 70 "not finite" ranks "$n" bench step "${recipe[@]}" --set optimizer.learning_rate=1e30
    touch "$scratch/file"
    expect 73 "$scratch/file" ranks "$n" bench checkpoint "${recipe[@]}" --set "output.dir=$scratch/file/run/deep"
done
expect 64 "mpirun -n 2" ranks 1 bench exchange "${recipe[@]}"
expect 78 "parallel.expert_replicas" ranks 2 bench exchange "${recipe[@]}" --set parallel.expert_replicas=2

# A disk that fails while either is written: one line, and the folder is removed all the same.
for match in '*.h5.partial' '*/plain'; do
    expect 74 "" env LD_PRELOAD="$FAULT_LIBRARY" COTERIE_FAULT="call=pwrite,pwritev,write match=$match action=fail:ENOSPC" \
        timeout 60 "$COTERIE" bench checkpoint "${recipe[@]}" --seconds 0.1
done
[ -z "$(ls -A "$home")" ] || fail "left behind by a refusal: $(ls -A "$home")"
echo "measured, and refused"
