"""The program, found and run; what it refuses is one line."""
import os
import shutil
import subprocess
from pathlib import Path

USAGE = 64


class Failure(Exception):
    """One line of what is wrong, and the exit code."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def find_program():
    """The one that COTERIE names; else that of build/ here; else that of PATH."""
    built = Path(__file__).resolve().parents[2] / "build" / "coterie"
    program = os.environ.get("COTERIE") or (str(built) if built.exists() else "coterie")
    found = shutil.which(program)
    if found is None:
        raise Failure(f"{program}: no such program; build it, or let COTERIE name it", USAGE)
    return found


def run_program(launcher, program, *arguments):
    """What it prints, run by the words of `launcher`."""
    words = [*launcher, program, *map(str, arguments)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        errors = [line for line in said if line.startswith("coterie: error: ")]
        message = errors[0].removeprefix("coterie: error: ") if errors else said[-1]
        raise Failure(f"{Path(program).name} {arguments[0]}: {message}", max(done.returncode, 1))
    return done.stdout
