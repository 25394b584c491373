"""The program, run in a scratch folder, as the comparisons with the reference need it."""
import json
import os
import subprocess
import tempfile
from pathlib import Path

import h5py
import numpy as np

RANKS = 2


class Program:
    """The environment names it: COTERIE."""

    def __init__(self, scratch, ranks=RANKS):
        self.path = os.environ["COTERIE"]
        self.scratch = Path(scratch)
        self.launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
        self.environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OPENBLAS_NUM_THREADS": "1"}

    def run(self, *arguments):
        """What it prints; another exit code than 0 ends the test."""
        words = [str(argument) for argument in arguments]
        done = subprocess.run([*self.launcher, self.path, *words], env=self.environment,
                              capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            said = f"exit code {done.returncode}\n{done.stderr}"
            raise SystemExit(f"coterie {' '.join(words)}: {said}")
        return done.stdout

    def folder(self):
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def first_steps(self, recipe, overrides, count):
        """Checkpoints before the first step and after each of `count`."""
        folder = self.folder()
        settings = [f"--set={line}" for line in [*overrides, f"output.dir={folder}",
                                                 "checkpoint.every_steps=1", "checkpoint.keep=0"]]
        self.run("train", recipe, *settings, "--steps", 0)
        self.run("train", recipe, *settings, "--resume", "auto", "--steps", count)
        return [folder / f"checkpoint-{step}.h5" for step in range(count + 1)]

    def predictions(self, checkpoint, *options):
        """Logits, labels and kept experts by sample of the test split, and what is printed."""
        path = self.folder() / "predictions.h5"
        said = self.run("eval", checkpoint, "--predictions", path, "--format", "json", *options)
        with h5py.File(path, "r") as file:
            arrays = {name: np.asarray(file[name]) for name in ("logits", "labels", "kept")}
        return arrays, json.loads(said)
