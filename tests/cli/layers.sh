#!/usr/bin/env bash
# Includes go downwards only; and the check that says so does fail on lines that do not.
set -euo pipefail

source_folder="${COTERIE_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}"
check="$source_folder/tests/cli/layers.py"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
copy="$scratch/copy"

fresh_copy() {
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -r "$source_folder/src" "$source_folder/include" "$copy/"
}

# refused WHAT MESSAGE: the check must refuse the copy and say MESSAGE.
refused() {
    if python3 "$check" "$copy" >"$scratch/out" 2>&1; then
        echo "layers.py accepted $1"
        exit 1
    fi
    if ! grep -qF "$2" "$scratch/out"; then
        echo "layers.py did not say '$2' of $1, but:"
        cat "$scratch/out"
        exit 1
    fi
}

# plant FILE LINE MESSAGE: the same for a copy in which FILE begins with LINE.
plant() {
    fresh_copy
    { echo "$2" && cat "$source_folder/$1"; } >"$copy/$1"
    refused "'$2' in $1" "$3"
}

python3 "$check" "$source_folder"

plant src/base/clock.c '#include <coterie/comm.h>' 'includes coterie/comm.h of comm: up'
plant src/math/softmax.c '#include <coterie/comm.h>' 'includes coterie/comm.h of comm'
plant src/data/sampler.c '#include <coterie/model.h>' 'includes coterie/model.h of model: sideways'
plant src/param/param.c '  #  include "cli/cli.h"' 'includes cli/cli.h of cli: up'
plant include/coterie/status.h '#include <coterie/model.h>' 'includes coterie/model.h of model: up'
plant src/comm/comm.c '#include <hdf5.h>' 'must not include <hdf5.h>'
plant src/math/softmax.c '#include <cblas.h>' 'must not include <cblas.h>'
plant src/math/softmax.c '#include <mpi.h>' 'must not include <mpi.h>'
plant src/moe/router.c '#include <coterie/comm.h>' 'knows nothing of ranks'
plant src/comm/comm.c '#include <coterie/coterie.h>' 'for users of the library'
plant src/comm/comm.c '#include <coterie/nowhere.h>' 'its .c file is nowhere'

fresh_copy
sed -i '/<coterie\/status.h>/d' "$copy/include/coterie/coterie.h"
refused 'coterie.h without status.h' 'does not include coterie/status.h'
