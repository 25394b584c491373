"""Figures of a training run, from metrics.jsonl and the training statistics (stats.h5)."""
import numpy as np

from drawing import (LIGHT, LeftOut, Plot, canvas, from_zero, heat_image, heat_key, heat_range,
                     label_lines, log_axis, need, percent_axis, plain_axis, ramp_colour)

SPLITS = {"train": "blue", "test": "orange", "validation": "green"}


def _series(metrics, event, name):
    """Steps and values where there are any, else None."""
    data = metrics.get(event)
    if data is None or name not in data or not np.isfinite(data[name].astype(float)).any():
        return None
    return data.step.values, data[name].values.astype(float)


def _curves(ax, metrics, measure, log):
    """One line a split, named at its end."""
    ends = []
    for split, colour in SPLITS.items():
        series = _series(metrics, "epoch", f"{split}_{measure}")
        if series is not None:
            marker = "o" if len(series[0]) < 2 else None
            ax.plot(*series, color=LIGHT[colour], marker=marker)
            ends.append((series[0][-1], series[1][-1], split, LIGHT[colour]))
    if log:
        log_axis(ax)
    label_lines(ax, ends)


def measure_of(run):
    """Name of what the evaluation measures, and as words."""
    return ("accuracy", "accuracy") if run.classifies else ("relative_error", "relative error")


def split_of(data):
    """The split that a statistics file is of, in words."""
    return {"train": "training"}.get(split := data.attrs.get("split", "test"), split)


def most_information(data):
    """What mutual information of class and expert can be at most, in nat, and as words."""
    classes, experts = data.sizes.get("class", 1), data.sizes["expert"]
    fewer = f"{classes} classes" if classes <= experts else f"{experts} experts"
    return np.log(min(classes, experts)), f"the logarithm of {fewer}"


def training_curves(run):
    metrics = run.metrics
    if _series(metrics, "epoch", "test_loss") is None and _series(metrics, "step", "loss") is None:
        raise LeftOut("metrics.jsonl has no losses yet" if metrics else "there is no metrics.jsonl")
    measure, words = measure_of(run)
    figure, axes = canvas(3, height=5.2, right=0.85, sharex=True)
    steps = _series(metrics, "step", "loss")
    if steps is not None:
        axes[0].plot(*steps, color=LIGHT["blue"], alpha=0.3, lw=0.8)
    _curves(axes[0], metrics, "loss", log=True)
    axes[0].set_title("loss (thin: single steps)" if steps is not None else "loss")
    if run.classifies:
        percent_axis(axes[1].yaxis)
    _curves(axes[1], metrics, measure, log=not run.classifies)
    axes[1].set_title(words)
    rate = _series(metrics, "step", "learning_rate") or _series(metrics, "epoch", "learning_rate")
    if rate is not None:
        axes[2].plot(*rate, color=LIGHT["purple"])
    from_zero(axes[2])
    plain_axis(axes[2].yaxis)
    axes[2].set_title("learning rate")
    axes[2].set_xlabel("step")
    return Plot(
        "training", "Training",
        f"Loss, {words} and learning rate against optimizer steps. A test line that leaves the "
        "training line behind shows overfitting; both still falling, that training ended early.",
        f"Line charts of loss, {words} and learning rate against steps.", figure)


def specialization(run):
    """Mutual information of class and expert over training."""
    information, purity = need(run.stats, "stats.h5", "mutual_information", "purity")
    most, words = most_information(run.stats)
    steps, layers = run.stats.step.values, information.sizes["layer"]
    figure, axes = canvas(2, height=3.8, right=0.75, sharex=True)
    for ax, values in zip(axes, (information, purity.mean("expert"))):
        ends = []
        for layer in range(layers):
            colour = ramp_colour(layer, layers)
            line = values.isel(layer=layer).values
            ax.plot(steps, line, color=colour, marker="o")
            ends.append((steps[-1], line[-1], f"layer {layer}", colour))
        from_zero(ax)
        if layers > 1:
            label_lines(ax, ends)
    axes[0].set_title("mutual information of class and expert, nat")
    axes[1].set_title("mean purity of the experts")
    axes[1].set_xlabel("step")
    percent_axis(axes[1].yaxis)
    return Plot(
        "specialization", "How specialization grows",
        f"On the {split_of(run.stats)} split: how much an expert's weight tells of the class (0: "
        f"nothing; {most:.2f} nat, {words}: the most there can be), and the mean share of an "
        "expert's weight that goes to its main class.",
        f"Mutual information goes from {information.values[0].mean():.3f} to "
        f"{information.values[-1].mean():.3f} nat over training.", figure)


def by_main_class(data):
    """Order of a layer's experts: by main class, within it the purest first; else by mass."""
    if "main_class" in data and "purity" in data:
        return np.lexsort((-data.purity.values, data.main_class.values))
    return np.argsort(-data.combine_mass.values, kind="stable")


def expert_timeline(run):
    mass, = need(run.stats, "stats.h5", "combine_mass")
    if mass.sizes["record"] < 2:
        raise LeftOut("stats.h5 has a single record")
    layers, experts = mass.sizes["layer"], mass.sizes["expert"]
    relative = mass.values * experts
    limits = heat_range(relative)
    figure, axes = canvas(layers, height=1.4 + 1.7 * layers, right=0.15, sharex=True, left=0.5)
    for layer, ax in enumerate(axes):
        order = by_main_class(run.stats.isel(record=-1, layer=layer))
        heat_image(ax, relative[:, layer, order].T, (0.5, len(mass) + 0.5, experts, 0), limits)
        ax.set_ylabel("expert" if layers == 1 else f"expert, layer {layer}")
        ax.set_yticks([])
    axes[0].set_title("combine weight of each expert, 1: an even share")
    axes[-1].set_xlabel("evaluation", loc="left")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    heat_key(figure, limits, "times even")
    return Plot(
        "timeline", "The experts over training",
        "One row an expert, one column an evaluation; the stronger the blue, the more "
        "of the combine weight the expert has. Rows are in the order of the experts' main classes "
        "at the end.",
        f"Heat map of the weight of {experts} experts over {len(mass)} evaluations. At the end the "
        f"largest has {relative[-1].max():.2f} times an even share.", figure)


def drift(run):
    mass, = need(run.stats, "stats.h5", "combine_mass")
    if mass.sizes["record"] < 2:
        raise LeftOut("stats.h5 has a single record")
    steps, layers = run.stats.step.values[1:], mass.sizes["layer"]
    moved = {"over all samples": np.abs(np.diff(mass.values, axis=0)).sum(-1) / 2}
    if "combine_mass_by_class" in run.stats:
        by_class = np.abs(np.diff(run.stats.combine_mass_by_class.values, axis=0)).sum(-1) / 2
        moved["within a class, mean"] = np.nanmean(by_class, axis=-1)
    figure, axes = canvas(len(moved), height=2.0 + 1.5 * (len(moved) - 1), right=0.75, sharex=True)
    for ax, (words, values) in zip(axes, moved.items()):
        ends = []
        for layer in range(layers):
            colour = ramp_colour(layer, layers)
            ax.plot(steps, values[:, layer], color=colour, marker="o")
            ends.append((steps[-1], values[-1, layer], f"layer {layer}", colour))
        from_zero(ax)
        ax.set_title(words)
        percent_axis(ax.yaxis)
        if layers > 1:
            label_lines(ax, ends)
    axes[-1].set_xlabel("step")
    return Plot(
        "drift", "How much the experts still change",
        "Share of the combine weight that moved from one expert to another since the evaluation "
        "before. Near 0 the experts have settled.",
        f"In the last interval {100 * moved['over all samples'][-1].mean():.2g}% of the weight "
        "moved.", figure)


def router_similarity(run):
    names = [f"router_similarity_{kind}" for kind in ("min", "mean", "max")]
    if run.stats is not None and "slot" in run.stats.sizes and run.stats.sizes["slot"] < 2:
        raise LeftOut("the router has a single slot")
    values = need(run.stats, "stats.h5", *names)
    colours = ("green", "blue", "orange")
    figure, axes = canvas(2, height=4.2, right=0.75, gap=0.75)
    ends = []
    for data, kind, colour in zip(values, ("min", "mean", "max"), colours):
        flat = data.values.reshape(data.sizes["record"], -1)
        steps, middle = run.stats.step.values, np.nanmedian(flat, axis=1)
        low, high = np.nanquantile(flat, [0.05, 0.95], axis=1)
        axes[0].fill_between(steps, low, high, color=LIGHT[colour], alpha=0.2, lw=0)
        axes[0].plot(steps, middle, color=LIGHT[colour])
        ends.append((steps[-1], middle[-1], kind, LIGHT[colour]))
        last = flat[-1][np.isfinite(flat[-1])]
        axes[1].hist(last, bins=24, range=(-1, 1), color=LIGHT[colour], alpha=0.55)
    label_lines(axes[0], ends)
    axes[0].set_title("over training: median of the slots, 5% to 95%")
    axes[0].set_xlabel("step")
    axes[1].set_title("number of slots at the end, colours as above")
    axes[1].set_xlabel("cosine")
    axes[1].set_xticks([-1, -0.5, 0, 0.5, 1])
    return Plot(
        "router-similarity", "How alike the slots' router columns are",
        "For every slot, the cosine of its column of the router with the columns of the others: "
        "the smallest, the mean and the largest. A largest near 1 means two slots that look for the "
        "same thing.",
        f"At the end the median of the largest cosine is {ends[-1][1]:.2f}.", figure)


def norms_of_experts(run):
    names = {"weight_norm": "parameters", "output_norm": "slot outputs",
             "gradient_norm": "gradient", "update_norm": "update"}
    if run.stats is None:
        raise LeftOut("there is no stats.h5")
    there = {name: words for name, words in names.items()
             if name in run.stats and np.isfinite(run.stats[name]).any()}
    if not there:
        raise LeftOut("stats.h5 has no norms (stats.level is masses)")
    steps = run.stats.step.values
    figure, axes = canvas(2, 2, height=4.0, left=0.55, column_gap=0.65, sharex=True)
    for ax in axes.ravel()[len(there):]:
        ax.set_visible(False)
    for ax, (name, words) in zip(axes.ravel(), there.items()):
        flat = run.stats[name].values.reshape(len(steps), -1)
        low, middle, high = np.nanquantile(flat, [0, 0.5, 1], axis=1)
        ax.fill_between(steps, low, high, color=LIGHT["blue"], alpha=0.2, lw=0)
        ax.plot(steps, middle, color=LIGHT["blue"], marker="o")
        from_zero(ax)
        ax.set_title(words)
        plain_axis(ax.yaxis)
        plain_axis(ax.xaxis, 4)
    for ax in axes[-1]:
        ax.set_xlabel("step")
    return Plot(
        "norms", "Norms of the experts",
        "L2 norm, expert by expert: the line is the median expert, the band reaches from the "
        "smallest to the largest. Gradient and update are those of the last step before an "
        "evaluation.",
        "Line charts of " + ", ".join(there.values()) + " norms over training.", figure)


def routing_sharpness(run):
    entropy, effective = need(run.stats, "stats.h5", "combine_entropy", "effective_tokens")
    steps, slots = run.stats.step.values, run.stats.sizes["slot"]
    layers = entropy.sizes["layer"]
    figure, axes = canvas(2, height=3.8, right=0.75, sharex=True)
    for ax, values in zip(axes, (np.exp(entropy), effective.mean("slot"))):
        ends = []
        for layer in range(layers):
            colour = ramp_colour(layer, layers)
            line = values.isel(layer=layer).values
            ax.plot(steps, line, color=colour, marker="o")
            ends.append((steps[-1], line[-1], f"layer {layer}", colour))
        from_zero(ax)
        if layers > 1:
            label_lines(ax, ends)
    axes[0].set_title(f"slots that a token's output comes from, of {slots}")
    axes[1].set_title("tokens that a slot's input comes from")
    axes[1].set_xlabel("step")
    return Plot(
        "sharpness", "How sharp the routing is",
        "Effective numbers, the exponential of an entropy: 1 is a hard choice, the upper end an "
        "even mix. Above, the exponential of the mean entropy; below, the mean of the exponential; "
        f"means over the {split_of(run.stats)} samples.",
        f"At the end a token's output comes from {float(np.exp(entropy[-1]).mean()):.1f} of {slots} "
        "slots.", figure)


PLOTS = (training_curves, specialization, expert_timeline, drift, routing_sharpness,
         router_similarity, norms_of_experts)
