# Sets `python` to an interpreter with NumPy and h5py; without one the test ends as skipped (77).
find_python() {
    local name
    for name in python3 /usr/bin/python3; do
        if "$name" -c 'import h5py, numpy' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}
if ! python="$(find_python)"; then
    echo "no Python with NumPy and h5py: NOT compared with the reference"
    exit 77
fi
export PYTHONDONTWRITEBYTECODE=1
