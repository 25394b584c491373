"""Figures of a specialization study of one model."""
import math

import numpy as np

from drawing import (LIGHT, LeftOut, Plot, canvas, count_axis, fraction, from_zero, heat_image,
                     heat_key, heat_range, label_lines, limits_around, log_axis, need,
                     percent_axis, share_axis)
from figures_training import by_main_class, measure_of, split_of

SOURCE = "study.h5"
SAME = "same for all"
SELECTORS = {"combine": ("Algorithm 1", "blue"), "common": (SAME, "muted"),
             "dispatch": ("dispatch", "green"), "contribution": ("contribution", "purple"),
             "greedy": ("greedy", "brown"), "exhaustive": ("exhaustive", "ink")}
# Not methods: they know the true answer.
REFERENCES = {"greedy": "Greedy knows the true answer, so it is a reference and not a method; it "
                        "adds one expert at a time and need not end at the best subset. ",
              "exhaustive": "Exhaustive, a reference too, has the lowest loss of all subsets. "}
# What the distance of Algorithm 1 to the other lines says.
AGAINST_RANDOM = "its distance to K experts at random (dashed) says that it matters which are kept"
AGAINST_COMMON = ("its distance to the same K for every sample (dotted: those with the largest "
                  "mean combine weight), that they must be chosen for each sample: that is "
                  "specialization")


def kept_curve(study, measure, selector="combine"):
    """Subset sizes K and the measure when each sample keeps K experts, where it was measured."""
    values, = need(study, SOURCE, f"{measure}_{selector}")
    line = values.values[-1]
    measured = np.isfinite(line)
    return study.keep.values[measured], line[measured]


def random_band(study, measure):
    """Subset sizes, mean and standard deviation over the seeds (NaN with one), or None."""
    name = f"{measure}_random_mean"
    if name not in study or not np.isfinite(study[name]).any():
        return None
    deviation = study.get(f"{measure}_random_sd", study[name] * np.nan)
    mean = study[name].values[-1]
    return study.keep.values, mean, deviation.values[-1]


def quality(measure, values):
    """What is kept or lost: the accuracy, or the share of the variance explained."""
    return values if measure == "accuracy" else 1 - np.asarray(values)


def full_quality(study, measure):
    """With all experts."""
    values, = need(study, SOURCE, measure)
    return float(quality(measure, values.values[-1]))


def share_of_full(part, full):
    """Of a full quality of 0, as of a handful of samples, there are no shares: NaN."""
    return part / full if full else np.nan


def enough_experts(study, measure, share=0.99):
    """The smallest K measured that keeps this share of the full quality."""
    keeps, line = kept_curve(study, measure)
    good = quality(measure, line) >= share * full_quality(study, measure)
    return int(keeps[good].min()) if good.any() else None


def measure_axis(ax, run):
    if run.classifies:
        percent_axis(ax.yaxis)
    else:
        log_axis(ax)


def draw_random(ax, study, measure, scale=1.0):
    """The random band; where it begins, for a label."""
    band = random_band(study, measure)
    if band is None:
        return None
    keeps, mean, deviation = band
    x = keeps / scale
    colour = LIGHT["orange"]
    ax.fill_between(x, mean - deviation, mean + deviation, color=colour, alpha=0.25, lw=0)
    ax.plot(x, mean, color=colour, ls=(0, (4, 2)), lw=1.2)
    return x, mean


def names_on_the_left(figure, ax, starts):
    """Name lines where they start, where they are far apart; the axis goes to the right."""
    ax.yaxis.set_ticks_position("right")
    ax.spines[["left"]].set_visible(False)
    figure.subplots_adjust(left=0.25, right=0.86)
    label_lines(ax, starts, "left")


def distances(with_common, with_random):
    """How to read the distance of Algorithm 1 to the lines that are there."""
    there = "; ".join([AGAINST_RANDOM] * with_random + [AGAINST_COMMON] * with_common)
    return f"{there[0].upper()}{there[1:]}." if there else ""


def accuracy_against_kept(run):
    measure, words = measure_of(run)
    keeps, line = kept_curve(run.study, measure)
    experts = run.study.sizes["expert"]
    full, = need(run.study, SOURCE, measure)
    figure, (ax,) = canvas(height=3.3)
    ax.axhline(full.values[-1], color=LIGHT["grid"])
    common = f"{measure}_common" in run.study
    starts = [(keeps[0] / experts, full.values[-1], "all experts", LIGHT["muted"])]
    if common:
        x, y = kept_curve(run.study, measure, "common")
        ax.plot(x / experts, y, color=LIGHT["muted"], ls=":")
        starts.append((x[0] / experts, y[0], SAME, LIGHT["muted"]))
    random = draw_random(ax, run.study, measure, experts)
    if random is not None:
        starts.append((random[0][0], random[1][0], "random", LIGHT["orange"]))
    ax.plot(keeps / experts, line, color=LIGHT["blue"], marker="o")
    starts.append((keeps[0] / experts, line[0], "Algorithm 1", LIGHT["blue"]))
    share_axis(ax, keeps.min() / experts)
    measure_axis(ax, run)
    names_on_the_left(figure, ax, starts)
    ax.set_title(f"{split_of(run.study)} {words}, K of {experts} kept")
    ax.set_xlabel("share of the experts kept, K/E")
    enough = enough_experts(run.study, measure)
    reached = f"{enough} experts keep 99%." if enough else "No measured subset keeps 99%."
    return Plot(
        "kept", f"{words.capitalize()} against experts kept",
        "Algorithm 1: each sample keeps the K experts with its largest combine weights. "
        + distances(common, random is not None)
        + (" The band is ±1 sd of drawing the random subsets anew for the same model and samples, "
           "and says nothing of other seeds of training." if random is not None else ""),
        f"Line chart over K/E from {fraction(keeps.min() / experts)} to 1. {reached}", figure)


def ways_to_choose(run):
    measure, words = measure_of(run)
    need(run.study, SOURCE, f"{measure}_combine")
    there = [name for name in SELECTORS if f"{measure}_{name}" in run.study]
    if len(there) < 2:
        raise LeftOut("only Algorithm 1 was studied")
    experts = run.study.sizes["expert"]
    figure, (ax,) = canvas(height=3.3, left=1.55, right=0.2)
    starts = []
    for name in there:
        keeps, line = kept_curve(run.study, measure, name)
        text, colour = SELECTORS[name]
        ax.plot(keeps, line, color=LIGHT[colour], marker="o", ls=":" if name == "common" else "-",
                lw=2.2 if name == "combine" else 1.3)
        starts.append((keeps[0], line[0], text, LIGHT[colour]))
    random = draw_random(ax, run.study, measure)
    if random is not None:
        starts.append((random[0][0], random[1][0], "random", LIGHT["orange"]))
    count_axis(ax, run.study.keep.values)
    measure_axis(ax, run)
    names_on_the_left(figure, ax, starts)
    ax.set_title(f"{split_of(run.study)} {words}")
    ax.set_xlabel(f"experts kept, of {experts}")
    return Plot(
        "selectors", "Ways to choose the experts",
        "The same question for every way of choosing. "
        + "".join(note for name, note in REFERENCES.items() if name in there)
        + ("Lowest loss need not be highest accuracy." if run.classifies and "exhaustive" in there
           else ""),
        f"Line chart of {words} against experts kept for " +
        ", ".join(SELECTORS[name][0] for name in there) + ".", figure)


def label_masses(ax, shares, x, y):
    """M beside its point; points that lie together share a label."""
    groups = []
    pixels = ax.transData.transform(np.column_stack([x, y]))
    for i, share in enumerate(shares):
        if groups and np.hypot(*(pixels[i] - pixels[groups[-1][0]])) < 24:
            groups[-1][1].append(share)
        else:
            groups.append((i, [share]))
    for first, together in groups:
        text = "–".join(f"{100 * share:.3g}" for share in sorted({together[0], together[-1]}))
        ax.annotate(f"{text}%", (x[first], y[first]), (0, -12), textcoords="offset points",
                    ha="center", fontsize=8, color=LIGHT["purple"])


def choice_by_mass(run):
    measure, words = measure_of(run)
    by_mass, kept, spread = need(run.study, SOURCE, f"{measure}_mass", "kept_mass_mean",
                                 "kept_mass_sd")
    keeps, line = kept_curve(run.study, measure)
    figure, (ax,) = canvas(height=3.1, right=0.3)
    x, y = kept.values[-1], by_mass.values[-1]
    ax.plot(keeps, line, color=LIGHT["blue"], lw=1.2, ls=(0, (4, 2)))
    ax.errorbar(x, y, xerr=spread.values[-1], color=LIGHT["purple"], marker="o", elinewidth=0.8,
                capsize=2)
    measure_axis(ax, run)
    limits_around(ax, [*y, *line], 0.1)
    label_masses(ax, run.study.mass.values, x, y)
    ax.set_title("dashed: Algorithm 1 with the same K for all")
    ax.set_xlabel("experts kept (mean over samples, ±1 sd)")
    ax.set_ylabel(words)
    return Plot(
        "mass", "As many experts as a sample needs",
        "Each sample keeps the fewest experts that together have the share M of its combine "
        "weight. A point says which M; its bar, how much the number of experts differs from sample "
        f"to sample. {'Above' if run.classifies else 'Below'} the dashed line, a number chosen by "
        "sample is the better choice.",
        f"At M = {run.study.mass.values[-1]:.2g}, {x[-1]:.1f} experts on average.", figure)


def subsets_by_chance(experts, keep, samples):
    """How many different subsets of size K so many samples use when each draws its own at random,
    on average: C (1 - (1 - 1/C)^N) with C = C(E,K); and how many they can use at most."""
    most = min(math.comb(experts, keep), samples)
    if math.comb(experts, keep) < 2:
        return float(most), most
    if math.comb(experts, keep) > 10**300:  # no floating-point number, and no two samples agree
        return float(samples), most
    there = float(math.comb(experts, keep))
    return -there * math.expm1(samples * math.log1p(-1 / there)), most


def draw_chance(ax, x, sizes, samples):
    """Lines of subsets_by_chance for the (E, K) in `sizes`; their numbers."""
    chance, most = zip(*(subsets_by_chance(e, k, samples) for e, k in sizes))
    ax.plot(x, most, color=LIGHT["muted"], lw=0.8, ls=":")
    ax.plot(x, chance, color=LIGHT["orange"], lw=1.2, ls=(0, (4, 2)))
    return chance, most


COMPARE_SUBSETS = ("Compare with the dashed line, what subsets drawn at random would give, and the "
                   "dotted one, the most there can be (all subsets of the size, or one for each "
                   "sample): far below them, samples share subsets; near them, the number tells "
                   "nothing of specialization, for chance would give it too.")


def distinct_subsets(run):
    # The same for all is one subset.
    there = [name for name in SELECTORS if name != "common"
             and run.study is not None and f"distinct_subsets_{name}" in run.study]
    if not there:
        raise LeftOut(f"{SOURCE} has no distinct_subsets" if run.study is not None
                      else f"there is no {SOURCE}")
    figure, (ax,) = canvas(height=3.0, right=1.0)
    ends = []
    for name in there:
        counts = run.study[f"distinct_subsets_{name}"].values[-1]
        text, colour = SELECTORS[name]
        keeps = run.study.keep.values
        for layer, line in enumerate(counts):
            shown = line > 0
            if not shown.any():
                continue
            ax.plot(keeps[shown], line[shown], color=LIGHT[colour], marker="o", alpha=0.5**layer)
            top = int(np.argmax(np.where(shown, line, 0)))
            if layer == 0:
                ends.append((keeps[top], line[top], text, LIGHT[colour]))
    samples, = need(run.study, SOURCE, "samples")
    experts, keeps = run.study.sizes["expert"], run.study.keep.values
    samples = int(samples[-1])
    chance, most = draw_chance(ax, keeps, [(experts, int(k)) for k in keeps], samples)
    top = int(np.argmax(most))
    ends += [(keeps[top], most[top], "most", LIGHT["muted"]),
             (keeps[top], chance[top], "random", LIGHT["orange"])]
    count_axis(ax, keeps)
    log_axis(ax)
    label_lines(ax, ends)
    ax.set_title("different subsets over all samples")
    ax.set_xlabel(f"experts kept, of {experts}")
    return Plot(
        "distinct", "How many different subsets are used",
        COMPARE_SUBSETS
        + (" Paler lines are later layers." if run.study.sizes.get("layer", 1) > 1 else ""),
        f"Line chart of the number of different subsets against experts kept, for {samples} "
        f"samples. At K = {keeps[top]} random subsets would give {chance[top]:.0f}.", figure)


def classes_and_experts(run):
    data = run.study if run.study is not None else run.stats
    source = SOURCE if run.study is not None else "stats.h5"
    by_class, = need(data, source, "combine_mass_by_class")
    last = data.isel(record=-1)
    layers, classes, experts = by_class.shape[1:]
    relative = last.combine_mass_by_class.values * experts
    limits = heat_range(relative)
    figure, axes = canvas(layers, height=1.3 + 1.9 * layers, left=0.45, gap=0.6)
    for layer, ax in enumerate(axes):
        order = by_main_class(last.isel(layer=layer))
        heat_image(ax, relative[layer][:, order], (-0.5, experts - 0.5, classes - 0.5, -0.5),
                   limits)
        if experts <= 32:
            ax.set_xticks(range(experts), order)
            ax.tick_params(axis="x", labelsize=8.5 if experts <= 16 else 6)
        else:
            ax.set_xticks([])
        ax.set_yticks(range(classes) if classes <= 20 else [])
        ax.set_ylabel("class" if layers == 1 else f"class, layer {layer}")
    axes[0].set_title("combine weight by class, 1: an even share")
    axes[-1].set_xlabel("expert, by main class", loc="left")
    heat_key(figure, limits, "times even")
    return Plot(
        "classes", "Which expert is used by which class",
        f"On the {split_of(data)} split. One row a class, one column an expert; the stronger the "
        "blue, the more of the class's combine weight the expert has. Experts are in the order of "
        "their main class, so specialization shows as a diagonal staircase.",
        f"Heat map of {classes} classes by {experts} experts; the strongest cell has "
        f"{np.nanmax(relative):.1f} times an even share.", figure)


def time_per_sample(run):
    seconds, = need(run.study, SOURCE, "timing_seconds_per_sample")
    parts = {"timing_seconds_per_sample": ("whole evaluation", "blue"),
             "timing_experts_seconds_per_sample": ("experts", "green"),
             "timing_exchange_seconds_per_sample": ("exchange", "purple")}
    figure, (ax,) = canvas(height=2.9, right=1.2)
    keeps, ends = run.study.keep.values, []
    for name, (text, colour) in parts.items():
        if name in run.study and np.isfinite(run.study[name]).any():
            line = 1e6 * run.study[name].values[-1]
            ax.plot(keeps, line, color=LIGHT[colour], marker="o")
            ends.append((keeps[-1], line[-1], text, LIGHT[colour]))
    from_zero(ax)
    count_axis(ax, keeps)
    label_lines(ax, ends)
    experts = run.study.sizes["expert"]
    ax.set_title("time per sample, µs")
    ax.set_xlabel(f"experts kept, of {experts}")
    ratio = float(seconds[-1, 0] / seconds[-1, -1])
    return Plot(
        "time", "Time per sample",
        "What `eval --keep K` takes for a sample: kept slots alone are computed and sent. The last "
        "point keeps all experts, without choosing. A measurement on one machine, not a result.",
        f"With {keeps[0]} experts a sample takes {100 * ratio:.0f}% of the time with all.", figure)


def exhaustive_search(run):
    measure, words = measure_of(run)
    rank, = need(run.study, SOURCE, "exhaustive_combine_rank")
    keeps = run.study.keep.values
    figure, axes = canvas(2, height=4.2, right=1.25, sharex=True)
    lines = [(f"{measure}_exhaustive", "lowest loss", "ink"),
             (f"{measure}_combine", "Algorithm 1", "blue")]
    if run.classifies:
        lines.insert(0, ("exhaustive_any_right", "any is right", "green"))
    ends = []
    for name, text, colour in lines:
        if name in run.study:
            values = run.study[name].values[-1]
            axes[0].plot(keeps, values, color=LIGHT[colour], marker="o")
            last = np.flatnonzero(np.isfinite(values))[-1:]
            ends += [(keeps[i], values[i], text, LIGHT[colour]) for i in last]
    measure_axis(axes[0], run)
    label_lines(axes[0], ends)
    axes[0].set_title(words)
    axes[1].plot(keeps, rank.values[-1], color=LIGHT["blue"], marker="o")
    from_zero(axes[1])
    axes[1].set_title("subsets better than Algorithm 1's, mean")
    axes[1].set_xlabel("experts kept")
    return Plot(
        "exhaustive", "Every subset tried",
        "All subsets of each size were tried for each sample. Above: the one with the lowest loss, "
        "beside Algorithm 1's choice" +
        (", and the share of samples that some subset predicts right" if run.classifies else "") +
        ". Below: how many subsets have a lower loss than Algorithm 1's.",
        f"Mean rank of Algorithm 1's subset by K: {np.round(rank.values[-1], 1).tolist()}.", figure)


PLOTS = (ways_to_choose, classes_and_experts, distinct_subsets, choice_by_mass, time_per_sample,
         exhaustive_search)
