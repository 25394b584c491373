#!/usr/bin/env bash
# tests/bench/grid: a row for each case, whose figures hang together, as JSON and as a table; what is wrong is one line.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"
grid="$COTERIE_SOURCE/tests/bench/grid"
networks=(shared)
"$COTERIE_SOURCE/tests/support/two-hosts" true && networks+=(1gbit)
# Other tests may hold the cores.
export OMPI_MCA_hwloc_base_binding_policy=none

timeout 300 "$grid" "$scratch/small.yaml" --quick --format json >"$scratch/json" 2>"$scratch/err" || fail "$(cat "$scratch/err")"
"$python" - "$scratch/json" "${networks[@]}" <<'END_CHECK' || fail "$(cat "$scratch/json")"
import json, sys
found = json.load(open(sys.argv[1]))
assert found["benchmark"] == "grid" and [row["network"] for row in found["rows"]] == sys.argv[2:]
for row in found["rows"]:
    assert row["experts"] == 8 and row["ranks"] == 2, row
    times = {name: plan["ms_per_step"] for name, plan in row["plans"].items()}
    assert list(times) == ["slots", "tokens"] and min(times.values()) > 0, times
    assert times[row["faster"]] == min(times.values()) and row["ratio"] == max(times.values()) / min(times.values())
    free = row["auto_ms"]
    assert sorted(free) == ["slots", "tokens"] and min(free.values()) > 0, free
    assert row["auto_ratio"] == free[row["auto"]] / min(free.values())
    for plan in row["plans"].values():
        assert plan["shared_memory"] == (row["network"] == "shared") and 0 < plan["exchange_ms"] < plan["ms_per_step"], plan
END_CHECK

timeout 300 "$grid" "$scratch/small.yaml" --quick --predict --networks shared >"$scratch/text" 2>"$scratch/err" || fail "$(cat "$scratch/err")"
[ "$(wc -l <"$scratch/text")" = 2 ] || fail "a table of other than two lines: $(cat "$scratch/text")"
grep -qE '^ +8 +2 +shared +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +(slots|tokens) [0-9.]+ times' "$scratch/text" || fail "$(cat "$scratch/text")"

expect_line 64 'see tests/bench/grid --help' "$grid"
expect_line 64 'not a list of' "$grid" "$scratch/small.yaml" --experts 8,many
expect_line 64 'not a list of' "$grid" "$scratch/small.yaml" --networks ethernet
expect_line 64 'above 0' "$grid" "$scratch/small.yaml" --seconds 0
expect_line 66 'cannot read the recipe' "$grid" "$scratch/none.yaml" --quick
expect_line 78 "unknown key 'model.expertz'" "$grid" "$scratch/small.yaml" --quick --set model.expertz=3
COTERIE="$scratch/nowhere" expect_line 64 'no such program' "$grid" "$scratch/small.yaml"
