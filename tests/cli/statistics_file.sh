#!/usr/bin/env bash
# A statistics file as others see it: inspect, h5dump, netCDF's own reader, xarray; damaged; on a full disk.
source "$(dirname "$0")/../support/cli.bash"
cd "$scratch"

ranks 2 train small.yaml --set output.dir=run --set stats.keep=1,5 >log 2>&1 || fail "$(tail -n 3 log)"
ranks 3 specialize run/latest.h5 -o study.h5 --samples --keep 2 --seeds 2 >log 2>&1 || fail "$(tail -n 3 log)"

# ---- inspect ----
"$COTERIE" inspect run/stats.h5 >text
grep -q 'a statistics file (training); all checksums are good$' text
grep -q '^3 records, of steps 20 to 60$' text
grep -Eq '^  keep +2  \[1,5\]$' text
grep -Eq '^  expert +16  0 to 15$' text
grep -Eq '^  combine_mass +float64 +1 +record,layer,expert +\[3,1,16\]$' text
grep -Eq '^  split +test$' text
"$COTERIE" inspect study.h5 >text
grep -q 'a statistics file (study); all checksums are good$' text
grep -q '^1 record, of step 60$' text
grep -Eq '^  expert_mass +float32 +1 +sample,layer,expert +\[300,1,16\]$' text
"$COTERIE" inspect --format json run/stats.h5 >json
grep -q '"steps": \[20, 40, 60\]' json
grep -q '{"name": "keep", "size": 2, "values": \[1, 5\]}' json
grep -q '"kind": "training", "records": 3' json
grep -q '"verified": true' json
[[ $(mpirun --oversubscribe -n 3 "$COTERIE" inspect --digest study.h5) == "$(digest study.h5)" ]]

# ---- readers of others ----
for file in run/stats.h5 study.h5; do
    h5dump -H "$file" >dump || fail "h5dump cannot read $file"
    if grep -q 'H5T_VLEN\|H5T_REFERENCE' <(sed '/DIMENSION_LIST/,/^ *}$/d; /REFERENCE_LIST/,/^ *}$/d' dump); then
        fail "$file: references elsewhere than in dimension scales"
    fi
done
if command -v ncdump >/dev/null; then
    ncdump -h run/stats.h5 >dump || fail "ncdump cannot read it"
    grep -q '^	record = UNLIMITED ; // (3 currently)$' dump || fail "record is not unlimited: $(head dump)"
    [[ $(sed -n '3s/[^a-z]*\([a-z]*\) .*/\1/p' dump) == record ]] || fail "record is not the first dimension"
    grep -q '^	double combine_mass(record, layer, expert) ;$' dump || fail "combine_mass has other dimensions"
    ncdump study.h5 >dump || fail "ncdump cannot read all of a study"
    grep -q '^	float expert_mass(sample, layer, expert) ;$' dump || fail "expert_mass has other dimensions"
else
    echo "no ncdump: NOT read by netCDF"
fi
if /usr/bin/python3 -c 'import xarray, h5netcdf' 2>/dev/null; then
    /usr/bin/python3 - <<'PYTHON' || fail "xarray sees something else"
import h5py
import numpy as np
import xarray

with xarray.open_dataset("run/stats.h5", engine="h5netcdf") as stats:
    assert dict(stats.sizes)["record"] == 3 and dict(stats.sizes)["expert"] == 16, stats.sizes
    assert stats.keep.values.tolist() == [1, 5] and stats.record.values.tolist() == [0, 1, 2]
    assert stats.step.values.tolist() == [20, 40, 60] and stats.step.dtype == np.int64
    assert stats.combine_mass.dims == ("record", "layer", "expert")
    assert stats.top_share.sel(keep=5).dims == ("record", "layer", "expert")
    assert stats.mutual_information.attrs["units"] == "nat" and stats.loss.attrs["long_name"]
    assert stats.attrs["format"] == "coterie-statistics" and stats.attrs["format_version"] == 1
    assert all(variable.dims for variable in stats.variables.values())
with xarray.open_dataset("run/stats.h5", engine="h5netcdf", group="timing") as timing:
    assert timing.seconds.dims == ("record",) and timing.seconds.attrs["units"] == "s"
    assert timing.seconds.dtype == np.float64 and (timing.seconds > 0).all()
with xarray.open_dataset("study.h5", engine="h5netcdf") as study:
    assert study.expert_mass.dims == ("sample", "layer", "expert") and study.sizes["sample"] == 300
    assert "combine" in study.attrs["selectors"].split()
with h5py.File("run/stats.h5") as file:
    assert [list(axis.keys()) for axis in file["combine_mass"].dims] == [["record"], ["layer"], ["expert"]]
    assert file["combine_mass"].maxshape[0] is None and file["combine_mass"].fletcher32
PYTHON
else
    echo "no xarray with h5netcdf for /usr/bin/python3: NOT opened with it"
fi

# ---- damage: one line, whatever it hits ----
damaged() { # OFFSET: a copy with one bit of one byte changed
    cp run/stats.h5 bad.h5
    printf '%b' "\\x$(printf '%02x' $(($(od -An -tu1 -j "$1" -N 1 bad.h5) ^ 16)))" |
        dd of=bad.h5 bs=1 seek="$1" conv=notrunc status=none
}
noticed=0
size=$(stat -c %s run/stats.h5)
for ((offset = 100; offset < size; offset += size / 12)); do
    damaged "$offset"
    got=0
    timeout 60 "$COTERIE" inspect bad.h5 >out 2>err || got=$?
    [[ $got -eq 0 || ($got -eq 65 && $(wc -l <err) -eq 1) ]] || fail "byte $offset: $got, $(cat err)"
    [[ $got -eq 0 ]] || noticed=$((noticed + 1))
done
[[ $noticed -gt 3 ]] || fail "only $noticed of 12 damaged bytes were noticed"
head -c 4000 run/stats.h5 >cut.h5
expect 65 'cut.h5' "$COTERIE" inspect cut.h5

# ---- a full disk: the record is refused, and what was there is as good as before ----
cp -r run again
before=$(digest again/stats.h5)
expect 74 'No space left on device' mpirun --oversubscribe -n 2 -x LD_PRELOAD="$FAULT_LIBRARY" \
    -x COTERIE_FAULT='call=write match=*stats.h5.partial action=fail:ENOSPC rank=0' \
    "$COTERIE" train small.yaml --set output.dir=again --set stats.keep=1,5 --set train.epochs=4 --resume auto
[[ $(digest again/stats.h5) == "$before" && ! -e again/stats.h5.partial ]] || fail "a full disk has changed stats.h5"
echo "statistics_file: all as it should be"
