#!/usr/bin/env bash
# tests/bench/simulate: the simulated times are those that bytes, bandwidth, messages and products
# come to, the same in every run.
source "$(dirname "$0")/../support/cli.bash"
simulate="$COTERIE_SOURCE/tests/bench/simulate"

if ! command -v smpicc >/dev/null || ! command -v smpirun >/dev/null; then
    echo "SimGrid's smpicc is missing: NOTHING simulated"
    exit 77
fi

mkdir "$scratch/tmp"
export TMPDIR="$scratch/tmp"

# simulated OPTION...: it ends well, and its JSON is in $scratch/out.
simulated() {
    timeout 300 "$simulate" --format json "$@" >"$scratch/out" 2>"$scratch/err" ||
        fail "simulate $*: $(cat "$scratch/err")"
}

cat >"$scratch/check.py" <<'END'
import json, sys
plain, slow, busy, level, flat = (json.load(open(path)) for path in sys.argv[1:])
R, E, T, D, H, b = 16, 32, 4, 196, 6, 4
slots, tokens = plain["rows"][:2]

def times(found):
    return found["rows"][0]["exchange"]

assert [row["plan"] for row in plain["rows"]] == ["slots", "tokens"] * 2
assert plain["rows"][2:] == [slots, tokens], "the second time, other times"
for row in plain["rows"]:
    assert (row["nodes"], row["ranks"], row["experts"], row["batch"]) == (R, R, E, R * b), row
    parts = sum(row[name] for name in ("compute", "exchange", "merge", "sums"))
    assert abs(parts - row["step"]) < 0.02 * row["step"], row
    assert abs(row["efficiency"] - row["compute"] / row["step"]) < 1e-12
    flop = 2 * b * (7 * T * E * D + 6 * E * D * H + 3 * T * D * 10)
    assert abs(row["compute"] - flop / 50e9) < 0.01 * row["compute"], (row, flop)
assert slots["merge"] == 0 and tokens["merge"] > 0

# What a node sends, four times, or all others' samples, three times; then latency, and 1 us a
# message.
share = (R - 1) / R
by_slots = 4 * share * b * E * D * 4 / 12.5e9
by_tokens = 3 * share * R * b * T * D * 4 / 12.5e9
assert by_slots < slots["exchange"] < by_slots + 4 * (R - 1) * 1.2e-6 + 2e-5, (by_slots, slots)
assert by_tokens < tokens["exchange"] < by_tokens + 6 * (R - 1) * 1.2e-6 + 6e-5, (by_tokens, tokens)

# A tenth of the bandwidth: the bytes take ten times as long, and nothing else does.
more = times(slow) - times(plain)
assert 0.6 * 9 * by_slots < more < 1.1 * 9 * by_slots, (more, by_slots)
# 10 us more for each message that a rank sends: one to every other rank in each of four passes.
more = times(busy) - times(plain)
assert 0.8 * 4 * 15 * 10e-6 < more < 1.5 * 4 * 15 * 10e-6, more
# Four ranks a node, which share memory or do not, one sample each: bytes between the nodes are the
# same, and a rank sends to 60 others, or to 15 together with its node's.
level, flat = (found["rows"][0] for found in (level, flat))
assert (level["ranks"], level["experts"], level["batch"]) == (64, E * 2, 64), level
assert level["exchange"] > 4 * share * 4 * E * 2 * D * 4 / 12.5e9
assert flat["exchange"] - level["exchange"] > 4 * (60 - 15) * 0.5e-6, (level, flat)
END

simulated --nodes 16,16
cp "$scratch/out" "$scratch/plain"
simulated --quick --plans slots --bandwidth 1.25
cp "$scratch/out" "$scratch/slow"
simulated --quick --plans slots --overhead 11
cp "$scratch/out" "$scratch/busy"
simulated --quick --plans slots --ranks-per-node 4 --experts 64 --samples 1
cp "$scratch/out" "$scratch/level"
simulated --quick --plans slots-flat --ranks-per-node 4 --experts 64 --samples 1
python3 "$scratch/check.py" "$scratch/plain" "$scratch/slow" "$scratch/busy" "$scratch/level" "$scratch/out" ||
    fail "the times are not what they should be: $(cat "$scratch/plain")"

timeout 300 "$simulate" --quick --plans tokens >"$scratch/text" || fail "as text"
[ "$(wc -l <"$scratch/text")" = 2 ] || fail "as text: $(cat "$scratch/text")"

expect_line 64 "is not a number of at least 2" "$simulate" --nodes 16,one
expect_line 64 "none of slots, slots-flat, tokens" "$simulate" --plans slots,all
expect_line 64 "not allowed with" "$simulate" --experts 4 --experts-per-rank 3
expect_line 69 "apt-get install libsimgrid-dev" env PATH="$scratch" /usr/bin/python3 "$simulate" --quick
# What breaks down inside the simulation.
expect_line 70 "out of memory" "$simulate" --nodes 2 --plans slots --samples 2 --experts 2 --width 2200000000
[ -z "$(ls -A "$TMPDIR")" ] || fail "left behind: $(ls -A "$TMPDIR")"
echo "simulated, and refused"
