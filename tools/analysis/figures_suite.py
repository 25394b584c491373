"""Figures of a suite: runs that differ in the number of experts, and in the seed.

Where there are several seeds, lines are means over them.
"""
import numpy as np

from drawing import (LIGHT, LeftOut, Plot, canvas, count_axis, from_zero, label_lines,
                     limits_around, log_axis, percent_axis, ramp_colour, share_axis)
from figures_study import (full_quality, kept_curve, measure_axis, quality, random_band,
                           share_of_full)
from figures_training import measure_of

PARTS = ((2, "E/2", "green"), (4, "E/4", "blue"), (8, "E/8", "purple"))


def studied(suite):
    """{experts: its studies}, where Algorithm 1 was studied with more than one expert."""
    measure, _ = measure_of(suite.runs[0])
    groups = {}
    for experts, runs in suite.by_experts().items():
        studies = [run.study for run in runs
                   if run.study is not None and f"{measure}_combine" in run.study
                   and measure in run.study]
        if studies and experts > 1:
            groups[experts] = studies
    if not groups:
        raise LeftOut("no run has a study.h5 with Algorithm 1")
    return groups


def mean_curve(studies, measure):
    """The measure against K, the mean over studies of the K that all of them measured."""
    curves = [dict(zip(*kept_curve(study, measure))) for study in studies]
    keeps = sorted(set.intersection(*map(set, curves)))
    return np.array(keeps), np.array([np.mean([curve[k] for curve in curves]) for k in keeps])


def mean_band(studies, measure):
    """As random_band; variances are averaged over the studies."""
    bands = [random_band(study, measure) for study in studies]
    if any(band is None or not np.array_equal(band[0], bands[0][0]) for band in bands):
        return bands[0]
    _, means, deviations = zip(*bands)
    return bands[0][0], np.mean(means, axis=0), np.sqrt(np.mean(np.square(deviations), axis=0))


def value_at(studies, measure, keep):
    """The mean quality at K = keep, or NaN where it was not measured."""
    keeps, line = mean_curve(studies, measure)
    at = np.flatnonzero(keeps == keep)
    return float(quality(measure, line[at[0]])) if len(at) else np.nan


def full_of(studies, measure):
    return float(np.mean([full_quality(study, measure) for study in studies]))


def accuracy_against_kept(suite):
    groups = studied(suite)
    measure, words = measure_of(suite.runs[0])
    rows = (len(groups) + 2) // 3
    figure, axes = canvas(rows, 3, height=1.05 + 1.5 * rows, left=0.55, gap=0.58, sharex=True,
                          sharey=True)
    axes = np.ravel(axes)
    lowest = min(studies[0].keep.values.min() / experts for experts, studies in groups.items())
    for ax in axes[len(groups):]:
        ax.set_visible(False)
    for ax, (experts, studies) in zip(axes, groups.items()):
        keeps, line = mean_curve(studies, measure)
        band = mean_band(studies, measure)
        if band is not None:
            x, mean, deviation = band[0] / experts, band[1], band[2]
            ax.fill_between(x, mean - deviation, mean + deviation, color=LIGHT["orange"], alpha=0.3,
                            lw=0)
            ax.plot(x, mean, color=LIGHT["orange"], ls=(0, (3, 1.5)), lw=1)
        ax.plot(keeps / experts, line, color=LIGHT["blue"], marker="o", markersize=2.4, lw=1.4)
        share_axis(ax, lowest, most_ticks=4)
        ax.set_title(f"E = {experts}", pad=3)
        ax.tick_params(labelbottom=True, labelsize=8)
    measure_axis(axes[0], suite.runs[0])
    figure.text(0.55 / 4.4, 0.012, "share of the experts kept, K/E", color=LIGHT["muted"])
    figure.text(0.99, 0.012, "random", color=LIGHT["orange"], ha="right")
    figure.text(0.86, 0.012, "Algorithm 1", color=LIGHT["blue"], ha="right")
    return Plot(
        "kept", f"{words.capitalize()} against experts kept, for every number of experts",
        "Line: each sample keeps the K experts with its largest combine weights (Algorithm 1). "
        "Dashed, with a band of ±1 sd: K experts at random. If many small experts specialize "
        "more than few large ones, the line leaves the band further behind as E grows.",
        f"One line chart over K/E for each of E = {', '.join(map(str, groups))}.", figure)


def all_numbers_of_experts(suite):
    groups = studied(suite)
    measure, words = measure_of(suite.runs[0])
    figure, (ax,) = canvas(height=3.3, left=1.2, right=0.2)
    starts, lowest = [], 1
    for i, (experts, studies) in enumerate(groups.items()):
        keeps, line = mean_curve(studies, measure)
        colour = ramp_colour(i, len(groups))
        ax.plot(keeps / experts, line, color=colour, marker="o", markersize=2.8)
        starts.append((keeps[0] / experts, line[0], f"E = {experts}", colour))
        lowest = min(lowest, keeps[0] / experts)
    share_axis(ax, lowest)
    measure_axis(ax, suite.runs[0])
    ax.yaxis.set_ticks_position("right")
    ax.spines[["left"]].set_visible(False)
    figure.subplots_adjust(left=0.2, right=0.86)
    label_lines(ax, starts, "left")
    ax.set_title(f"{words}, Algorithm 1")
    ax.set_xlabel("share of the experts kept, K/E")
    return Plot(
        "kept-together", "The same share of the experts, many small or few large",
        "Algorithm 1 alone, all numbers of experts in one figure. At the same K/E the same number "
        "of parameters is at work, so a line above another one makes more of them.",
        "Line chart with one line for each number of experts.", figure)


def share_of_accuracy_kept(suite):
    groups = studied(suite)
    measure, words = measure_of(suite.runs[0])
    figure, (ax,) = canvas(height=3.0, right=0.75)
    ends, drawn = [], []
    for part, text, colour in PARTS:
        points = [(experts, share_of_full(value_at(studies, measure, experts // part),
                                          full_of(studies, measure)))
                  for experts, studies in groups.items() if experts >= part]
        points = [(x, y) for x, y in points if np.isfinite(y)]
        if points:
            x, y = zip(*points)
            ax.plot(x, y, color=LIGHT[colour], marker="o")
            ends.append((x[-1], y[-1], text, LIGHT[colour]))
            drawn += y
    if not ends:
        raise LeftOut("no study has K = E/2, E/4 or E/8")
    ax.axhline(0.99, color=LIGHT["muted"], lw=0.8, ls=":")
    ends.append((max(groups), 0.99, "99%", LIGHT["muted"]))
    count_axis(ax, list(groups))
    percent_axis(ax.yaxis)
    limits_around(ax, np.maximum([*drawn, 0.99, 1.0], 0))
    label_lines(ax, ends)
    good = "accuracy" if measure == "accuracy" else "explained variance"
    ax.set_title(f"share of the full {good} kept")
    ax.set_xlabel("experts in the model, E")
    return Plot(
        "share-kept", f"How much of the {good} a part of the experts keeps",
        "Algorithm 1 at half, a quarter and an eighth of the experts. Rising lines say that more "
        "experts, at the same number of parameters, specialize more.",
        "; ".join(f"{text}: {100 * y:.1f}% at E = {x}" for x, y, text, _ in ends[:-1]) + ".",
        figure)


def distinct_subsets(suite):
    groups = studied(suite)
    points, samples = [], 0
    for experts, studies in groups.items():
        counts = [study.distinct_subsets_combine.sel(keep=experts // 4).values[-1, 0]
                  for study in studies if "distinct_subsets_combine" in study
                  and experts >= 4 and experts // 4 in study.keep.values]
        if counts:
            points.append((experts, np.mean(counts)))
            samples = int(studies[0].samples[-1]) if "samples" in studies[0] else 0
    if not points:
        raise LeftOut("no study has distinct_subsets_combine at K = E/4")
    figure, (ax,) = canvas(height=2.8, right=0.75)
    ax.plot(*zip(*points), color=LIGHT["blue"], marker="o")
    ends = []
    if samples:
        ax.axhline(samples, color=LIGHT["muted"], lw=0.8, ls=":")
        ends.append((points[-1][0], samples, "samples", LIGHT["muted"]))
    count_axis(ax, [x for x, _ in points])
    log_axis(ax)
    label_lines(ax, ends)
    ax.set_title("different subsets over all samples, K = E/4")
    ax.set_xlabel("experts in the model, E")
    return Plot(
        "distinct", "How many different subsets are used",
        "Algorithm 1 at a quarter of the experts. Few subsets would mean that the same experts do "
        "for all samples; the dotted line would be a subset of its own for every sample.",
        "; ".join(f"E = {x}: {y:.0f}" for x, y in points) + ".", figure)


def _curve_over_training(runs, measure):
    """Steps and the mean over the seeds of the test measure, at steps that all of them have."""
    curves = []
    for run in runs:
        epochs = run.metrics.get("epoch")
        if epochs is not None and f"test_{measure}" in epochs:
            values = epochs[f"test_{measure}"].values.astype(float)
            curves.append({s: v for s, v in zip(epochs.step.values, values) if np.isfinite(v)})
    if not curves:
        return None
    steps = sorted(set.intersection(*map(set, curves)))
    return (steps, [np.mean([curve[s] for curve in curves]) for s in steps]) if steps else None


def learns_l2norm(suite):
    """Whether it is the experiment of Theorem 1, whose main figure is the loss curves."""
    return suite.runs[0].recipe.get("data", {}).get("source") == "l2norm"


def training_curves(suite):
    measure, words = measure_of(suite.runs[0])
    curves = {experts: _curve_over_training(runs, measure)
              for experts, runs in suite.by_experts().items()}
    curves = {experts: curve for experts, curve in curves.items() if curve is not None}
    if not curves:
        raise LeftOut("no metrics.jsonl has an evaluation")
    figure, (ax,) = canvas(height=3.2, right=0.85)
    ends = []
    for i, (experts, (steps, values)) in enumerate(curves.items()):
        colour = ramp_colour(i, len(curves))
        ax.plot(steps, values, color=colour, marker="o" if len(steps) < 2 else None)
        ends.append((steps[-1], values[-1], f"E = {experts}", colour))
    measure_axis(ax, suite.runs[0])
    if measure == "accuracy":
        every = np.concatenate([values for _, values in curves.values()])
        limits_around(ax, np.clip(every, np.median(every) - 0.1, 1))
    label_lines(ax, ends)
    ax.set_title(f"test {words}")
    ax.set_xlabel("step")
    reading = "Each line is a number of experts, at the same number of parameters."
    if learns_l2norm(suite):
        reading = ("The experiment behind Theorem 1: a Soft MoE with one expert, however large, "
                   "cannot learn the L2 norm of its input, so its error stays high; with more "
                   "experts of the same total size it falls. Error relative to the target's "
                   "variance: 1 is no better than the mean.")
    return Plot("training", "Learning the L2 norm" if learns_l2norm(suite) else "Training", reading,
                "; ".join(f"E = {experts} ends at {values[-1]:.4g}"
                          for experts, (_, values) in curves.items()) + ".", figure)


def final_accuracy(suite):
    """The final measure of every run."""
    measure, words = measure_of(suite.runs[0])
    points = [(run.experts, value) for run in suite.runs if (value := final_value(run)) is not None]
    if len({experts for experts, _ in points}) < 2:
        raise LeftOut("fewer than two numbers of experts have been evaluated")
    figure, (ax,) = canvas(height=2.7)
    ax.scatter(*zip(*points), color=LIGHT["blue"], s=18, alpha=0.75, lw=0)
    means = {e: np.mean([v for x, v in points if x == e]) for e, _ in points}
    ax.plot(list(means), list(means.values()), color=LIGHT["blue"], lw=1)
    count_axis(ax, list(means))
    measure_axis(ax, suite.runs[0])
    ax.set_title(f"test {words} with all experts")
    ax.set_xlabel("experts in the model, E")
    return Plot("final", f"{words.capitalize()} of the whole models",
                "One point a run; the line goes through the means over the seeds.",
                "; ".join(f"E = {e}: {v:.4g}" for e, v in means.items()) + ".", figure)


def final_value(run):
    """What the last evaluation measured, from metrics.jsonl or the study."""
    measure, _ = measure_of(run)
    epochs = run.metrics.get("epoch")
    if epochs is not None and f"test_{measure}" in epochs:
        values = epochs[f"test_{measure}"].values.astype(float)
        if np.isfinite(values).any():
            return float(values[np.isfinite(values)][-1])
    if run.study is not None and measure in run.study:
        return float(run.study[measure].values[-1])
    return None


def mutual_information(suite):
    points = []
    for experts, runs in suite.by_experts().items():
        values = [float(run.study.mutual_information[-1].mean()) for run in runs
                  if run.study is not None and "mutual_information" in run.study]
        if values and experts > 1:
            points.append((experts, np.mean(values)))
    if len(points) < 2:
        raise LeftOut("fewer than two numbers of experts have mutual_information")
    figure, (ax,) = canvas(height=2.7)
    ax.plot(*zip(*points), color=LIGHT["green"], marker="o")
    from_zero(ax)
    count_axis(ax, [x for x, _ in points])
    ax.set_title("mutual information of class and expert, nat")
    ax.set_xlabel("experts in the model, E")
    return Plot("information", "What an expert's weight tells of the class",
                "0: nothing; the logarithm of the number of classes: everything. Mean over layers.",
                "; ".join(f"E = {x}: {y:.3f} nat" for x, y in points) + ".", figure)


def _time_ratio(study, keep):
    """Time per sample at K = keep, as a share of that with all experts; NaN: not measured."""
    seconds = dict(zip(study.keep.values, study.timing_seconds_per_sample.values[-1]))
    return seconds.get(keep, np.nan) / seconds[max(seconds)]


def time_saved(suite):
    groups = {e: [s for s in studies if "timing_seconds_per_sample" in s]
              for e, studies in studied(suite).items()}
    figure, (ax,) = canvas(height=2.8, right=0.75)
    ends = []
    for part, text, colour in PARTS:
        ratios = {experts: [_time_ratio(study, experts // part) for study in studies]
                  for experts, studies in groups.items() if studies and experts >= part}
        points = [(experts, np.mean(values)) for experts, values in ratios.items()
                  if np.isfinite(values).all()]
        if points:
            ax.plot(*zip(*points), color=LIGHT[colour], marker="o")
            ends.append((*points[-1], text, LIGHT[colour]))
    if not ends:
        raise LeftOut("no study has timing_seconds_per_sample")
    ax.axhline(1, color=LIGHT["muted"], lw=0.8, ls=":")
    from_zero(ax)
    count_axis(ax, list(groups))
    percent_axis(ax.yaxis)
    label_lines(ax, ends)
    ax.set_title("time per sample, share of the time with all experts")
    ax.set_xlabel("experts in the model, E")
    return Plot("time", "Time saved",
                "What `eval` with a part of the experts takes for a sample, end to end. A "
                "measurement on one machine, not a result.",
                "; ".join(f"{text}: {100 * y:.0f}% at E = {x}" for x, y, text, _ in ends) + ".",
                figure)


PLOTS = (share_of_accuracy_kept, all_numbers_of_experts, distinct_subsets, training_curves,
         final_accuracy, mutual_information, time_saved)
