#!/usr/bin/env bash
# tests/bench/goals: every goal with what was asked and measured, and an exit code that says whether all are met; what is wrong is one line.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"
goals="$COTERIE_SOURCE/tests/bench/goals"
# Other tests may hold the cores.
export OMPI_MCA_hwloc_base_binding_policy=none
quick=("$scratch/small.yaml" --only exchange --rounds 2 --seconds 0.1)

got=0
timeout 300 "$goals" "${quick[@]}" --format json >"$scratch/json" 2>"$scratch/err" || got=$?
"$python" - "$scratch/json" "$got" <<'END_CHECK' || fail "$(cat "$scratch/json" "$scratch/err")"
import json, sys
found, code = json.load(open(sys.argv[1])), int(sys.argv[2])
goals = found["goals"]
assert found["benchmark"] == "goals" and len(goals) == 18, len(goals)
for goal in goals:
    assert goal["part"] == "exchange" and goal["relation"] == "at most" and goal["asked"] == 1.15, goal
    assert 0 < goal["lowest"] <= goal["median"] <= goal["highest"], goal
    assert goal["met"] == (goal["median"] <= 1.15), goal
assert [goal["name"].split(", ")[1] for goal in goals] == ["shared"] * 9 + ["messages"] * 9
assert code == (0 if all(goal["met"] for goal in goals) else 1), code
END_CHECK

got=0
timeout 300 "$goals" "${quick[@]}" >"$scratch/text" 2>"$scratch/err" || got=$?
[ "$(wc -l <"$scratch/text")" = 19 ] || fail "a table of other than 19 lines: $(cat "$scratch/text" "$scratch/err")"
met="$(grep -c ' met' <(head -n 18 "$scratch/text") || true)"
[ "$(tail -n 1 "$scratch/text")" = "$met of 18 goals are met" ] || fail "$(cat "$scratch/text")"
[ "$got" = $((met < 18)) ] || fail "exit code $got with $met of 18 goals"

# A program that says what it is told to, on any number of ranks, twice as fast on two.
cat >"$scratch/said" <<'END'
#!/usr/bin/env bash
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || exit 0
printf '{"exchange": "slots", "peak_share": %s, "ms_per_step": %s}\n' "$SHARE" $((4 / OMPI_COMM_WORLD_SIZE))
END
chmod +x "$scratch/said"

# told SHARE CODE TEXT: with this share of the peak it ends with this code, and one of its lines is this.
told() {
    local got=0
    COTERIE="$scratch/said" SHARE="$1" timeout 300 "$goals" any.yaml --only step,reproducible --rounds 1 >"$scratch/text" 2>"$scratch/err" ||
        got=$?
    if [ "$got" -ne "$2" ] || ! tr -s ' ' <"$scratch/text" | grep -qxF -- "$3"; then
        fail "a share of $1 ended with $got, not $2 and '$3': $(cat "$scratch/text" "$scratch/err")"
    fi
}
told 0.72 0 "14 of 14 goals are met"
told 0.65 1 "share of the peak, vision at least 0.7 0.650 MISSED"
told 0.65 1 "13 of 14 goals are met"

# Stopped while the grid measures, it ends what runs, through the grid and mpirun.
cat >"$scratch/endless" <<'END'
#!/usr/bin/env bash
echo $$ >"$STARTED.$OMPI_COMM_WORLD_RANK"
exec sleep 300
END
chmod +x "$scratch/endless"
COTERIE="$scratch/endless" STARTED="$scratch/started" "$goals" any.yaml --only grid >"$scratch/out" 2>&1 &
stopped=$!
timeout 60 bash -c 'until [ -s "$0" ]; do sleep 0.1; done' "$scratch/started.0" || fail "the grid did not start: $(cat "$scratch/out")"
kill -TERM "$stopped"
got=0
wait "$stopped" || got=$?
[ "$got" = 143 ] || fail "ended with $got, not 143, when it was stopped"
for rank in "$scratch"/started.*; do # gone, or waiting for its parent to notice
    [[ "$(ps -o stat= -p "$(cat "$rank")" || true)" =~ ^(Z.*)?$ ]] || fail "rank ${rank##*.} still runs"
done

expect_line 64 'see tests/bench/goals --help' "$goals"
expect_line 64 'speed: not one of step, reproducible' "$goals" "$scratch/small.yaml" --only speed
expect_line 64 'above 0' "$goals" "$scratch/small.yaml" --rounds 0
expect_line 66 'cannot read the recipe' "$goals" "$scratch/none.yaml" --only exchange
expect_line 1 'exchange cannot be measured here: mpirun: No such file' env PATH="$scratch" "$goals" "$scratch/small.yaml" --only exchange
COTERIE="$scratch/nowhere" expect_line 64 'no such program' "$goals" "$scratch/small.yaml"
