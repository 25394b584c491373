#!/usr/bin/env bash
# A finished run calls the program that makes its report, says what came of it in one line, and ends well either way.
source "$(dirname "$0")/../support/cli.bash"

export COTERIE_PYTHON=/bin/bash COTERIE_REPORT="$scratch/report"

# finish RANKS FOLDER ARGUMENT...: the small run, to its end.
finish() {
    local n="$1" dir="$scratch/$2"
    shift 2
    ranks "$n" train "$scratch/small.yaml" --set "output.dir=$dir" --set output.report=true --set train.epochs=1 "$@" \
        2>"$scratch/log" || fail "code $? where the report is not what matters: $(cat "$scratch/log")"
}

# says TEXT: one line of the log holds it.
says() {
    [ "$(grep -cF -- "$1" "$scratch/log")" = 1 ] || fail "not once '$1' in $(cat "$scratch/log")"
}

# ---- made: once, by a program that is no part of the job, that finds a finished folder and no input ----
cat >"$scratch/report" <<'END'
[ $# = 1 ] && [ -e "$1/stats.h5" ] && grep -q '"event": "end"' "$1/metrics.jsonl" || exit 1
env | grep -E '^(OMPI_COMM|PMIX_|ORTE_)' && exit 1
read -r line && exit 1
echo made >>"$1/report.html"
head -c 1000000 /dev/zero | tr '\0' 'x'
END
finish 2 made
says "coterie: report: $scratch/made/report.html"
[ "$(cat "$scratch/made/report.html")" = made ] || fail "made by more than one rank"
echo "made once"

# ---- made in spite of a signal, to the program or to all of them, that asks a run to stop ----
printf 'kill -USR1 $PPID $$; sleep 0.3; echo made >"$1/report.html"\n' >"$scratch/report"
finish 1 signalled
says "coterie: report: $scratch/signalled/report.html"

# ---- not made: not wanted, or the run is not over ----
finish 1 unwanted --set output.report=false
[ ! -e "$scratch/unwanted/report.html" ] || fail "made against output.report"
finish 1 begun --steps 3
[ ! -e "$scratch/begun/report.html" ] || fail "made of a run that is not over"

# ---- not made: something is missing, or goes wrong ----
echo "echo 'and so on'; echo \"report: error: No module named 'xarray'; get it\" >&2; exit 69" >"$scratch/report"
finish 1 module
says "coterie: no report.html: No module named 'xarray'; get it; then '$scratch/report $scratch/module' makes it"
COTERIE_PYTHON=/nowhere/python3 finish 1 python
says "coterie: no report.html: /nowhere/python3: No such file or directory; on Debian: apt-get install python3 "
echo "echo 'stats.h5: not to my liking'; exit 65" >"$scratch/report"
finish 1 failing
says "warning: no report.html: stats.h5: not to my liking; '$scratch/report $scratch/failing' tries again"
echo 'kill -9 $$' >"$scratch/report"
finish 1 killed
says "warning: no report.html: it failed; "
COTERIE_REPORT="" finish 1 beside
grep -q "no report.html: \|report: $scratch/beside/report.html" "$scratch/log" || fail "nothing said: $(cat "$scratch/log")"
echo "what goes wrong is said and does no harm"
