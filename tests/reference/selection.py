"""Loss and accuracy on part of the experts, from the weights of every sample.

Of a model's last layer, each expert adds its part to the outputs: by the equations, not by running
the model again. `check_effects` holds that against the model run with masks.
"""
import itertools
import math

import numpy as np
from inputs import philox
from quantity import CLOSE, UNSURE_SHARE, Exact, Quantity
from reference import forward, losses_of, pool
from routing import check_unsure, firsts, ranking, shares

SELECTION = 6  # the purpose of the random numbers that choose experts


class Sample:
    """All samples of a split: what the experts of the last layer add, targets, and scoring."""

    def __init__(self, params, options, inside, target):
        self.options, self.target = options, target
        b, e, _, d = inside["outputs"].shape
        mixed = np.einsum("btep,bepd->betd", inside["combine"], inside["outputs"])
        pooled, _ = pool(mixed.reshape(b * e, -1, d), options["pool"])
        self.effects = (pooled @ params["head.w"]).reshape(b, e, -1)
        self.base = np.zeros_like(self.effects[:, 0]) + params.get("head.b", 0.0)
        if options["residual"]:
            self.base = self.base + pool(inside["x"], options["pool"])[0] @ params["head.w"]
        # float32 sums are off by a part of their largest term or of what they come to.
        complete = self.base + self.effects.sum(axis=1)
        terms = np.concatenate([self.base[:, None], self.effects, complete[:, None]], axis=1)
        self.error = CLOSE * np.abs(terms).max(axis=(1, 2))

    def along(self, order):
        """Outputs [B,K,C] with the first K = 1, ..., E experts of an order [B,E]."""
        steps = np.take_along_axis(self.effects, order[:, :, None], axis=1)
        return self.base[:, None] + np.cumsum(steps, axis=1)

    def with_subsets(self, subsets):
        """Outputs [B,M,C] with each of the subsets [M,E]."""
        return self.base[:, None] + np.einsum("me,bec->bmc", subsets, self.effects)

    def losses(self, outputs):
        """[B,K] of outputs [B,K,C]."""
        b, k, c = outputs.shape
        losses = losses_of(outputs.reshape(b * k, c), np.repeat(self.target, k),
                           self.options["loss"], self.options["label_smoothing"])[0]
        return losses.reshape(b, k)

    def loss_errors(self, losses):
        """How far rounding can take each of them [B,K]."""
        if self.options["loss"] == "mean_squared_error":
            return 2.0 * np.sqrt(losses) * self.error[:, None] + self.error[:, None]**2
        # An error of the logits moves the loss by twice 1 - p, which is below the loss, at most.
        return 2.0 * np.minimum(losses, 1.0) * self.error[:, None]

    def verdicts(self, outputs):
        """Of outputs [B,K,C]: whether the label's is the largest, and whether rounding decides."""
        label = self.target[:, None, None]
        own = np.take_along_axis(outputs, label, axis=2)[:, :, 0]
        others = np.array(outputs)
        np.put_along_axis(others, label, -np.inf, axis=2)
        lead = own - others.max(axis=2)
        right = outputs.argmax(axis=2) == self.target[:, None]
        return right, np.abs(lead) < self.error[:, None]

    def classifies(self):
        return self.options["loss"] == "cross_entropy"


def curve(samples, selector, outputs, unsure, limit=UNSURE_SHARE):
    """accuracy (or relative error) and loss against K, from outputs [B,K,C] and from whether a
    sample's subset is `unsure` [B,K]; of those, any loss between its smallest and largest will
    do."""
    losses = samples.losses(outputs)
    loss = losses.mean(axis=0)
    check_unsure(unsure, f"subsets by {selector}", limit)
    spread = np.ptp(samples.losses(np.concatenate([samples.base[:, None], outputs], axis=1)), axis=1)
    slack = (unsure * spread[:, None]).mean(axis=0)
    # A tenth of the worst case of single samples: errors have either sign.
    rounding = 0.1 * samples.loss_errors(losses).mean(axis=0)
    found = {f"loss_{selector}": Quantity(loss, slack + rounding)}
    if samples.classifies():
        right, close = samples.verdicts(outputs)
        check_unsure(close, f"predictions by {selector}")
        found[f"accuracy_{selector}"] = Quantity(right.mean(axis=0), (close | unsure).mean(axis=0),
                                                 relative=0.0, absolute=1e-12)
    else:
        variance = np.var(samples.target)
        found[f"relative_error_{selector}"] = Quantity(loss / variance,
                                                       (slack + rounding) / variance)
    return found


def distinct(order, keeps):
    """How many different sets the first K of the samples' orders are."""
    return np.array([len(np.unique(firsts(order, k), axis=0)) for k in keeps])


# ---- orders ----

def dispatch_scores(inside):
    return (inside["dispatch"]**2).sum(axis=(1, 3))


def contribution_scores(inside):
    column = np.linalg.norm(inside["combine"], axis=1)
    return (column * np.linalg.norm(inside["outputs"], axis=3)).sum(axis=2)


SCORES = {"combine": shares, "dispatch": dispatch_scores, "contribution": contribution_scores}


def random_order(seed, layer, count, experts):
    """[count,E]: shuffled from the front, place by place, with one random word each."""
    order = np.tile(np.arange(experts), (count, 1))
    rows = np.arange(count)
    for place in range(experts - 1):
        counter = (np.full(count, place // 4), rows, np.full(count, layer),
                   np.full(count, SELECTION << 24))
        word = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))[place % 4]
        left = np.uint64(experts - place)
        chosen = place + ((word * left) >> np.uint64(32)).astype(int)
        order[rows, place], order[rows, chosen] = order[rows, chosen], order[rows, place]
    return order


def greedy_order(samples):
    """Adds, again and again, the expert that makes the loss lowest; and unsure [B,E], for good once
    two experts came close."""
    b, e, _ = samples.effects.shape
    order, unsure = np.zeros((b, e), int), np.zeros((b, e), bool)
    rows, outputs, used = np.arange(b), samples.base.copy(), np.zeros((b, e), bool)
    for k in range(e):
        losses = samples.losses(outputs[:, None] + samples.effects)
        losses[used] = np.inf
        best = losses.argmin(axis=1)
        others = losses.copy()
        others[rows, best] = np.inf
        gap = others.min(axis=1) - losses[rows, best]
        error = samples.loss_errors(losses[rows, best][:, None])[:, 0]
        unsure[:, k] = (gap < 2.0 * error) & (gap > 0)
        order[:, k] = best
        used[rows, best] = True
        outputs = outputs + samples.effects[rows, best]
    unsure = np.logical_or.accumulate(unsure, axis=1)
    unsure[:, -1] = False
    return order, unsure


# ---- selectors ----

def by_orders(samples, inside, names, keeps):
    """The deterministic orders of a model of one layer."""
    found, places = {}, np.asarray(keeps) - 1
    for name in names:
        order, unsure = (greedy_order(samples) if name == "greedy" else
                         ranking(SCORES[name](inside)))
        outputs = samples.along(order)[:, places]
        # Each step of greedy chooses between losses that grow alike, and all steps before count.
        limit = 0.4 if name == "greedy" else UNSURE_SHARE
        found.update(curve(samples, name, outputs, unsure[:, places], limit))
        found[f"distinct_subsets_{name}"] = Exact(distinct(order, keeps)[None],
                                                  unsure[:, places].sum(axis=0))
    return found


def over_seeds(curves):
    """One dictionary from those of the seeds, with means and deviations."""
    found = {}
    for name in curves[0]:
        value = np.stack([one[name].value for one in curves])
        slack = np.stack([np.broadcast_to(one[name].slack, one[name].value.shape)
                          for one in curves])
        first = curves[0][name]
        found[name] = Quantity(value, slack, first.relative, first.absolute)
        allowed = found[name].tolerance().max(axis=0)
        deviation = (value.std(axis=0, ddof=1) if len(curves) > 1 else
                     np.full(value.shape[1:], np.nan))
        found[f"{name}_mean"] = Quantity(value.mean(axis=0), allowed)
        # A deviation moves by no more than the values do, times sqrt(n / (n - 1)).
        found[f"{name}_sd"] = Quantity(deviation, math.sqrt(2.0) * allowed)
    return found


def common_orders(insides):
    """By layer, and alike for all samples: the order [1,E] of the mean over them, and unsure [1,E]."""
    return [ranking(shares(inside).mean(axis=0, keepdims=True)) for inside in insides]


def by_common(samples, inside, keeps):
    count, places = len(samples.effects), np.asarray(keeps) - 1
    order, unsure = (np.repeat(rows, count, axis=0) for rows in common_orders([inside])[0])
    return curve(samples, "common", samples.along(order)[:, places], unsure[:, places])


def by_random(samples, seeds, keeps):
    b, e, _ = samples.effects.shape
    places = np.asarray(keeps) - 1
    sure = np.zeros((b, len(places)), bool)
    return over_seeds([curve(samples, "random",
                             samples.along(random_order(seed, 0, b, e))[:, places], sure)
                       for seed in seeds])


def reaching(mass, share):
    """The fewest experts, in the order of their mass [B,E], that reach a share: kept [B,E], and
    unsure [B]."""
    order, unsure = ranking(mass)
    reached = np.cumsum(np.take_along_axis(mass, order, axis=1), axis=1)
    # A sum that is the share but for rounding has reached it.
    places = np.minimum((reached < share - CLOSE).sum(axis=1), mass.shape[1] - 1)
    kept = np.zeros(mass.shape)
    np.put_along_axis(kept, order, (np.arange(mass.shape[1]) <= places[:, None]) * 1.0, axis=1)
    near = (np.abs(reached[:, :-1] - share) < CLOSE).any(axis=1)  # all experts are always enough
    return kept, near | unsure[np.arange(len(mass)), places]


def kept_quantities(kept, doubts):
    """Mean and deviation of the experts kept [M,B], where each of `doubts` [B,M] may be one off."""
    share = doubts.mean(axis=0)
    return {"kept_mass_mean": Quantity(kept.mean(axis=1), share),
            "kept_mass_sd": Quantity(kept.std(axis=1), np.sqrt(share), absolute=1e-6)}


def by_mass(samples, inside, masses):
    choices = [reaching(shares(inside), share) for share in masses]
    subsets = np.stack([kept for kept, _ in choices], axis=1)
    doubts = np.stack([unsure for _, unsure in choices], axis=1)
    outputs = samples.base[:, None] + np.einsum("bme,bec->bmc", subsets, samples.effects)
    return {**curve(samples, "mass", outputs, doubts),
            **kept_quantities(subsets.sum(axis=2).T, doubts)}


def of_one_size(samples, subsets, chosen, unsure):
    """The exhaustive figures of one K: subsets [M,E], Algorithm 1's [B,E] and where it is unsure.
    Each as a number and its slack; the best subset, the outputs with it, and where they are
    unsure."""
    outputs = samples.with_subsets(subsets)
    losses = samples.losses(outputs)
    errors = samples.loss_errors(losses)
    best = losses.argmin(axis=1)
    rows = np.arange(len(losses))
    near = losses - losses[rows, best][:, None] < errors
    mine = losses[(subsets[None] == chosen[:, None]).all(axis=2)]
    gap = losses - mine[:, None]
    close = (np.abs(gap) < errors).sum(axis=1) - 1
    found = {"exhaustive_combine_rank":
             ((gap < 0).sum(axis=1).mean(), (close + unsure * len(subsets)).mean())}
    tied = near.sum(axis=1) > 1
    found["distinct_subsets_exhaustive"] = (len(np.unique(best)), tied.sum())
    if samples.classifies():
        right, doubt = samples.verdicts(outputs)
        sure = (right & ~doubt).any(axis=1)
        found["exhaustive_any_right"] = (right.any(axis=1).mean(),
                                         (~sure & doubt.any(axis=1)).mean())
        # Subsets as good as the best matter only where some predict right and some wrong.
        mixed = (near & right).any(axis=1) & (near & ~right).any(axis=1)
        tied = tied & (mixed | (near & doubt).any(axis=1))
    return found, outputs[rows, best], tied


def by_exhaustive(samples, inside, keeps, limit):
    """NaN and 0 where there are more subsets than the limit."""
    experts = samples.effects.shape[1]
    order, unsure = ranking(shares(inside))
    rows, searched, outputs, ties = {}, [], [], []
    missing = {"exhaustive_combine_rank": (math.nan, 0.0), "distinct_subsets_exhaustive": (0, 0)}
    if samples.classifies():
        missing["exhaustive_any_right"] = (math.nan, 0.0)
    for k in keeps:
        count = math.comb(experts, k)
        searched.append(count if count <= limit else 0)
        if count <= limit:
            subsets = np.zeros((count, experts))
            for row, members in enumerate(itertools.combinations(range(experts), k)):
                subsets[row, list(members)] = 1.0
            numbers, best, tied = of_one_size(samples, subsets, firsts(order, k), unsure[:, k - 1])
        else:
            numbers, tied = missing, np.zeros(len(order), bool)
            best = np.full_like(samples.base, math.nan)
        outputs.append(best)
        ties.append(tied)
        for name, number in numbers.items():
            rows.setdefault(name, []).append(number)
    with np.errstate(invalid="ignore"):
        found = curve(samples, "exhaustive", np.stack(outputs, axis=1), np.stack(ties, axis=1))
    for name, numbers in rows.items():
        value, slack = np.array(numbers).T
        found[name] = Quantity(value, slack)
    by_layer = found["distinct_subsets_exhaustive"]
    by_layer.value = by_layer.value[None]
    for name in ("accuracy_exhaustive", "loss_exhaustive", "relative_error_exhaustive"):
        if name in found:
            found[name].value[np.array(searched) == 0] = math.nan
            found[name].slack = np.nan_to_num(found[name].slack)
    found["exhaustive_subsets"] = Exact(searched)
    return found


def check_effects(samples, params, options, tokens, inside, keep):
    """The reference against itself: outputs from the effects, and from the model with masks."""
    order, _ = ranking(shares(inside))
    kept = firsts(order, keep)
    masked = forward(params, options, tokens, lambda layer, inside: kept)[0]
    error = np.abs(masked - samples.along(order)[:, keep - 1]).max()
    if not error < 1e-9 * max(1.0, np.abs(masked).max()):
        raise SystemExit(f"the reference's effects and its masks differ by {error:.1e}")
