#!/usr/bin/env bash
# Includes go downwards only; and the check that says so does fail on lines that do not.
set -euo pipefail

source_folder="${COTERIE_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}"
check="$source_folder/tests/cli/layers.py"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# plant FILE LINE MESSAGE: the check must refuse a copy in which FILE begins with LINE, and say
# MESSAGE.
plant() {
    local file="$1" line="$2" message="$3" copy="$scratch/copy"
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -r "$source_folder/src" "$source_folder/include" "$copy/"
    { echo "$line" && cat "$source_folder/$file"; } >"$copy/$file"
    if python3 "$check" "$copy" >"$scratch/out" 2>&1; then
        echo "layers.py accepted '$line' in $file"
        exit 1
    fi
    if ! grep -qF "$message" "$scratch/out"; then
        echo "layers.py did not say '$message' of '$line' in $file, but:"
        cat "$scratch/out"
        exit 1
    fi
}

python3 "$check" "$source_folder"

plant src/base/clock.c '#include <coterie/comm.h>' 'includes coterie/comm.h of comm: up'
plant src/math/softmax.c '#include <coterie/comm.h>' 'includes coterie/comm.h of comm: sideways'
plant src/param/param.c '  #  include "cli/cli.h"' 'includes cli/cli.h of cli: up'
plant include/coterie/status.h '#include <coterie/model.h>' 'includes coterie/model.h of model: up'
plant src/comm/comm.c '#include <hdf5.h>' 'must not include <hdf5.h>'
plant src/math/softmax.c '#include <cblas.h>' 'must not include <cblas.h>'
plant src/math/softmax.c '#include <mpi.h>' 'must not include <mpi.h>'
plant src/moe/router.c '#include <coterie/comm.h>' 'knows nothing of ranks'
plant src/comm/comm.c '#include <coterie/coterie.h>' 'for users of the library'
plant src/comm/comm.c '#include <coterie/nowhere.h>' 'its .c file is nowhere'
