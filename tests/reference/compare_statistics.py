#!/usr/bin/env python3
"""Compare every number of statistics files with a recomputation from checkpoints and data.

    compare_statistics.py small   several combinations of options, on glyphs and on l2norm
    compare_statistics.py mnist   the recipe mnist.yaml, on MNIST in the folder that COTERIE_MNIST names

A case trains with a checkpoint at every step, so the reference knows the parameters at each record
of stats.h5 and at the step before it; then the last checkpoint is studied with every selector, and
evaluated on part of its experts. The environment names the program (COTERIE) and the source folder
(COTERIE_SOURCE).
"""
import os
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from inputs import model_options, read_checkpoint, read_split
from program import Program
from quantity import CLOSE, Exact, OneOf, Quantity, problem
from reference import evaluate, forward, losses_of, patches_of
from routing import (expert_norms, firsts, layer_statistics, parameter_statistics, ranking, shares,
                     stack, top_share_by_class)
from selection import (SCORES, Sample, by_common, by_exhaustive, by_mass, by_orders, by_random,
                       check_effects, common_orders, curve, kept_quantities, over_seeds,
                       random_order, reaching)

MASSES = [0.3, 0.5, 0.9, 1.0]
SEEDS = [0, 1, 2]
SUBSET_LIMIT = 60  # below C(8,4): a size with too many subsets is among those of a sweep

COMMON = [
    "seed=3", "optimizer.kind=adam", "optimizer.learning_rate=0.01", "train.shuffle=false",
    "train.batch=80", "train.epochs=4", "checkpoint.every_steps=1", "checkpoint.keep=0",
    "output.report=false"]

CASES = {
    "the paper's layer": ["model.experts=8", "model.expert_hidden_total=64"],
    "logits, two slots, biases, smoothed labels": [
        "router.normalize=logits", "model.activation=gelu", "model.experts=5", "model.slots=2",
        "model.expert_hidden=9", "model.patch_height=7", "model.embed=12", "model.embed_bias=true",
        "model.expert_bias=true", "model.pool=mean", "model.head_bias=true",
        "loss.label_smoothing=0.1", "data.validation=40", "optimizer.clip_norm=0.1",
        "stats.keep=[1, 2, 5]"],
    "none, residual, two slots, replicas": [
        "router.normalize=none", "router.init=lecun_normal", "model.residual=true",
        "model.experts=6", "model.slots=2", "model.expert_hidden=8", "stats.every=2",
        "parallel.expert_replicas=2"],
    "two layers": [
        "model.experts=4", "model.slots=2", "model.expert_hidden=8", "model.layers=2",
        "model.residual=true", "model.pool=mean", "model.embed=10"],
    "uniform combine, classes without samples, masses only": [
        "router.uniform_combine=true", "model.experts=3", "model.expert_hidden=8",
        "data.test_samples=6", "stats.level=masses"],
    "uniform dispatch, one slot in all": [
        "router.uniform_dispatch=true", "model.experts=1", "model.expert_hidden=8"],
}

L2NORM = [
    "data.source=l2norm", "data.train_samples=240", "data.test_samples=150", "data.tokens=4",
    "data.width=8", "loss.kind=mean_squared_error", "model.patch_height=1", "model.patch_width=8",
    "model.experts=6", "model.slots=2", "model.expert_hidden=6", "model.expert_bias=true",
    "model.head_bias=true", "router.normalize=none", "router.init=lecun_normal"]


class Trained:
    """A checkpoint, and all that the reference computes of it on one split."""

    def __init__(self, path, split):
        with h5py.File(path, "r") as file:
            self.step, self.epoch = int(file.attrs["step"]), int(file.attrs["epoch"])
        self.params, _, self.recipe = read_checkpoint(path)
        self.options = model_options(self.recipe)
        self.tokens, self.target = self.read(split)
        self.logits, self.insides, _ = forward(self.params, self.options, self.tokens)
        self.classes = 0 if self.options["loss"] == "mean_squared_error" else self.logits.shape[1]
        self.experts = self.params["moe.0.phi"].shape[1]

    def read(self, split, epoch=0):
        """The tokens [B,T,D] and targets of a whole split."""
        images, target = read_split(self.recipe, split, epoch)
        if self.recipe["data"]["source"] == "l2norm":
            target = target.astype(np.float32).astype(np.float64)  # as the program keeps it
        model = self.recipe["model"]
        return patches_of(images, model["patch_height"], model["patch_width"]), target

    def samples(self):
        return Sample(self.params, self.options, self.insides[-1], self.target)

    def results(self):
        """What the evaluation itself finds."""
        losses = losses_of(self.logits, self.target, self.options["loss"],
                           self.options["label_smoothing"])[0]
        found = {"step": Exact(self.step), "samples": Exact(len(self.target)),
                 "loss": Quantity(losses.mean())}
        if self.classes == 0:
            found["relative_error"] = Quantity(losses.mean() / np.var(self.target))
            return found
        right, close = self.samples().verdicts(self.logits[:, None])
        found["accuracy"] = Quantity(right.mean(), close.mean(), relative=0.0, absolute=1e-12)
        found["class_samples"] = Exact(np.bincount(self.target, minlength=self.classes))
        return found

    def statistics(self, keeps, full):
        """What both kinds of file hold."""
        layers = [layer_statistics(inside, self.target, self.classes, keeps, full)
                  for inside in self.insides]
        if full:
            layers = [{**layer, **parameter_statistics(self.params, index)}
                      for index, layer in enumerate(layers)]
        return {**self.results(), **stack(layers)}


def step_statistics(before, after):
    """Of the step between two checkpoints."""
    batch = after.recipe["train"]["batch"]
    tokens, target = before.read("train", before.epoch)
    first = before.step % (-(-len(target) // batch)) * batch
    grads = evaluate(before.params, before.options, tokens[first:first + batch],
                     target[first:first + batch])[2]
    change = {name: after.params[name] - before.params[name] for name in after.params}
    layers = range(len(after.insides))
    return stack([{"gradient_norm": Quantity(expert_norms(grads, layer), relative=1e-5),
                   "update_norm": Quantity(expert_norms(change, layer))} for layer in layers])


def dimensions(trained, keeps, full):
    layers, slots = len(trained.insides), trained.params["moe.0.phi"][0].size
    found = {"layer": Exact(np.arange(layers)), "expert": Exact(np.arange(trained.experts)),
             "keep": Exact(keeps)}
    if full:  # masses alone have nothing by slot
        found["slot"] = Exact(np.arange(slots))
    if trained.classes > 0:
        found["class"] = Exact(np.arange(trained.classes))
    return found


def variables_of(file):
    found = {}
    file.visititems(lambda name, node: found.update({name: np.asarray(node)})
                    if isinstance(node, h5py.Dataset) else None)
    return found


def differences(found, wanted, what):
    """A line for each variable that differs, is missing, or is not expected."""
    lines = [f"{what}: {name}: {said}" for name, want in wanted.items() if name in found
             for said in [problem(found[name], want)] if said]
    lines += [f"{what}: {name} is missing" for name in sorted(wanted.keys() - found.keys())]
    return lines + [f"{what}: {name} is not expected" for name in
                    sorted(found.keys() - wanted.keys())]


def timing_problems(found, names, what):
    """Times are not compared: they are there, and positive."""
    return [f"{what}: {name}" for name in names
            if name not in found or not (found.pop(name) > 0).all()]


# ---- training ----

PHASES, OVER_RANKS = 9, 4


def cost_problems(found):
    """What a step costs, by place, phase and over the ranks, is not compared either: it is not negative, and its smallest, mean and
    largest are in order."""
    sizes = {"place": len(found["layer"]) + 1, "phase": PHASES, "over_ranks": OVER_RANKS}
    lines = [f"stats.h5: {name}" for name, size in sizes.items()
             if not np.array_equal(found.pop(name, None), np.arange(size))]
    for name in [f"timing/step_{cost}" for cost in ("seconds", "bytes", "exposed", "hidden")]:
        least, mean, most, _ = np.moveaxis(found.pop(name, np.full(OVER_RANKS, np.nan)), -1, 0)
        if not ((least >= 0) & (least <= mean * (1 + 1e-12)) & (mean <= most * (1 + 1e-12))).all():
            lines.append(f"stats.h5: {name}")
    return lines


def default_keeps(experts):
    return sorted({max(experts // part, 1) for part in (8, 4, 2)})


def training_problems(folder, recipe):
    """Every record of stats.h5 against the checkpoints of its step and of the step before."""
    split = "validation" if recipe["data"]["validation"] > 0 else "test"
    full = recipe["stats"]["level"] == "all"
    with h5py.File(folder / "stats.h5", "r") as file:
        found = variables_of(file)
    lines = timing_problems(found, ["timing/seconds", "timing/samples_per_s"], "stats.h5")
    lines += cost_problems(found)
    steps, epochs = found["step"], found.pop("epoch")
    for record, step in enumerate(steps):
        after = Trained(folder / f"checkpoint-{step}.h5", split)
        before = Trained(folder / f"checkpoint-{step - 1}.h5", split)
        keeps = recipe["stats"]["keep"] or default_keeps(after.experts)
        wanted = after.statistics(keeps, full)
        if full:
            wanted.update(step_statistics(before, after))
        coordinates = dimensions(after, keeps, full)
        rows = {name: values if name in coordinates else values[record]
                for name, values in found.items()}
        wanted.update({**coordinates, "record": Exact(record)})
        lines += differences(rows, wanted, f"stats.h5, step {step}")
    every = recipe["stats"]["every"]
    ends = [epoch for epoch in range(1, recipe["train"]["epochs"] + 1) if epoch % every == 0]
    if list(epochs) != ends:
        lines.append(f"stats.h5: epochs {epochs}, not {ends}")
    return lines


# ---- a study ----

def flat_study(trained, keeps, tokens):
    """All that a study of one layer adds."""
    samples, inside = trained.samples(), trained.insides[0]
    check_effects(samples, trained.params, trained.options, tokens, inside, 1)
    names = ["combine", "dispatch", "contribution", "greedy"]
    return {**by_orders(samples, inside, names, keeps), **by_random(samples, SEEDS, keeps),
            **by_common(samples, inside, keeps), **by_mass(samples, inside, MASSES),
            **by_exhaustive(samples, inside, keeps, SUBSET_LIMIT)}


def deep_curve(trained, name, choices):
    """Each of `choices` maps (layer, inside) to the experts kept [B,E] and to where that is unsure
    [B]; one forward pass for each. Also the subsets [choices,layers,B,E] and all that is unsure."""
    outputs, doubts, subsets = [], [], []
    for choice in choices:
        seen = []

        def choose(layer, inside):
            seen.append(choice(layer, inside))
            return seen[-1][0]

        outputs.append(forward(trained.params, trained.options, trained.tokens, choose)[0])
        subsets.append([kept for kept, _ in seen])
        doubts.append(np.any([unsure for _, unsure in seen], axis=0))
    doubts = np.stack(doubts, axis=1)
    found = curve(trained.samples(), name, np.stack(outputs, axis=1), doubts)
    return found, np.array(subsets), doubts


def by_score(score, keep):
    def choice(_, inside):
        order, unsure = ranking(score(inside))
        return firsts(order, keep), unsure[:, keep - 1]
    return choice


def by_chance(seed, keep, count, experts):
    return lambda layer, _: (firsts(random_order(seed, layer, count, experts), keep),
                             np.zeros(count, bool))


def in_common(orders, keep, count):
    def choice(layer, _):
        order, unsure = orders[layer]
        return (np.repeat(firsts(order, keep), count, axis=0),
                np.repeat(unsure[:, keep - 1], count))
    return choice


def deep_study(trained, keeps):
    """All that a study of several layers adds."""
    found, count = {}, len(trained.target)
    for name in ("combine", "dispatch"):
        lines, subsets, doubts = deep_curve(trained, name,
                                            [by_score(SCORES[name], k) for k in keeps])
        numbers = [[len(np.unique(kept, axis=0)) for kept in layers] for layers in subsets]
        found.update({**lines, f"distinct_subsets_{name}": Exact(np.transpose(numbers),
                                                                 doubts.sum(axis=0))})
    found.update(over_seeds([
        deep_curve(trained, "random", [by_chance(seed, k, count, trained.experts)
                                       for k in keeps])[0] for seed in SEEDS]))
    orders = common_orders(trained.insides)
    found.update(deep_curve(trained, "common", [in_common(orders, k, count) for k in keeps])[0])
    lines, subsets, doubts = deep_curve(trained, "mass", [
        lambda _, inside, share=share: reaching(shares(inside), share) for share in MASSES])
    kept = subsets.sum(axis=3)
    return {**found, **lines, **kept_quantities(kept.reshape(len(kept), -1), doubts)}


def rows_by_sample(trained):
    mass = np.stack([shares(inside) for inside in trained.insides], axis=1)
    found = {"expert_mass": Quantity(mass, relative=CLOSE), "sample": Exact(np.arange(len(mass)))}
    if trained.classes > 0:
        largest = trained.logits.max(axis=1, keepdims=True)
        found["label"] = Exact(trained.target)
        found["prediction"] = OneOf(trained.logits >= largest - trained.samples().error[:, None])
    return found


def study_problems(program, checkpoint):
    path = program.folder() / "study.h5"
    program.run("specialize", checkpoint, "-o", path, "--select", "all", "--seeds", len(SEEDS),
                "--masses", ",".join(map(str, MASSES)), "--sweep", "--samples", "--subset-limit",
                SUBSET_LIMIT)
    with h5py.File(path, "r") as file:
        found = variables_of(file)
    names = ["seconds_per_sample", "experts_seconds_per_sample", "exchange_seconds_per_sample"]
    lines = timing_problems(found, [f"timing/{name}" for name in names], "study")
    trained = Trained(checkpoint, "test")
    keeps = np.arange(1, trained.experts + 1)
    deep = len(trained.insides) > 1
    wanted = trained.statistics(keeps, True)
    wanted["epoch"] = Exact(trained.epoch)
    wanted.update(deep_study(trained, keeps) if deep else flat_study(trained, keeps,
                                                                     trained.tokens))
    if trained.classes > 0:
        wanted.update(stack([{"top_share_by_class": top_share_by_class(
            inside, trained.target, trained.classes, keeps)} for inside in trained.insides]))
    alone = {**dimensions(trained, keeps, full=True), **rows_by_sample(trained), "seed": Exact(SEEDS),
             "mass": Exact(MASSES)}
    rows = {name: values if name in alone or name == "record" else values[0]
            for name, values in found.items()}
    return lines + differences(rows, {**wanted, **alone, "record": Exact([0])}, "study")


# ---- evaluation on part of the experts ----

def prediction_problems(program, checkpoint, keep):
    """Sample by sample: the experts kept, and what is predicted with them."""
    trained = Trained(checkpoint, "test")
    arrays, _ = program.predictions(checkpoint, "--keep", keep)
    doubts = np.zeros((len(trained.target), len(trained.insides)), bool)
    subsets = np.zeros(arrays["kept"].shape)

    def choose(layer, inside):
        order, unsure = ranking(shares(inside))
        doubts[:, layer] = unsure[:, keep - 1]
        subsets[:, layer] = firsts(order, keep)
        return subsets[:, layer]

    outputs = forward(trained.params, trained.options, trained.tokens, choose)[0]
    sure = ~doubts.any(axis=1)
    what = f"eval --keep {keep}"
    lines = []
    if not np.array_equal(arrays["kept"][sure], subsets[sure]):
        lines.append(f"{what}: other experts kept")
    error = trained.samples().error[:, None]
    if not (np.abs(arrays["logits"] - outputs) <= error)[sure].all():
        lines.append(f"{what}: other outputs")
    if trained.classes > 0:
        _, close = trained.samples().verdicts(outputs[:, None])
        clear = sure & ~close[:, 0]
        if not np.array_equal(arrays["logits"].argmax(axis=1)[clear],
                              outputs.argmax(axis=1)[clear]):
            lines.append(f"{what}: other classes predicted")
    if sure.mean() < 0.9:
        lines.append(f"{what}: only {sure.mean():.0%} of the samples are clear")
    return lines


def compare(program, name, recipe, overrides):
    folder = program.folder()
    program.run("train", recipe, *[f"--set={line}" for line in [*overrides, f"output.dir={folder}"]])
    latest = folder / "latest.h5"
    _, _, settings = read_checkpoint(latest)
    lines = training_problems(folder, settings) + study_problems(program, latest)
    for keep in sorted({1, max(settings["model"]["experts"] // 2, 1)}):
        lines += prediction_problems(program, latest, keep)
    print(f"{name}: {'agrees' if not lines else 'DIFFERS'}", flush=True)
    for line in lines:
        print(f"    WRONG: {line}")
    return not lines


def small(program, scratch):
    recipe = scratch / "empty.yaml"
    recipe.write_text("seed: 0\n")
    glyphs = scratch / "glyphs"
    program.run("data", "make", "-o", glyphs, "--train", 240, "--test", 150)
    data = ["data.source=idx", f"data.path={glyphs}"]
    good = [compare(program, name, recipe, [*COMMON, *data, *case]) for name, case in CASES.items()]
    return [*good, compare(program, "l2norm", recipe, [*COMMON, *L2NORM])]


def main():
    with tempfile.TemporaryDirectory(prefix="coterie-statistics-") as name:
        scratch = Path(name)
        program = Program(scratch)
        if sys.argv[1:] == ["small"]:
            good = small(program, scratch)
        elif sys.argv[1:] == ["mnist"]:
            recipe = Path(os.environ["COTERIE_SOURCE"]) / "jobs" / "recipes" / "mnist.yaml"
            data = [f"data.path={os.environ['COTERIE_MNIST']}", "data.test_samples=1000",
                    "data.train_samples=2560"]
            steps = ["train.epochs=2", "checkpoint.every_steps=1", "checkpoint.keep=0",
                     "train.shuffle=false", "output.report=false"]
            good = [compare(program, f"mnist.yaml, {experts} experts", recipe,
                            [*data, *steps, f"model.experts={experts}"]) for experts in (8, 32)]
        else:
            raise SystemExit(__doc__)
    print(f"{sum(good)} of {len(good)} cases agree with the reference")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
