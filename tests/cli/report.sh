#!/usr/bin/env bash
# tools/report on made-up files, and on a run: the page and its figures, on a phone too; what is
# missing leaves out a figure; what is damaged is one line and exit code 65.
source "$(dirname "$0")/../support/cli.bash"
here="$COTERIE_SOURCE/tests/cli"
report="$COTERIE_SOURCE/tools/report"
python=/usr/bin/python3 # the one that the report runs under
export PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=error::UserWarning

if ! "$python" -c 'import h5netcdf, h5py, matplotlib, numpy, xarray' 2>/dev/null; then
    echo "$python lacks h5py, h5netcdf, xarray, numpy or matplotlib: the report is NOT checked"
    exit 77
fi
export MPLCONFIGDIR="$scratch/matplotlib"
files="$scratch/files"

# preloaded PROGRAM ARGUMENT...: as "$python" PROGRAM ARGUMENT..., without the second that its modules take.
coproc preloader { exec "$python" "$COTERIE_SOURCE/tests/support/preloaded.py"; }
preloaded() {
    local out err status request
    exec {out}>&1 {err}>&2 # while a request is written, this shell's own output goes to the preloader
    request="$(printf '\t%s' "$@")"
    echo "/proc/$BASHPID/fd/$out"$'\t'"/proc/$BASHPID/fd/$err$request" >&"${preloader[1]}"
    read -r status <&"${preloader[0]}" || fail "preloaded.py is gone"
    exec {out}>&- {err}>&-
    return "$status"
}

preloaded "$here/report_files.py" "$files"

# ---- every kind of folder ----
for name in run deep norm suite norms; do
    preloaded "$report" "$files/$name" >"$scratch/out" || fail "no report of $name"
    [ "$(cat "$scratch/out")" = "$files/$name/report.html" ] || fail "prints $(cat "$scratch/out")"
    preloaded "$here/report_check.py" page "$files/$name" || fail "the page of $name"
done
preloaded "$here/report_check.py" numbers "$files/run" "$files/run/study.h5" || fail "numbers"
for name in run norm suite; do
    preloaded "$here/report_check.py" table "$files/$name" || fail "the table of $name"
done
preloaded "$here/report_check.py" words "$COTERIE_SOURCE/tools/analysis" "$files" || fail "words"
for figure in kept selectors classes distinct mass time training timeline router-similarity norms; do
    [ -s "$files/run/figures/$figure.pdf" ] || fail "no figure $figure of a run"
done
for figure in kept share-kept distinct training; do
    [ -s "$files/suite/figures/$figure.png" ] || fail "no figure $figure of a suite"
done
[ -s "$files/deep/figures/exhaustive.png" ] || fail "no exhaustive figures"
grep -q 'Learning the L2 norm of the input' "$files/norms/report.html" || fail "the suite of l2norm is not told apart"

# ---- of a run of the program ----
"$COTERIE" train "$scratch/small.yaml" --set train.epochs=2 --set "output.dir=$scratch/real" 2>"$scratch/log" || fail "$(cat "$scratch/log")"
preloaded "$report" "$scratch/real" >/dev/null || fail "no report of what the program writes"
for check in page final; do
    preloaded "$here/report_check.py" $check "$scratch/real" || fail "the $check of what the program writes"
done

# ---- elsewhere, and the same bytes again, from a process that begins with nothing imported ----
"$report" "$files/run" -o "$scratch/else/where" >/dev/null || fail "-o"
cmp "$files/run/report.html" "$scratch/else/where/report.html" || fail "the same files, another page"
cmp "$files/run/figures/kept.pdf" "$scratch/else/where/figures/kept.pdf" || fail "another PDF"

# ---- what is missing ----
preloaded "$here/report_check.py" missing "$COTERIE_SOURCE/tools/analysis" "$files/deep" || fail "missing"
mkdir "$scratch/young"
head -n 3 "$files/run/metrics.jsonl" >"$scratch/young/metrics.jsonl"
printf '{"event": "st' >>"$scratch/young/metrics.jsonl" # a line that is being written
preloaded "$report" "$scratch/young" >/dev/null || fail "a run that has just begun"
grep -q '<h2>Not shown</h2>' "$scratch/young/report.html" || fail "nothing is said to be left out"

# ---- what is wrong: refused CODE TEXT FOLDER ----
refused() {
    local got=0
    preloaded "$report" "$3" -o "$scratch/refused" >"$scratch/out" 2>"$scratch/err" || got=$?
    if [[ $got -ne $1 || $(wc -l <"$scratch/err") -ne 1 ]] || ! grep -qF -- "$2" "$scratch/err"; then
        fail "$3 ends with $got, not $1 and '$2': $(cat "$scratch/err")"
    fi
    [ ! -e "$scratch/refused" ] || fail "$3 is refused, and something is written"
}

# damaged FILE: a fresh copy of the run, to damage this file of.
damaged() {
    rm -rf "$scratch/damaged"
    cp -r "$files/run" "$scratch/damaged"
    echo "$scratch/damaged/$1"
}

for name in study.h5 stats.h5 latest.h5; do
    path="$(damaged $name)"
    truncate -s 1500 "$path"
    refused 65 "$path" "$scratch/damaged"
    path="$(damaged $name)"
    rm "$path"
    echo "no HDF5 at all" >"$path"
    refused 65 "$path" "$scratch/damaged"
done
path="$(damaged study.h5)"
"$python" - "$path" <<'END'
import h5py, sys
with h5py.File(sys.argv[1]) as file:
    offset = file["accuracy_combine"].id.get_chunk_info(0).byte_offset
with open(sys.argv[1], "r+b") as file:
    file.seek(offset + 3)
    file.write(b"\xa5\x5a")
END
refused 65 "$path" "$scratch/damaged"
path="$(damaged stats.h5)"
"$python" -c "import h5py, sys; h5py.File(sys.argv[1], 'r+').attrs['format_version'] = 2" "$path"
refused 65 "version 2" "$scratch/damaged"
path="$(damaged stats.h5)"
"$python" -c "import h5py, sys; h5py.File(sys.argv[1], 'r+').move('step', 'steps')" "$path"
refused 65 "without" "$scratch/damaged"
cp "$files/run/predictions.h5" "$(damaged study.h5)"
refused 65 "is no study" "$scratch/damaged"
sed -i '3s/{/[/' "$(damaged metrics.jsonl)"
refused 65 "line 3" "$scratch/damaged"
refused 66 "no such folder" "$scratch/nowhere"
mkdir "$scratch/empty"
refused 66 "no run folder" "$scratch/empty"
status=0
preloaded "$report" "$files/run" -o "$files/run/study.h5/below" 2>"$scratch/err" || status=$?
[[ $status -eq 73 && $(wc -l <"$scratch/err") -eq 1 ]] || fail "an unwritable place: $status, $(cat "$scratch/err")"
status=0
"$report" 2>"$scratch/err" || status=$?
[[ $status -eq 64 && $(wc -l <"$scratch/err") -eq 1 ]] || fail "no folder given: $status"

# ---- in a browser ----
if chromium="$(command -v chromium || command -v chromium-browser || command -v google-chrome)"; then
    preloaded "$here/report_check.py" narrow "$chromium" "$files"/{run,deep,suite,norms} || fail "on a phone"
    echo "reported, and looked at in $chromium"
else
    echo "reported; chromium is missing: the width of the page is NOT checked"
fi
