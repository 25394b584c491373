#!/usr/bin/env bash
# docs/statistics.md against real files: no variable undocumented, none missing, axes and units equal; and its examples run.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"

# xarray is Debian's; without it everything is skipped, for the examples are part of the page.
for python in "$python" /usr/bin/python3 none; do
    "$python" -c 'import h5py, xarray, h5netcdf' 2>/dev/null && break
done
[ "$python" != none ] || { echo "no Python with h5py, xarray and h5netcdf: docs/statistics.md is NOT checked"; exit 77; }

# make_case NAME SPECIALIZE-OPTIONS -- OVERRIDE...: files of a short run.
make_case() {
    local folder="$scratch/$1" options
    read -ra options <<<"$2"
    shift 3
    ranks 2 train "$scratch/small.yaml" --set "output.dir=$folder" --set train.epochs=2 --set model.experts=6 "${@/#/--set=}" \
        2>"$scratch/log" || fail "$folder: $(tail -n 3 "$scratch/log")"
    ranks 2 specialize "$folder/latest.h5" -o "$folder/study.h5" --select all --seeds 2 "${options[@]}" >"$scratch/out" 2>"$scratch/log" ||
        fail "$folder: $(tail -n 3 "$scratch/log")"
}

make_case classes.samples "--samples" --
make_case classes.masses.untimed "--no-timing" -- stats.level=masses
make_case classes.deep "" -- model.layers=2 model.residual=true
make_case values.samples "--samples" -- data.source=l2norm loss.kind=mean_squared_error model.patch_height=1 model.patch_width=8 \
    router.normalize=none router.init=lecun_normal
"$python" "$COTERIE_SOURCE/tests/cli/statistics_doc.py" "$COTERIE_SOURCE/docs/statistics.md" "$scratch"/{classes.samples,classes.masses.untimed,classes.deep,values.samples}
