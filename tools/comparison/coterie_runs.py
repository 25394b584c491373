"""The program's side of a comparison: its initial weights, its losses, and its speed."""
import json
import os
import shutil
import statistics

import h5py
import numpy as np
from inputs import parse_recipe
from launch import Failure, find_program, run_program

BAD_DATA, INTERNAL = 65, 70
FAR = 10**9
WARMUP_STEPS, LEAST_STEPS = 10, 30
# What happens between steps would only take time.
QUIET = ["checkpoint.every_epochs=0", "checkpoint.every_steps=0", "checkpoint.every_minutes=0",
         f"train.eval_every={FAR}", "output.report=false", "output.log_every=1"]


class Coterie:
    def __init__(self, recipe, overrides, ranks, scratch):
        self.recipe, self.overrides, self.scratch = recipe, overrides, scratch
        self.program = find_program()
        self.launcher = ["mpirun", *(["--oversubscribe"] if ranks > os.cpu_count() else []),
                         "-n", str(ranks)]

    def call(self, *arguments, ranks=True):
        run_program(self.launcher if ranks else [], self.program, *arguments)

    def train(self, folder, steps, *options, extra=()):
        settings = [*self.overrides, *QUIET, *extra, f"output.dir={folder}"]
        self.call("train", self.recipe, *(f"--set={line}" for line in settings), "--steps", steps,
                  *options)

    def initial_state(self):
        """Parameters in float32, the resolved recipe, and the checkpoint's attributes."""
        self.train(self.scratch / "agree", 0)
        with h5py.File(self.scratch / "agree" / "checkpoint-0.h5", "r") as file:
            weights = {}
            file["params"].visititems(
                lambda name, node: weights.update({name.replace("/", "."): np.asarray(node)})
                if isinstance(node, h5py.Dataset) else None)
            text = {name: value.decode() if isinstance(value, bytes) else str(value)
                    for name, value in file.attrs.items()}
        return weights, parse_recipe(text["recipe"]), text

    def steps_of(self, folder):
        """The events `step` of a run."""
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == "step"]

    def losses(self, steps):
        folder = self.scratch / "agree"
        self.train(folder, steps, "--resume", "auto")
        found = self.steps_of(folder)
        if len(found) != steps:
            raise Failure(f"{folder}: {len(found)} steps, not {steps}", INTERNAL)
        return [event["loss"] for event in found]

    def speed(self, seconds, is_full):
        """Median samples/s over the full batches of about so many seconds of training."""
        folder = self.scratch / "speed"
        warm = [event["samples_per_s"] for event in self.steps_of(self.scratch / "agree")]
        per_second = statistics.median(warm) / self.batch
        steps = WARMUP_STEPS + max(LEAST_STEPS, round(seconds * per_second))
        shutil.rmtree(folder, ignore_errors=True)
        self.train(folder, steps, extra=("train.steps=0", f"train.epochs={FAR}"))
        return statistics.median(event["samples_per_s"] for event in self.steps_of(folder)
                                 if event["step"] > WARMUP_STEPS and is_full(event["step"] - 1))

    batch = 1  # samples of a full batch, once they are known

    def make_glyphs(self, data):
        """The files of the recipe's glyphs; their folder."""
        folder = self.scratch / "glyphs"
        self.call("data", "make", "-o", folder, "--train", data["train_samples"], "--test", 10,
                  "--seed", data["seed"], ranks=False)
        return folder
