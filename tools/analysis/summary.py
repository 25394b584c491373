"""The numbers at the top of a report, and the table beside its main figure."""
from dataclasses import dataclass

import numpy as np

from drawing import LeftOut, fraction
from figures_study import (SAME, enough_experts, full_quality, kept_curve, quality, random_band,
                           share_of_full)
from figures_suite import curves, final_value, mean_curve, shares_kept, studied
from figures_training import measure_of, most_information, split_of


@dataclass
class Table:
    caption: str
    head: list
    rows: list  # of texts, the first of each the name of the row


@dataclass
class Summary:
    title: str
    lead: str
    tiles: list  # of (value, what it is)
    table: Table | None


def percent(value, digits=2):
    return f"{100 * value:.{digits}f}%" if np.isfinite(value) else "–"


def shown(run, value):
    """A value of the run's measure as text."""
    if value is None or not np.isfinite(value):
        return "–"
    return percent(value) if run.classifies else f"{value:.4g}"


def plural(count, noun):
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def setting(recipe):
    """What was trained, in words, without the number of experts."""
    model, data = recipe.get("model", {}), recipe.get("data", {})
    words = []
    if model.get("layers", 1) > 1:
        words.append(f"{model['layers']} layers")
    if model.get("slots", 1) > 1:
        words.append(f"{model['slots']} slots an expert")
    if model.get("expert_hidden_total"):
        words.append(f"{model['expert_hidden_total']} hidden units over all experts")
    elif model.get("expert_hidden"):
        words.append(f"{model['expert_hidden']} hidden units an expert")
    if "source" in data:
        words.append(f"data: {data['source']}")
    return ", ".join(words)


def progress(run):
    """How far a run is, in words."""
    epochs, steps = run.metrics.get("epoch"), None
    if epochs is not None:
        steps = f"{plural(int(epochs.epoch[-1]), 'epoch')}, {plural(int(epochs.step[-1]), 'step')}"
    elif run.stats is not None and "step" in run.stats:
        steps = plural(int(run.stats.step[-1]), "step")
    end = run.metrics.get("end")
    finished = end is not None and end.reason.values[-1] == "finished"
    ended = "" if finished or not run.metrics else " so far"
    return f"trained for {steps}{ended}" if steps else "training has left no metrics"


def table_of_run(run):
    measure, words = measure_of(run)
    try:
        keeps, line = kept_curve(run.study, measure)
        full = full_quality(run.study, measure)
    except LeftOut:
        return None
    band = random_band(run.study, measure)
    common = f"{measure}_common" in run.study
    same = dict(zip(*kept_curve(run.study, measure, "common"))) if common else {}
    experts, rows = run.study.sizes["expert"], []
    for k, value in zip(keeps, line):
        row = [str(k), fraction(k / experts), shown(run, value)]
        if common:
            row.append(shown(run, same.get(k)))
        if band is not None:
            at = list(band[0]).index(k)
            row += [shown(run, band[1][at]), shown(run, band[2][at])]
        rows.append(row + [percent(share_of_full(float(quality(measure, value)), full), 1)])
    random = ["random", "± sd"] if band is not None else []
    of_all = "of full" if run.classifies else "of explained variance"
    note = "; sd: of drawing the random subsets anew" if band is not None else ""
    split = split_of(run.study).capitalize()
    return Table(f"{split} {words} when each sample keeps K of {experts} experts{note}",
                 ["K", "K/E", "Algorithm 1", *([SAME] * common), *random, of_all], rows)


def enough_tile(enough, experts, of_what):
    needed = "are needed" if enough == experts else "are enough"
    return f"{enough} of {experts}", f"experts a sample {needed} for {of_what}"


def tiles_of_study(run):
    measure, words = measure_of(run)
    study, tiles = run.study, []
    experts = study.sizes["expert"]
    try:
        enough = enough_experts(study, measure)
        kind = words if run.classifies else "explained variance"
        if enough:
            tiles.append(enough_tile(enough, experts, f"99% of the {kind}"))
        keeps, line = kept_curve(study, measure)
    except LeftOut:
        return tiles
    band = random_band(study, measure)
    quarter = max(1, experts // 4)
    if band is not None and quarter in keeps and quarter < experts:
        best, random = line[list(keeps).index(quarter)], band[1][list(band[0]).index(quarter)]
        tiles.append((f"{shown(run, best)}",
                      f"with {plural(quarter, 'expert')} chosen by Algorithm 1; "
                      f"{shown(run, random)} chosen at random"))
    return tiles


def tiles_of_stats(run):
    data = run.study if run.study is not None else run.stats
    if data is None or "mutual_information" not in data:
        return []
    information = float(data.mutual_information[-1].mean())
    return [(f"{information:.2g} nat", "mutual information of class and expert, of at most "
             f"{most_information(data)[0]:.2f}")]


def summary_of_run(run):
    _, words = measure_of(run)
    final = final_value(run)
    tiles = []
    if final is not None:
        tiles.append((shown(run, final[0]), f"{final[1]} {words} with all experts"))
    if run.study is not None:
        tiles += tiles_of_study(run)
    tiles += tiles_of_stats(run)
    lead = f"A Soft MoE with {plural(run.experts, 'expert')} ({setting(run.recipe)}), seed " \
           f"{run.seed}; {progress(run)}."
    return Summary(f"{run.folder.resolve().name}", lead, tiles, table_of_run(run))


# ---- suites ----

def table_of_suite(suite):
    first = suite.runs[0]
    measure, words = measure_of(first)
    try:
        groups = studied(suite)
    except LeftOut:
        groups = {}
    common = any(curves(studies, measure, "common") is not None for studies in groups.values())
    head = ["E", "runs", "hidden units", "parameters", words]
    if groups:
        head += ["K for 99%", "at E/8", "random E/8", "at E/4", "random E/4",
                 *([f"{SAME} E/4"] * common), "at E/2", "random E/2"]
    rows, splits = [], set()
    for experts, runs in suite.by_experts().items():
        found = [value for run in runs if (value := final_value(run)) is not None]
        splits |= {split for _, split in found}
        mean = np.mean([value for value, _ in found]) if found else None
        sizes = [f"{size:,}" if size else "–"
                 for size in (runs[0].hidden_units, runs[0].parameters)]
        row = [str(experts), str(len(runs)), *sizes, shown(first, mean)]
        if groups:
            row += study_cells(groups.get(experts), measure, experts, common)
        rows.append(row)
    note = "; at E/8 to E/2: the share of the full " + \
        (words if first.classifies else "explained variance") + " that is kept" if groups else ""
    title = f"{' and '.join(sorted(splits))} {words}".strip().capitalize()
    return Table(f"{title} by number of experts{note}", head, rows)


def enough_of(studies, measure):
    """The smallest K that keeps 99% of the full quality in the mean over the studies, or None."""
    keeps, line = mean_curve(studies, measure)
    full = np.mean([full_quality(study, measure) for study in studies])
    good = keeps[quality(measure, line) >= 0.99 * full]
    return int(good.min()) if len(good) else None


def study_cells(studies, measure, experts, common):
    if not studies:
        return ["–"] * (7 + common)
    cells = [str(enough_of(studies, measure) or "–")]
    for part in (8, 4, 2):
        for selector in ("combine", "random", *(["common"] * (common and part == 4))):
            shares = shares_kept(studies, measure, experts // part, selector)
            cells.append(percent(np.mean(shares), 1))
    return cells


def tiles_of_suite(suite):
    first = suite.runs[0]
    measure, words = measure_of(first)
    by_experts = {e: [v[0] for run in runs if (v := final_value(run)) is not None]
                  for e, runs in suite.by_experts().items()}
    splits = " and ".join(sorted({v[1] for run in suite.runs if (v := final_value(run))}))
    means = {e: np.mean(values) for e, values in by_experts.items() if values}
    tiles = []
    if means:
        best = (max if first.classifies else min)(means, key=means.get)
        tiles.append((shown(first, means[best]), f"best {splits} {words}: E = {best}"))
        if not first.classifies and 1 in means:
            tiles.append((shown(first, means[1]), f"{splits} {words} with one expert"))
    try:
        groups = studied(suite)
    except LeftOut:
        return tiles
    kind = words if first.classifies else "explained variance"
    # Few experts leave little to choose from.
    for experts in sorted({min((e for e in groups if e >= 8), default=max(groups)), max(groups)}):
        enough = enough_of(groups[experts], measure)
        if enough:
            tiles.append(enough_tile(enough, experts, f"99% of the {kind} at E = {experts}"))
    return tiles


def summary_of_suite(suite):
    experts = list(suite.by_experts())
    seeds = len({run.seed for run in suite.runs})
    lead = f"{plural(len(suite.runs), 'run')} of a Soft MoE: E = {', '.join(map(str, experts))} " \
           f"experts, {plural(seeds, 'seed')} ({setting(suite.runs[0].recipe)})."
    return Summary(suite.folder.resolve().name, lead, tiles_of_suite(suite), table_of_suite(suite))
