#!/usr/bin/env bash
# Logits, loss and gradients on 2 ranks against the NumPy reference, which first checks itself.
set -euo pipefail
here="$(dirname "$0")"
source "$here/python.bash"
"$python" "$here/reference.py" --self-test
"$python" "$here/compare.py" glyphs
