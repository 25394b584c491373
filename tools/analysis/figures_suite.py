"""Figures of a suite: runs that differ in the number of experts, and in the seed.

Where there are several seeds, lines are means over them, and bars reach one standard deviation of
the seeds up and down.
"""
import numpy as np

from drawing import (LIGHT, LeftOut, Plot, canvas, count_axis, from_zero, label_lines,
                     limits_around, log_axis, percent_axis, ramp_colour, share_axis)
from figures_study import (COMPARE_SUBSETS, SAME, distances, draw_chance, full_quality, kept_curve,
                           measure_axis, quality, share_of_full)
from figures_training import measure_of, most_information, split_of

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


def curves(studies, measure, selector="combine"):
    """The subset sizes K that all studies measured, and the measure [study,K] there; of random
    subsets, each study's mean. None where a study lacks it."""
    name = "random_mean" if selector == "random" else selector
    if any(f"{measure}_{name}" not in study for study in studies):
        return None
    lines = [dict(zip(*kept_curve(study, measure, name))) for study in studies]
    keeps = sorted(set.intersection(*map(set, lines)))
    return np.array(keeps), np.array([[line[k] for k in keeps] for line in lines])


def mean_curve(studies, measure):
    """The measure of Algorithm 1 against K, the mean over the studies."""
    keeps, lines = curves(studies, measure)
    return keeps, lines.mean(axis=0)


def draw_means(ax, x, lines, **style):
    """A line through the means over the seeds, with bars of one standard deviation where there are
    several; `lines` has at each x the values of its seeds. The means."""
    means = [np.mean(values) for values in lines]
    ax.plot(x, means, **style)
    several = [(at, mean, np.std(values, ddof=1))
               for at, mean, values in zip(x, means, lines) if len(values) > 1]
    if several:
        at, mean, deviation = zip(*several)
        ax.errorbar(at, mean, yerr=deviation, fmt="none", ecolor=style["color"], elinewidth=0.9,
                    capsize=1.5)
    return means


def bars(groups):
    """What the bars are, where there are any."""
    several = any(len(members) > 1 for members in groups.values())
    return " Bars: ±1 sd over the seeds of the suite." if several else ""


def shares_kept(studies, measure, keep, selector="combine"):
    """The share of the full quality that K = keep experts have, in each study; NaN where one has
    not measured it."""
    found = curves(studies, measure, selector)
    if found is None or keep not in found[0]:
        return np.full(len(studies), np.nan)
    part = quality(measure, found[1][:, list(found[0]).index(keep)])
    return np.array([share_of_full(float(value), full_quality(study, measure))
                     for value, study in zip(part, studies)])


def size_in_words(run):
    """What models with different numbers of experts have in common."""
    total = run.recipe.get("model", {}).get("expert_hidden_total")
    return f"E experts of floor({total}/E) hidden units, so of about the same size together" \
        if total else "E experts of the same size each, so of different sizes together"


def splits_of(groups):
    """The split that the studies are of; all of them where they differ."""
    every = {split_of(study) for studies in groups.values() for study in studies}
    return " and ".join(sorted(every))


def accuracy_against_kept(suite):
    groups = studied(suite)
    measure, words = measure_of(suite.runs[0])
    rows = (len(groups) + 2) // 3
    figure, axes = canvas(rows, 3, height=1.05 + 1.5 * rows, left=0.55, gap=0.58, sharex=True,
                          sharey=True)
    axes = np.ravel(axes)
    lowest = min(studies[0].keep.values.min() / experts for experts, studies in groups.items())
    drawn = set()
    for ax in axes[len(groups):]:
        ax.set_visible(False)
    for ax, (experts, studies) in zip(axes, groups.items()):
        for selector, colour, style in (("common", "muted", {"ls": ":", "lw": 1.2}),
                                        ("random", "orange", {"ls": (0, (3, 1.5)), "lw": 1}),
                                        ("combine", "blue", {"marker": "o", "lw": 1.4})):
            found = curves(studies, measure, selector)
            if found is not None:
                drawn.add(selector)
                draw_means(ax, found[0] / experts, found[1].T, color=LIGHT[colour], markersize=2.4,
                           **style)
        share_axis(ax, lowest, most_ticks=4)
        ax.set_title(f"E = {experts}", pad=3)
        ax.tick_params(labelbottom=True, labelsize=8)
    measure_axis(axes[0], suite.runs[0])
    figure.text(0.03, 0.012, "share kept, K/E", color=LIGHT["muted"])
    figure.text(0.99, 0.012, "random", color=LIGHT["orange"], ha="right")
    figure.text(0.86, 0.012, "Algorithm 1", color=LIGHT["blue"], ha="right")
    if "common" in drawn:
        figure.text(0.65, 0.012, SAME, color=LIGHT["muted"], ha="right")
    return Plot(
        "kept", f"{words.capitalize()} against experts kept, for every number of experts",
        f"On the {splits_of(groups)} split. Line: each sample keeps the K experts with its largest "
        "combine weights (Algorithm 1). " + distances("common" in drawn, "random" in drawn)
        + bars(groups),
        f"One line chart over K/E for each of E = {', '.join(map(str, groups))}.", figure)


def all_numbers_of_experts(suite):
    groups, first = studied(suite), suite.runs[0]
    measure, words = measure_of(first)
    better = "above" if first.classifies else "below"
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
        f"Algorithm 1 alone, all numbers of experts in one figure: {size_in_words(first)}."
        + (f" At the same K/E about as many parameters are at work, so a line {better} another one "
           "makes more of them; how much of that is choice, the lines of random subsets tell."
           if first.recipe.get("model", {}).get("expert_hidden_total") else ""),
        "Line chart with one line for each number of experts.", figure)


def share_of_accuracy_kept(suite):
    groups = studied(suite)
    measure, words = measure_of(suite.runs[0])
    figure, (ax,) = canvas(height=3.2, right=0.75)
    ends, drawn, chance = [], [], []
    for part, text, colour in PARTS:
        for selector, style in (("random", {"ls": (0, (4, 2)), "lw": 1.2, "markersize": 2}),
                                ("combine", {})):
            shares = {experts: shares_kept(studies, measure, experts // part, selector)
                      for experts, studies in groups.items() if experts >= part}
            shares = {x: values for x, values in shares.items() if np.isfinite(values).all()}
            if shares:
                y = draw_means(ax, list(shares), shares.values(), color=LIGHT[colour],
                               marker="o", **style)
                (ends if selector == "combine" else chance).append(
                    (max(shares), y[-1], text, LIGHT[colour]))
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
        f"On the {splits_of(groups)} split: Algorithm 1 at half, a quarter and an eighth of the "
        "experts"
        + (", and as many at random (dashed, in the same colour). With more and smaller experts "
           "chance may keep more, too: look at the distance to the dashed line, not at the rise alone."
           if chance else ".") + bars(groups),
        "; ".join([f"{text}: {100 * y:.1f}% at E = {x}" for x, y, text, _ in ends[:-1]]
                  + [f"random {text}: {100 * y:.1f}%" for _, y, text, _ in chance]) + ".", figure)


def distinct_subsets(suite):
    groups = studied(suite)
    points, samples, layers = {}, 0, 1
    for experts, studies in groups.items():
        counts = [study.distinct_subsets_combine.sel(keep=experts // 4).values[-1, 0]
                  for study in studies if "distinct_subsets_combine" in study
                  and experts >= 4 and experts // 4 in study.keep.values]
        if counts:
            points[experts] = counts
            samples = int(studies[0].samples[-1]) if "samples" in studies[0] else 0
            layers = studies[0].sizes["layer"]
    if not points:
        raise LeftOut("no study has distinct_subsets_combine at K = E/4")
    figure, (ax,) = canvas(height=2.8, right=0.95)
    means = draw_means(ax, list(points), points.values(), color=LIGHT["blue"], marker="o")
    ends = [(max(points), means[-1], "Algorithm 1", LIGHT["blue"])]
    if samples:
        chance, most = draw_chance(ax, list(points), [(e, e // 4) for e in points], samples)
        ends += [(max(points), chance[-1], "random", LIGHT["orange"]),
                 (max(points), most[-1], "most", LIGHT["muted"])]
    count_axis(ax, list(points))
    log_axis(ax)
    label_lines(ax, ends)
    layer = f"layer 0 of {layers}, " if layers > 1 else ""
    ax.set_title(f"different subsets over all samples, {layer}K = E/4")
    ax.set_xlabel("experts in the model, E")
    return Plot(
        "distinct", "How many different subsets are used",
        "Algorithm 1 at a quarter of the experts. " + (COMPARE_SUBSETS if samples else "")
        + bars(points),
        "; ".join(f"E = {x}: {y:.0f}" for x, y in zip(points, means)) + ".", figure)


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
    several = any(len(runs) > 1 for runs in suite.by_experts().values())
    reading = f"Each line is a number of experts: {size_in_words(suite.runs[0])}." + (
        " Means over the seeds." if several else "")
    if learns_l2norm(suite):
        reading = ("Learning the L2 norm of the input, the experiment behind Theorem 1. " + reading
                   + " Error relative to the target's variance: 1 is no better than the mean. With "
                   "the experts the slots grow in number, too; one expert with as many slots is the "
                   "control that tells the two apart.")
    return Plot("training", "Learning the L2 norm" if learns_l2norm(suite) else "Training", reading,
                "; ".join(f"E = {experts} ends at {values[-1]:.4g}"
                          for experts, (_, values) in curves.items()) + ".", figure)


def final_accuracy(suite):
    """The final measure of every run."""
    measure, words = measure_of(suite.runs[0])
    points = [(run.experts, *value) for run in suite.runs
              if (value := final_value(run)) is not None]
    splits = " and ".join(sorted({split for _, _, split in points}))
    points = [(experts, value) for experts, value, _ in points]
    if len({experts for experts, _ in points}) < 2:
        raise LeftOut("fewer than two numbers of experts have been evaluated")
    figure, (ax,) = canvas(height=2.7)
    ax.scatter(*zip(*points), color=LIGHT["blue"], s=18, alpha=0.75, lw=0)
    means = {e: np.mean([v for x, v in points if x == e]) for e, _ in points}
    ax.plot(list(means), list(means.values()), color=LIGHT["blue"], lw=1)
    count_axis(ax, list(means))
    measure_axis(ax, suite.runs[0])
    ax.set_title(f"{splits} {words} with all experts")
    ax.set_xlabel("experts in the model, E")
    return Plot("final", f"{words.capitalize()} of the whole models",
                "One point a run; the line goes through the means over the seeds. Models of "
                f"{size_in_words(suite.runs[0])}.",
                "; ".join(f"E = {e}: {v:.4g}" for e, v in means.items()) + ".", figure)


def final_value(run):
    """What the last evaluation measured and on which split, from metrics.jsonl or the study."""
    measure, _ = measure_of(run)
    epochs = run.metrics.get("epoch")
    if epochs is not None and f"test_{measure}" in epochs:
        values = epochs[f"test_{measure}"].values.astype(float)
        if np.isfinite(values).any():
            return float(values[np.isfinite(values)][-1]), "test"
    if run.study is not None and measure in run.study:
        return float(run.study[measure].values[-1]), split_of(run.study)
    return None


def mutual_information(suite):
    points, most, splits = {}, [], set()
    for experts, runs in suite.by_experts().items():
        studies = [run.study for run in runs
                   if run.study is not None and "mutual_information" in run.study]
        if studies and experts > 1:
            points[experts] = [float(study.mutual_information[-1].mean()) for study in studies]
            most.append(most_information(studies[0])[0])
            splits |= set(map(split_of, studies))
    if len(points) < 2:
        raise LeftOut("fewer than two numbers of experts have mutual_information")
    splits = " and ".join(sorted(splits))
    figure, (ax,) = canvas(height=2.7, right=0.75)
    means = draw_means(ax, list(points), points.values(), color=LIGHT["green"], marker="o")
    ax.plot(list(points), most, color=LIGHT["muted"], lw=0.8, ls=":")
    log_axis(ax)
    count_axis(ax, list(points))
    label_lines(ax, [(max(points), most[-1], "most", LIGHT["muted"])])
    ax.set_title("mutual information of class and expert, nat")
    ax.set_xlabel("experts in the model, E")
    return Plot("information", "What an expert's weight tells of the class",
                f"On the {splits} split, mean over layers, on a logarithmic axis. Dotted: the most "
                "there can be, the logarithm of the number of classes or of experts, whichever is "
                "smaller; far below it, an expert's weight tells next to nothing." + bars(points),
                "; ".join(f"E = {x}: {y:.3f} nat" for x, y in zip(points, means)) + ".", figure)


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
