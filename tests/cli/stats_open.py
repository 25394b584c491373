"""stats_open.py FILE PID: read the file again and again while process PID trains, in h5py, xarray and h5dump in turn.

It must be complete whenever it is there: all variables with the same number of records, more as time goes on, and sums that are what
they must be. Training is told to stop (SIGUSR1) when enough was seen, however slow the machine is; the last reading is after its end.
"""
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

try:
    import h5netcdf  # noqa: F401 (xarray's engine)
    import xarray
except ImportError:
    xarray = None
    print("no xarray with h5netcdf: NOT opened with it")

# Sums of at most a few hundred float64 numbers that were rounded once each.
ROUNDING = 1e-12
# Different numbers of records to see before training may stop: two for each reader.
ENOUGH = 6


def check_sums(data):
    """data: arrays by name."""
    np.testing.assert_allclose(data["combine_mass"].sum(-1), 1, atol=1e-6)  # each weight is a float32
    by_class = data["combine_mass_by_class"]
    present = np.broadcast_to((data["class_samples"] > 0)[:, None], by_class.shape[:-1])
    np.testing.assert_allclose(by_class.sum(-1)[present], 1, atol=1e-6)
    assert np.isnan(by_class[~present]).all()
    np.testing.assert_allclose(data["top_share"].sum(-1), np.broadcast_to(data["keep"], data["top_share"].shape[:-1]),
                               atol=ROUNDING * len(data["expert"]))
    np.testing.assert_allclose(data["mutual_information_by_expert"].sum(-1), data["mutual_information"], atol=ROUNDING)
    assert (data["class_samples"].sum(-1) == data["samples"]).all()
    if "top_share_by_class" in data:
        weights = data["class_samples"][:, None, None, :, None] / data["samples"][:, None, None, None, None]
        mean = np.nansum(data["top_share_by_class"] * weights, axis=3)
        np.testing.assert_allclose(mean, data["top_share"], atol=ROUNDING)


def with_h5py(path):
    data = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, node: data.update({name: node[...]}) if isinstance(node, h5py.Dataset) else None)
    return data


def with_xarray(path):
    with xarray.open_dataset(path, engine="h5netcdf") as file:
        data = {name: values.values for name, values in file.variables.items()}
        assert file.combine_mass.dims == ("record", "layer", "expert"), file.combine_mass.dims
    with xarray.open_dataset(path, engine="h5netcdf", group="timing") as file:
        # Another opening, so perhaps of the next file.
        assert len(file.seconds) >= len(data["record"]) and (file.seconds > 0).all()
    return data


def with_h5dump(path):
    done = subprocess.run(["h5dump", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "unable to" not in done.stdout + done.stderr, done.stderr[-300:]
    return None


def read(path, reader, least):
    """How many records there are: no fewer than `least`."""
    data = reader(path)
    if data is None:
        return least
    records = len(data["record"])
    of_study = {"layer", "expert", "slot", "class", "keep", "place", "phase", "over_ranks"}
    assert records >= least, f"{records} records, and {least} before"
    assert all(len(values) == records for name, values in data.items() if name not in of_study)
    assert (np.diff(data["step"]) > 0).all()
    check_sums(data)
    return records


def is_alive(pid):
    """Ended, and not yet waited for, counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main():
    if sys.argv[1] == "--sums":
        return check_sums(with_h5py(sys.argv[2]))
    path, pid = Path(sys.argv[1]), int(sys.argv[2])
    readers = [with_h5py] + [with_xarray] * (xarray is not None)
    if shutil.which("h5dump"):
        readers.append(with_h5dump)
    else:
        print("no h5dump: NOT opened with it")
    counts, records, seen = [0] * len(readers), 0, set()
    alive, stopping = True, False
    while alive:
        alive = is_alive(pid)
        if not path.exists():
            time.sleep(0.01)
            continue
        for place, reader in enumerate(readers):
            records = read(path, reader, records)
            counts[place] += 1
            seen.add(records)
        if len(seen) >= ENOUGH and not stopping:
            os.kill(pid, signal.SIGUSR1)
            stopping = True
    assert stopping, f"only {sorted(seen)} records were seen"
    said = ", ".join(f"{count} times with {reader.__name__[5:]}" for reader, count in zip(readers, counts))
    print(f"opened {said}; {len(seen)} different numbers of records seen")


main()
