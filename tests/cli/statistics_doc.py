"""statistics_doc.py PAGE CASE...: docs/statistics.md is what files hold, and its examples run.

Each CASE is a folder with stats.h5 and study.h5, and its name lists, between dots, what is special about it: classes or values,
masses, deep, samples, untimed.
"""
import contextlib
import io
import os
import re
import sys
from pathlib import Path

import h5py

SELECTORS = ("combine", "dispatch", "contribution", "greedy", "exhaustive")

# Where the variables of a section's table stand: in which file, and of what kind of case.
SECTIONS = {
    "Always": ({"stats", "study"}, None),
    "In classification": ({"stats", "study"}, "classes"),
    "In regression": ({"stats", "study"}, "values"),
    "Of the last step before the record": ({"stats"}, "all"),
    "Time, while training": ({"stats"}, None),
    "Against the number of experts kept": ({"study"}, None),
    "The same in classification": ({"study"}, "classes"),
    "The same in regression": ({"study"}, "values"),
    "Time against the number of experts kept": ({"study"}, "timed"),
    "By sample, with --samples": ({"study"}, "samples"),
}
NOT_MASSES = "not with `stats.level: masses`"
NOT_DEEP = "not in a model of several layers"
ONLY_CLASSES = "in classification only"


def tables(page):
    """The rows of every table, as lists of cells, by the heading above it."""
    found, heading = {}, None
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        elif line.startswith("|") and not line.startswith("|---"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(heading, []).append(cells)
    return {heading: rows[1:] for heading, rows in found.items()}


def unit_of(cell, traits):
    """`nat (regression: 1)` depends on the case."""
    usual, _, regression = cell.rstrip(")").partition(" (regression: ")
    return regression if regression and "values" in traits else usual


def wanted_of(rows_by_section, kind, traits):
    """{name: (axes, unit)} that a file of this kind should hold, by the page."""
    wanted = {}
    for section, (kinds, trait) in SECTIONS.items():
        if kind not in kinds or (trait is not None and trait not in traits):
            continue
        for name, axes, unit, meaning in rows_by_section[section]:
            if NOT_MASSES in meaning and kind == "stats" and "masses" in traits:
                continue
            if NOT_DEEP in meaning and "deep" in traits:
                continue
            if ONLY_CLASSES in meaning and "classes" not in traits:
                continue
            name = name.strip("`")
            deep = "deep" in traits
            selectors = SELECTORS[:2] if deep else SELECTORS
            names = [name.replace("<selector>", one) for one in selectors] if "<" in name else [name]
            wanted.update({one: ([axis.strip() for axis in axes.split(",")], unit_of(unit, traits))
                           for one in names})
    return wanted


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def variables_of(file):
    """{name: (axes, unit)}; and {name: type} of the dimensions."""
    found, dimensions = {}, {}

    def take(name, node):
        if not isinstance(node, h5py.Dataset):
            return
        if h5py.h5ds.is_scale(node.id):
            dimensions[name] = node.dtype.name
            return
        assert node.attrs["long_name"], f"{name} has no long_name"
        assert node.dtype.name in ("float64", "int64") or name == "expert_mass", f"{name}: {node.dtype}"
        axes = [axis[0].name.lstrip("/") for axis in node.dims]
        found[name] = (axes, text(node.attrs["units"]))

    file.visititems(take)
    return found, dimensions


def differences(found, wanted, what):
    lines = [f"{what}: {name} is not on the page" for name in sorted(found.keys() - wanted.keys())]
    lines += [f"{what}: {name} is on the page, and not in the file" for name in sorted(wanted.keys() - found.keys())]
    return lines + [f"{what}: {name}: {found[name]}, and on the page {wanted[name]}"
                    for name in sorted(found.keys() & wanted.keys()) if found[name] != wanted[name]]


def attribute_names(rows):
    return {name.strip("` ") for row in rows for name in row[0].split(",")}


def check_file(path, rows_by_section, traits):
    kind, what = path.stem, f"{path.parent.name}/{path.name}"
    with h5py.File(path, "r") as file:
        found, dimensions = variables_of(file)
        attributes = {name for name in file.attrs if not name.startswith("_")}
    lines = differences(found, wanted_of(rows_by_section, kind, traits), what)
    listed = {row[0].strip("`"): row[1] for row in rows_by_section["Dimensions"]}
    used = {axis for axes, _ in found.values() for axis in axes}
    lines += [f"{what}: dimension {name}: {kind}, and on the page {listed.get(name)}"
              for name, kind in dimensions.items() if listed.get(name) != kind]
    lines += [f"{what}: dimension {name} is missing" for name in used - dimensions.keys()]
    known = attribute_names(rows_by_section["Attributes"])
    lines += [f"{what}: attribute {name} is not on the page" for name in attributes - known]
    absent = {"slurm_job_id"} | ({"selectors"} if kind == "stats" else set())
    lines += [f"{what}: attribute {name} is missing" for name in known - attributes - absent]
    return lines, dimensions.keys(), found.keys()


def run_examples(page, folder):
    """In the order of the page, in one namespace."""
    names = {}
    os.chdir(folder)
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, "docs/statistics.md", "exec"), names)
        assert said.getvalue().strip(), f"says nothing: {code}"


def main():
    page = Path(sys.argv[1]).read_text()
    folders = [Path(name).resolve() for name in sys.argv[2:]]
    rows_by_section = tables(page)
    lines, seen_dimensions, seen = [], set(), set()
    for folder in folders:
        traits = set(folder.name.split("."))
        traits |= {"all"} - ({"all"} if "masses" in traits else set())
        traits |= {"timed"} - ({"timed"} if "untimed" in traits else set())
        for name in ("stats.h5", "study.h5"):
            said, dimensions, variables = check_file(folder / name, rows_by_section, traits)
            lines += said
            seen_dimensions |= dimensions
            seen |= variables
    listed = {row[0].strip("`") for row in rows_by_section["Dimensions"]}
    lines += [f"dimension {name} is on the page, and in no file" for name in listed - seen_dimensions]
    unknown = rows_by_section.keys() - SECTIONS.keys() - {"Dimensions", "Attributes", "In a study alone"}
    lines += [f"the section '{name}' has a table that this test does not know" for name in unknown]
    print("\n".join(lines) or f"{len(seen)} variables are documented")
    run_examples(page, next(folder for folder in folders if "classes" in folder.name and "samples" in folder.name))
    return 1 if lines else 0


sys.exit(main())
