"""The ways of running PyTorch that a comparison measures, each in processes of its own."""
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from coterie_runs import INTERNAL
from launch import Failure

WORKER = Path(__file__).resolve().with_name("worker.py")
REFERENCE = WORKER.parents[2] / "tests" / "reference"
POLL_SECONDS = 0.05
EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b")


@dataclass(frozen=True)
class Mode:
    name: str
    threads: int
    processes: int


MODES = [Mode("1 thread", 1, 1), Mode("2 threads", 2, 1),
         Mode("2 processes, DistributedDataParallel on gloo", 1, 2)]


def environment_of(mode):
    threads = str(mode.threads)
    return {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads, "PYTHONPATH": str(REFERENCE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")}


def reason(log, process):
    """Why a worker ended: the exception's own line, if it said one."""
    said = log.read_text().strip().splitlines() or [f"ended with {process.returncode}"]
    return next((line for line in reversed(said) if EXCEPTION.match(line)), said[-1])


def wait_for(processes):
    """Until all are done, or one has failed."""
    while any(process.poll() is None for process in processes):
        if any(process.poll() not in (None, 0) for process in processes):
            return
        time.sleep(POLL_SECONDS)


def run_mode(mode, folder, **task):
    """What rank 0 says."""
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    processes, logs = [], []
    for rank in range(mode.processes):
        here = {"rank": rank, "processes": mode.processes, "threads": mode.threads,
                "meeting": str(meeting), **task}
        logs.append([folder / f"out-{rank}", folder / f"err-{rank}"])
        with open(logs[rank][0], "w") as out, open(logs[rank][1], "w") as err:
            processes.append(subprocess.Popen(
                [sys.executable, str(WORKER), str(folder), json.dumps(here)],
                env=environment_of(mode), stdin=subprocess.DEVNULL, stdout=out, stderr=err))
    try:
        wait_for(processes)
        for process, (_, err) in zip(processes, logs):
            if process.poll() not in (None, 0):
                raise Failure(f"PyTorch, {mode.name}: {reason(err, process)}", INTERNAL)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return json.loads(logs[0][0].read_text())
