# Sets `python` to an interpreter with NumPy and h5py; ends the test as skipped (77) when there is none.
for python in python3 /usr/bin/python3 ""; do
    [[ -z "$python" ]] || ! "$python" -c 'import h5py, numpy' 2>/dev/null || break
done
if [[ -z "$python" ]]; then
    echo "no Python with NumPy and h5py: NOT compared with the reference"
    exit 77
fi
export PYTHONDONTWRITEBYTECODE=1
