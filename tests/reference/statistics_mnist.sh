#!/usr/bin/env bash
# The same on MNIST, with the recipe of the paper's model.
set -euo pipefail
here="$(dirname "$0")"
if [[ -z "${COTERIE_MNIST:-}" ]]; then
    echo "COTERIE_MNIST names no folder with MNIST: statistics NOT compared on it"
    exit 77
fi
source "$here/python.bash"
"$python" "$here/compare_statistics.py" mnist
