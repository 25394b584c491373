"""Load what Coterie writes: statistics, checkpoints, predictions, metrics, run and suite folders.

    >>> import coterie_files as cf
    >>> study = cf.open_statistics("runs/first/study.h5")    # an xarray.Dataset
    >>> weights = cf.open_checkpoint("runs/first/latest.h5").params["moe.0.experts.w1"]

Whatever is wrong with a file is a FileError of one line that names it. docs/analysis.md shows more.
"""
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

RUN_NAME = re.compile(r"e(\d+)-s(\d+)$")


class FileError(Exception):
    """What is wrong with a file, in one line. `code` is the exit code that sysexits.h has for it:
    65 for its content, 66 for a file that is not there."""

    def __init__(self, path, message, code=65):
        super().__init__(f"{path}: {message}")
        self.code = code


@contextmanager
def _reading(path):
    """Whatever a library raises over a damaged file becomes a FileError."""
    try:
        yield
    except FileError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as problem:
        raise FileError(path, problem.strerror or "cannot be opened", 66) from problem
    except Exception as problem:
        first_line = str(problem).strip().split("\n")[0] or type(problem).__name__
        raise FileError(path, f"is damaged, or is no HDF5 file: {first_line}") from problem


def _plain(value):
    """An attribute as a Python value; texts of either HDF5 kind as str."""
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def read_attributes(path):
    """The attributes of a file's root, as a dictionary."""
    with _reading(path):
        if not Path(path).is_file():
            raise FileError(path, "there is no such file", 66)
        with h5py.File(path, "r") as file:
            return {name: _plain(value) for name, value in file.attrs.items()}


def _attributes_of(path, wanted):
    """The attributes of a file that must have this format, version 1."""
    attributes = read_attributes(path)
    found = attributes.get("format", "another one")
    if found != f"coterie-{wanted}":
        raise FileError(path, f"is no {wanted} file: its format is {found}")
    if attributes.get("format_version") != 1:
        version = attributes.get("format_version")
        raise FileError(path, f"has format version {version}; this program reads version 1")
    return attributes


# ---- recipes ----

def _scalar(text):
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(item) for item in text[1:-1].split(",") if item.strip()]
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def parse_recipe(text):
    """A resolved recipe (every key on a line of its own, sections indented) as nested
    dictionaries: parse_recipe(text)["model"]["experts"]."""
    recipe, section = {}, {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if not colon or line.lstrip().startswith("#"):
            continue
        if not value.strip():
            section = recipe.setdefault(name.strip(), {})
        elif line[0].isspace():
            section[name.strip()] = _scalar(value)
        else:
            recipe[name.strip()] = _scalar(value)
    return recipe


# ---- single files ----

def open_statistics(path):
    """A statistics file (`stats.h5`, or what `coterie specialize` wrote) as an xarray.Dataset in
    memory. The variables of the group /timing are there too, as timing_seconds and so on."""
    attributes = _attributes_of(path, "statistics")
    options = {"engine": "h5netcdf", "decode_times": False}
    with _reading(path):
        with xr.open_dataset(path, **options) as root:
            data = root.load()
        with h5py.File(path, "r") as file:
            has_timing = "timing" in file
        if has_timing:
            with xr.open_dataset(path, group="timing", **options) as timing:
                for name, variable in timing.load().variables.items():
                    data[f"timing_{name}"] = variable
    data.attrs = attributes
    _check_axes(path, data)
    return data


def _check_axes(path, data):
    """What every reader here relies on."""
    if data.sizes.get("record", 0) == 0 or "step" not in data:
        raise FileError(path, "is a statistics file without a record, or without `step`")
    for name, variable in data.data_vars.items():
        if not variable.dims or variable.dims[0] not in ("record", "sample"):
            axes = ",".join(variable.dims)
            raise FileError(path, f"its {name} has the axes [{axes}]; the first must be record")


@dataclass
class Checkpoint:
    """The parameters of a model by name, as NumPy arrays, and what is known of their making."""
    path: Path
    attributes: dict
    params: dict
    axes: dict = field(repr=False)

    @property
    def step(self):
        return self.attributes["step"]

    @property
    def recipe_text(self):
        return self.attributes["recipe"]

    @property
    def recipe(self):
        return parse_recipe(self.recipe_text)


def open_checkpoint(path):
    """A checkpoint. Reading a parameter checks its checksums."""
    attributes = _attributes_of(path, "checkpoint")
    with _reading(path), h5py.File(path, "r") as file:
        params = {name: data[...] for name, data in file["params"].items()}
        axes = {name: _plain(data.attrs["axes"]) for name, data in file["params"].items()}
    return Checkpoint(Path(path), attributes, params, axes)


def open_predictions(path):
    """What `coterie eval --predictions` wrote: logits [sample,output], labels [sample] and kept
    [sample,layer,expert] as an xarray.Dataset."""
    attributes = _attributes_of(path, "predictions")
    axes = {"logits": ("sample", "output"), "labels": ("sample",),
            "kept": ("sample", "layer", "expert")}
    with _reading(path), h5py.File(path, "r") as file:
        arrays = {name: (dims, file[name][...]) for name, dims in axes.items()}
        return xr.Dataset(arrays, attrs=attributes)


def _column(values):
    """Numbers as an array, null as NaN; anything else as it is."""
    if all(value is None or isinstance(value, (int, float)) for value in values):
        whole = all(isinstance(value, int) for value in values)
        return np.array([np.nan if value is None else value for value in values],
                        dtype=np.int64 if whole else np.float64)
    return np.array(values, dtype=object)


def _metrics_lines(path):
    """The objects in metrics.jsonl. A running program may be about to end the last line."""
    with _reading(path):
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            event = json.loads(line)
        except ValueError as problem:
            raise FileError(path, f"line {number} is no JSON: {problem}") from problem
        if not isinstance(event, dict) or not isinstance(event.get("event"), str) \
                or not isinstance(event.get("step"), int):
            raise FileError(path, f"line {number} has no `event` and `step`")
        yield event


def read_metrics(path):
    """metrics.jsonl: for every kind of event an xarray.Dataset along `step`, so that
    read_metrics(path)["epoch"].test_accuracy is accuracy against steps."""
    events = {}
    for event in _metrics_lines(path):
        events.setdefault(event.pop("event"), []).append(event)
    metrics = {}
    for kind, rows in events.items():
        names = dict.fromkeys(name for row in rows for name in row if name != "step")
        columns = {name: ("step", _column([row.get(name) for row in rows])) for name in names}
        steps = np.array([row["step"] for row in rows], dtype=np.int64)
        metrics[kind] = xr.Dataset(columns, coords={"step": steps})
    return metrics


# ---- folders ----

@dataclass
class Run:
    """What a run folder holds. What is not there is None or empty."""
    folder: Path
    recipe_text: str
    attributes: dict
    metrics: dict = field(repr=False)
    stats: xr.Dataset = field(repr=False)
    studies: dict = field(repr=False)  # by file name

    @property
    def recipe(self):
        return parse_recipe(self.recipe_text)

    @property
    def study(self):
        """study.h5, or else the study of the latest step."""
        if "study.h5" in self.studies:
            return self.studies["study.h5"]
        latest = sorted(self.studies.values(), key=lambda study: int(study.step[-1]))
        return latest[-1] if latest else None

    @property
    def experts(self):
        """The number of experts, by the recipe, else by the statistics; 0 when nothing says."""
        known = [data.sizes["expert"] for data in (self.study, self.stats) if data is not None]
        return self.recipe.get("model", {}).get("experts", known[0] if known else 0)

    @property
    def seed(self):
        return self.recipe.get("seed", 0)

    @property
    def classifies(self):
        return self.recipe.get("loss", {}).get("kind") != "mean_squared_error"

    @property
    def hidden_units(self):
        """Of all experts of a layer together, by the recipe; None when it does not say."""
        model = self.recipe.get("model", {})
        total = model.get("expert_hidden_total")
        if total and self.experts:
            return self.experts * max(1, total // self.experts)
        return self.experts * model.get("expert_hidden", 0) or None

    @property
    def parameters(self):
        """How many numbers the model has, by its latest checkpoint; None without one."""
        latest = self.folder / "latest.h5"
        if not latest.exists():
            return None
        with _reading(latest), h5py.File(latest, "r") as file:
            return sum(data.size for data in file["params"].values())


def _studies_in(folder):
    """Every study in a folder by file name; links and checkpoints are passed over."""
    studies = {}
    for path in sorted(folder.glob("*.h5")):
        if path.name == "stats.h5" or path.name.startswith("checkpoint-") or path.is_symlink():
            continue
        attributes = read_attributes(path)
        if attributes.get("format") == "coterie-statistics" and attributes.get("kind") == "study":
            studies[path.name] = open_statistics(path)
        elif path.name == "study.h5":
            raise FileError(path, "is no study: `coterie specialize` writes one")
    return studies


def _read_text(path):
    with _reading(path):
        return path.read_text(encoding="utf-8", errors="replace")


def open_run(folder):
    """A run folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(folder, "there is no such folder", 66)
    metrics_path, stats_path, recipe_path, latest = (
        folder / name for name in ("metrics.jsonl", "stats.h5", "recipe.yaml", "latest.h5"))
    metrics = read_metrics(metrics_path) if metrics_path.exists() else {}
    stats = open_statistics(stats_path) if stats_path.exists() else None
    studies = _studies_in(folder)
    run = Run(folder, "", {}, metrics, stats, studies)
    known = [data.attrs for data in (run.study, stats) if data is not None]
    if latest.exists():
        known.append(_attributes_of(latest, "checkpoint"))
    run.attributes = known[0] if known else {}
    if not known and not metrics and not recipe_path.exists():
        raise FileError(folder, "is no run folder: it has none of recipe.yaml, metrics.jsonl, "
                        "stats.h5, study.h5 and checkpoints", 66)
    run.recipe_text = _read_text(recipe_path) if recipe_path.exists() else \
        run.attributes.get("recipe", "")
    return run


@dataclass
class Suite:
    """The runs of a suite folder, by number of experts, then seed."""
    folder: Path
    runs: list

    def by_experts(self):
        """{number of experts: its runs, one a seed}"""
        groups = {}
        for run in self.runs:
            groups.setdefault(run.experts, []).append(run)
        return groups


def _run_folders(folder):
    named = [(RUN_NAME.match(path.name), path) for path in Path(folder).iterdir() if path.is_dir()]
    numbered = [(int(match[1]), int(match[2]), path) for match, path in named if match]
    return [path for _, _, path in sorted(numbered)]


def is_suite(folder):
    """Whether a folder holds run folders named like e8-s0."""
    return Path(folder).is_dir() and bool(_run_folders(folder))


def open_suite(folder):
    """A suite folder. Runs that have not begun (an empty folder) are passed over."""
    folder = Path(folder)
    if not is_suite(folder):
        raise FileError(folder, "is no suite folder: it has no run folders named like e8-s0", 66)
    begun = [path for path in _run_folders(folder)
             if (path / "metrics.jsonl").exists() or (path / "study.h5").exists()]
    if not begun:
        raise FileError(folder, "none of its runs has begun: there is no metrics.jsonl", 66)
    return Suite(folder, [open_run(path) for path in begun])
