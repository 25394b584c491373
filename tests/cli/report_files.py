"""Made-up files of every kind that the analysis reads, so that it can be tested without training.

    report_files.py FOLDER     run/ (classification, one layer), deep/ (two layers), norm/ (a
                               regression, of the validation split), suite/ (E = 2, 8, 32; two
                               seeds, the second without K = 1) and norms/ (l2norm, E = 1 and 16)

Numbers are drawn, but hold together as real ones do: masses sum to 1, errors fall.
"""
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

RECIPE = """seed: {seed}
model:
  layers: {layers}
  experts: {experts}
  slots: {slots}
  expert_hidden: 0
  expert_hidden_total: 784
loss:
  kind: {loss}
data:
  source: {source}
train:
  batch: 256
  epochs: 4
output:
  dir: runs/made-up
"""


@dataclass
class Case:
    """What a made-up run is of."""
    experts: int
    seed: int = 0
    layers: int = 1
    slots: int = 1
    classes: int = 10  # 0: a regression
    tokens: int = 4
    records: int = 5
    split: str = "test"

    @property
    def measure(self):
        return "accuracy" if self.classes else "relative_error"

    @property
    def keeps(self):
        powers = 2 ** np.arange(10)
        return sorted({int(k) for k in powers if self.seed < k < self.experts} | {self.experts})

    @property
    def recipe(self):
        return RECIPE.format(seed=self.seed, layers=self.layers, experts=self.experts,
                             slots=self.slots, source="glyphs" if self.classes else "l2norm",
                             loss="cross_entropy" if self.classes else "mean_squared_error")


class File:
    """A netCDF-4 file by way of h5py: dimension scales on every axis."""

    def __init__(self, path, attributes, dimensions):
        self.file = h5py.File(path, "w", track_order=True)
        for name, value in attributes.items():
            self.file.attrs[name] = np.bytes_(value) if isinstance(value, str) else np.uint64(value)
        for name, values in dimensions.items():
            longest = (None,) if name == "record" else None
            scale = self.file.create_dataset(name, data=values, maxshape=longest, chunks=True)
            scale.make_scale(name)

    def add(self, name, axes, values, units="1"):
        axes = axes.split(",")
        longest = tuple(None if axis == "record" else self.file[axis].size for axis in axes)
        data = self.file.create_dataset(name, data=values, maxshape=longest, fletcher32=True)
        for i, axis in enumerate(axes):
            data.dims[i].attach_scale(self.file[axis])
        data.attrs["units"] = np.bytes_(units)
        data.attrs["long_name"] = np.bytes_(f"made-up {name}")

    def close(self):
        self.file.close()


def attributes_of(case, kind):
    return {"format": "coterie-statistics", "format_version": 1, "kind": kind, "split": case.split,
            "recipe": case.recipe, "seed": case.seed, "coterie_version": "0.1.0",
            "build": "0.1.0 made-up GNU 12.2.0", "ranks": 2, "host": "node1",
            "started": "2024-05-06T07:08:09Z", "written": "2024-05-06T07:10:09Z",
            "data_checksum": 1234567890123456789, "blas_core": "Haswell", "grains": 8}


def final_measure(case):
    if case.classes:
        return 0.975 + 0.001 * np.log2(case.experts)
    return 0.7 if case.experts == 1 else 0.05


def routing(case, rng, sharpness):
    """combine mass by class [layer,class,expert], sharper when the routing is."""
    groups = max(case.classes, 1)
    logits = rng.normal(size=(case.layers, groups, case.experts)) * sharpness
    mass = np.exp(logits)
    return mass / mass.sum(axis=-1, keepdims=True)


def add_routing(out, case, rng, sharpness):
    """What both kinds of file hold; the leading axis of `sharpness` is the record."""
    by_class = np.stack([routing(case, np.random.default_rng(case.seed), s) for s in sharpness])
    mass = by_class.mean(axis=2)
    records, layers, experts = mass.shape
    out.add("combine_mass", "record,layer,expert", mass)
    if case.classes:
        out.add("class_samples", "record,class", np.full((records, case.classes), 500))
        ratio = by_class * np.log(by_class / mass[:, :, None, :]) / case.classes
        posterior = by_class / case.classes / mass[:, :, None, :]
        out.add("combine_mass_by_class", "record,layer,class,expert", by_class)
        out.add("mutual_information", "record,layer", ratio.sum(axis=(2, 3)), "nat")
        out.add("mutual_information_by_expert", "record,layer,expert", ratio.sum(axis=2), "nat")
        out.add("purity", "record,layer,expert", posterior.max(axis=2))
        out.add("main_class", "record,layer,expert", posterior.argmax(axis=2))
    keeps = out.file["keep"][...]
    share = np.minimum(mass[:, :, None, :] * keeps[:, None], 1.0)
    out.add("top_share", "record,layer,keep,expert", share)
    out.add("combine_entropy", "record,layer", np.log(experts) / (1 + sharpness[:, None] + np.zeros(
        layers)), "nat")
    per_slot = (records, layers, experts * case.slots)
    spread = rng.uniform(0.5, 1, per_slot)
    out.add("dispatch_entropy", "record,layer,slot", np.log(case.tokens) * spread, "nat")
    out.add("effective_tokens", "record,layer,slot", case.tokens ** spread)
    missing = np.nan if per_slot[-1] == 1 else 1
    for name, centre in (("min", -0.2), ("mean", 0.0), ("max", 0.25)):
        out.add(f"router_similarity_{name}", "record,layer,slot",
                missing * (centre + rng.normal(size=per_slot) * 0.05))
    for name, size in (("output", 2), ("weight", 5)):
        out.add(f"{name}_norm", "record,layer,expert", size * rng.uniform(0.7, 1.3, mass.shape))


def dimensions_of(case, records, keeps):
    dimensions = {"record": np.arange(records), "layer": np.arange(case.layers),
                  "expert": np.arange(case.experts), "slot": np.arange(case.experts * case.slots),
                  "keep": np.array(keeps)}
    if case.classes:
        dimensions["class"] = np.arange(case.classes)
    return dimensions


def write_stats(path, case, rng):
    records = case.records
    keeps = sorted({max(1, case.experts // part) for part in (8, 4, 2)})
    out = File(path, attributes_of(case, "training"), dimensions_of(case, records, keeps))
    progress = np.arange(1, records + 1)
    out.add("step", "record", progress * 100)
    out.add("epoch", "record", progress)
    out.add("samples", "record", np.full(records, 5000))
    out.add("loss", "record", 0.1 + 1.0 / progress, "nat")
    out.add(case.measure, "record", final_measure(case) * (1 - 0.3 / progress**2))
    add_routing(out, case, rng, np.linspace(0.4, 2, records))
    shape = (records, case.layers, case.experts)
    out.add("gradient_norm", "record,layer,expert", 0.01 * rng.uniform(0.2, 2, shape))
    out.add("update_norm", "record,layer,expert", 0.001 * rng.uniform(0.2, 2, shape))
    out.add("timing/seconds", "record", np.full(records, 0.4), "s")
    out.add("timing/samples_per_s", "record", np.full(records, 5e4), "1/s")
    out.close()


def against_kept(case, quickness):
    """The measure when a share of the experts is kept: 1 - exp(-quickness * share) of the way."""
    share = np.array(case.keeps) / case.experts
    reached = (1 - np.exp(-quickness * share)) / (1 - np.exp(-quickness))
    worst = 1 / case.classes if case.classes else 1.5
    return worst + (final_measure(case) - worst) * reached


def add_random(out, case, rng):
    seeds = 10
    noise = rng.normal(size=(seeds, len(case.keeps))) * 0.01 * (np.array(case.keeps) < case.experts)
    measured = {case.measure: against_kept(case, 2) + noise}
    measured["loss"] = 2 - measured[case.measure]
    for name, values in measured.items():
        out.add(f"{name}_random", "record,seed,keep", values[None])
        out.add(f"{name}_random_mean", "record,keep", values.mean(axis=0)[None])
        out.add(f"{name}_random_sd", "record,keep", values.std(axis=0, ddof=1)[None])


def add_mass(out, case):
    shares = out.file["mass"][...]
    quick = np.interp(shares, [0, 1], [0.6, 1.0])
    out.add(f"{case.measure}_mass", "record,mass", (final_measure(case) * quick)[None])
    out.add("loss_mass", "record,mass", (1 - quick)[None])
    out.add("kept_mass_mean", "record,mass", (1 + shares**2 * (case.experts - 1))[None])
    out.add("kept_mass_sd", "record,mass", (0.3 * shares * (1 - shares) * case.experts)[None])


def add_exhaustive(out, case):
    reached = against_kept(case, 12)
    out.add("exhaustive_any_right", "record,keep", np.minimum(reached * 1.03, 1)[None])
    out.add("exhaustive_combine_rank", "record,keep", np.linspace(2, 0, len(case.keeps))[None])
    out.add("exhaustive_subsets", "record,keep", np.array(case.keeps)[None] * 10)


def write_study(path, case, rng):
    selectors = {"combine": 9, "common": 3, "dispatch": 5, "contribution": 10, "greedy": 14}
    if case.experts <= 8:
        selectors["exhaustive"] = 16
    dimensions = dimensions_of(case, 1, case.keeps)
    dimensions |= {"seed": np.arange(10), "mass": np.array([0.5, 0.8, 0.9, 0.95, 0.99])}
    attributes = attributes_of(case, "study") | {"selectors": " ".join([*selectors, "random mass"])}
    out = File(path, attributes, dimensions)
    for name, value in (("step", 500), ("epoch", 5), ("samples", 5000)):
        out.add(name, "record", np.array([value]))
    out.add("loss", "record", np.array([0.1]), "nat")
    out.add(case.measure, "record", np.array([final_measure(case)]))
    add_routing(out, case, rng, np.array([2.0]))
    keeps = np.array(case.keeps)
    for name, quickness in selectors.items():
        values = against_kept(case, quickness)[None]
        out.add(f"{case.measure}_{name}", "record,keep", values)
        out.add(f"loss_{name}", "record,keep", 2 - values)
        subsets = [min(5000, math.comb(case.experts, k), 3 * k * (case.experts - k) + 1)
                   for k in case.keeps]
        out.add(f"distinct_subsets_{name}", "record,layer,keep",
                np.broadcast_to(subsets, (1, case.layers, len(keeps))))
    add_random(out, case, rng)
    add_mass(out, case)
    if "exhaustive" in selectors:
        add_exhaustive(out, case)
    times = {"seconds": 4e-5, "experts_seconds": 2.5e-5, "exchange_seconds": 5e-6}
    for name, all_kept in times.items():
        out.add(f"timing/{name}_per_sample", "record,keep",
                all_kept * (0.2 + keeps[None] / case.experts), "s")
    out.close()


def write_metrics(path, case):
    lines = []
    for epoch in range(1, 5):
        for step in range(100 * epoch - 80, 100 * epoch + 1, 20):
            lines.append({"event": "step", "step": step, "epoch": epoch, "loss": 50 / (step + 20),
                          "learning_rate": 0.001, "gradient_norm": 0.1, "samples_per_s": 5e4})
        value = final_measure(case) * (1 - 0.2 / epoch**2) if case.classes else \
            max(final_measure(case), 1.0 / epoch**2)
        lines.append({"event": "epoch", "epoch": epoch, "step": 100 * epoch,
                      "train_loss": 0.4 / epoch, "train_accuracy": value if case.classes else None,
                      "test_loss": 0.5 / epoch, "test_accuracy": value if case.classes else None,
                      "test_relative_error": None if case.classes else value,
                      "learning_rate": 0.001, "seconds": 1.5, "samples_per_s": 5e4})
    lines.append({"event": "end", "step": 400, "reason": "finished", "seconds": 6.5})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_checkpoint(path, case):
    with h5py.File(path, "w", track_order=True) as file:
        for name, value in attributes_of(case, "").items():
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else np.uint64(value)
        file.attrs["format"], file.attrs["step"] = np.bytes_("coterie-checkpoint"), np.uint64(400)
        phi = file.create_dataset("params/moe.0.phi", fletcher32=True,
                                  data=np.ones((6, case.experts, case.slots), np.float32))
        phi.attrs["axes"], phi.attrs["placement"] = np.bytes_("D,E,P"), np.bytes_("replicated")


def write_predictions(path, case):
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = np.bytes_("coterie-predictions"), 1
        file.attrs["split"] = np.bytes_("test")
        file["logits"] = np.zeros((20, case.classes), np.float32)
        file["labels"] = np.zeros(20, np.int32)
        file["kept"] = np.ones((20, case.layers, case.experts), np.uint8)


def write_run(folder, case, study=True):
    rng = np.random.default_rng(case.experts + 1000 * case.seed)
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(case.recipe)
    write_metrics(folder / "metrics.jsonl", case)
    write_stats(folder / "stats.h5", case, rng)
    if study:
        write_study(folder / "study.h5", case, rng)
    write_checkpoint(folder / "checkpoint-400.h5", case)
    (folder / "latest.h5").symlink_to("checkpoint-400.h5")


def main(folder):
    write_run(folder / "run", Case(experts=16))
    write_predictions(folder / "run" / "predictions.h5", Case(experts=16))
    write_run(folder / "deep", Case(experts=8, layers=2, slots=2))
    write_run(folder / "norm", Case(experts=16, classes=0, split="validation"))
    write_study(folder / "norm" / "another.h5", Case(experts=16, classes=0),
                np.random.default_rng(1))
    for experts in (2, 8, 32):
        for seed in (0, 1):
            write_run(folder / "suite" / f"e{experts}-s{seed}", Case(experts, seed))
    for experts in (1, 16):
        write_run(folder / "norms" / f"e{experts}-s0", Case(experts, classes=0), study=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
