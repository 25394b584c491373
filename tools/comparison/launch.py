"""The program, found and run; what it refuses is one line."""
import os
import shutil
import subprocess
from pathlib import Path

USAGE, UNAVAILABLE = 64, 69


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


def reason(output, errors):
    """The line that says what is wrong: an error; what mpirun says between lines of dashes; or what
    was said last."""
    said = (errors.strip() or output.strip() or "it said nothing").splitlines()
    found = [line.split(": error: ", 1)[1] for line in said if ": error: " in line]
    rules = [i for i, line in enumerate(said[:-1]) if line and not line.strip("-")]
    return found[0] if found else said[rules[0] + 1] if rules else said[-1]


def run_program(launcher, program, *arguments):
    """What it prints, run by the words of `launcher`. Who is stopped meanwhile stops it too, and
    waits, so that it can end what it started."""
    words = [*launcher, program, *map(str, arguments)]
    try:
        started = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
    except OSError as problem:
        raise Failure(f"{words[0]}: {problem.strerror}", UNAVAILABLE) from None
    with started as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise Failure(f"{Path(program).name} {arguments[0]}: {reason(output, errors)}",
                      max(process.returncode, 1))
    return output
