#!/usr/bin/env bash
# Every number of stats.h5 and of a study, and predictions on part of the experts, on 2 ranks against the NumPy reference.
set -euo pipefail
here="$(dirname "$0")"
source "$here/python.bash"
"$python" "$here/compare_statistics.py" small
