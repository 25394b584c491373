"""What a statistics file says of the routing, from the weights of every sample.

The arrays are those of reference.forward: combine and dispatch [B,T,E,P], outputs [B,E,P,D].
"""
import numpy as np
from quantity import CLOSE, UNSURE_SHARE, Exact, OneOf, Quantity


def shares(inside):
    """[B,E]: the part of a sample's combine weights that falls to each expert; sums to 1."""
    combine = inside["combine"]
    return combine.sum(axis=(1, 3)) / combine.shape[1]


def entropy(weights, axis):
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    return -np.sum(weights * logs, axis=axis)


def ranking(scores):
    """Experts from the largest score [B,E] to the smallest, of equal ones the lower index first;
    and unsure [B,E]: whether rounding can change which are the first K = 1, ..., E of them."""
    order = np.argsort(-scores, axis=1, kind="stable")
    falling = np.take_along_axis(scores, order, axis=1)
    gaps = falling[:, :-1] - falling[:, 1:]
    # Equal to the bit: experts that get exactly nothing, or all the same, on either side.
    unsure = (gaps < CLOSE * np.abs(falling[:, :-1])) & (gaps > 0)
    return order, np.pad(unsure, ((0, 0), (0, 1)))


def firsts(order, count):
    """[B,E], 1 for the first `count` experts of each order [B,E]."""
    kept = np.zeros(order.shape)
    np.put_along_axis(kept, order[:, :count], 1.0, axis=1)
    return kept


def check_unsure(unsure, what, limit=UNSURE_SHARE):
    if unsure.size and unsure.mean() > limit:
        raise SystemExit(f"{what}: {unsure.mean():.1%} are too close to say; choose another case")


def top_share(mass, keeps):
    """[keep,E], and how far rounding can take it."""
    order, unsure = ranking(mass)
    check_unsure(unsure, "places in the ranking by combine mass")
    value = np.stack([firsts(order, k).mean(axis=0) for k in keeps])
    slack = np.stack([unsure[:, k - 1].mean() for k in keeps])[:, None]
    return value, slack


def by_class(rows, target, classes, function):
    """function(rows of one class), stacked over the classes; NaN for one without samples."""
    nothing = np.full_like(function(rows), np.nan)
    return np.stack([function(rows[target == c]) if (target == c).any() else nothing
                     for c in range(classes)])


def information(mass_by_class, class_share):
    """Mutual information of class and expert, by expert [E]; and p(c|e) [C,E]."""
    given = np.nan_to_num(mass_by_class)  # p(e|c)
    joint = class_share[:, None] * given
    marginal = joint.sum(axis=0)
    ratio = np.where(joint > 0, given / marginal, 1.0)
    return np.sum(joint * np.log(ratio), axis=0), joint / marginal


def class_statistics(mass, target, classes):
    """Of one layer."""
    mean = by_class(mass, target, classes, lambda rows: rows.mean(axis=0))
    class_share = np.bincount(target, minlength=classes) / len(target)
    parts, posterior = information(mean, class_share)
    purest = posterior.max(axis=0)
    # Where p(e|c) hardly depends on c, a part is a small difference of terms the size of p(e), whose
    # errors of 1e-7 cancel as they do: what is left is far smaller.
    small = 1e-8
    return {
        "combine_mass_by_class": Quantity(mean),
        "mutual_information": Quantity(parts.sum(), absolute=small),
        "mutual_information_by_expert": Quantity(parts, absolute=small),
        "purity": Quantity(purest),
        "main_class": OneOf((posterior >= purest * (1.0 - CLOSE)).T),
    }


def weight_statistics(inside):
    """Of one layer: what the level `all` adds to the masses."""
    b, t, e, p = inside["combine"].shape
    column = entropy(inside["dispatch"], 1).reshape(b, e * p)
    norms = np.linalg.norm(inside["outputs"], axis=3)
    return {
        "combine_entropy": Quantity(entropy(inside["combine"].reshape(b, t, e * p), 2).mean()),
        "dispatch_entropy": Quantity(column.mean(axis=0)),
        "effective_tokens": Quantity(np.exp(column).mean(axis=0)),
        "output_norm": Quantity(norms.mean(axis=(0, 2))),
    }


def layer_statistics(inside, target, classes, keeps, full):
    mass = shares(inside)
    share, slack = top_share(mass, keeps)
    found = {"combine_mass": Quantity(mass.mean(axis=0)), "top_share": Exact(share, slack)}
    # A share is a count over a count.
    found["top_share"].absolute = 1e-12
    if classes > 0:
        found.update(class_statistics(mass, target, classes))
    if full:
        found.update(weight_statistics(inside))
    return found


def top_share_by_class(inside, target, classes, keeps):
    """Of one layer, [keep,class,E]."""
    order, unsure = ranking(shares(inside))
    value = np.stack([by_class(firsts(order, k), target, classes, lambda rows: rows.mean(axis=0))
                      for k in keeps])
    slack = np.stack([by_class(unsure[:, k - 1], target, classes, lambda rows: rows.sum() /
                               max(len(rows), 1.0)) for k in keeps])
    return Quantity(value, np.nan_to_num(slack)[:, :, None], relative=0.0, absolute=1e-12)


def stack(layers):
    """One dictionary from those of the layers, with the layer as first axis."""
    joined = {}
    for name, first in layers[0].items():
        all_of_it = [layer[name] for layer in layers]
        if isinstance(first, OneOf):
            joined[name] = OneOf(np.stack([one.allowed for one in all_of_it]))
            continue
        slack = np.stack([np.broadcast_to(one.slack, one.value.shape) for one in all_of_it])
        joined[name] = Quantity(np.stack([one.value for one in all_of_it]), slack,
                                first.relative, first.absolute)
    return joined


def column_cosines(phi):
    """phi [D,E,P]: smallest, mean and largest cosine of each slot's column with the others."""
    columns = phi.reshape(len(phi), -1)
    count = columns.shape[1]
    if count == 1:
        return [np.full(1, np.nan)] * 3
    unit = columns / np.linalg.norm(columns, axis=0)
    cosines = unit.T @ unit
    others = cosines[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    return others.min(axis=1), others.mean(axis=1), others.max(axis=1)


def expert_norms(arrays, layer):
    """[E]: the L2 norm of all the parameters, or their gradients, of each expert."""
    prefix = f"moe.{layer}.experts."
    squares = [np.sum(value.reshape(len(value), -1)**2, axis=1)
               for name, value in arrays.items() if name.startswith(prefix)]
    return np.sqrt(sum(squares))


def parameter_statistics(params, layer):
    low, mean, high = column_cosines(params[f"moe.{layer}.phi"])
    # Cosines of orthogonal columns are 0 but for rounding in sums of D products of size 1/D.
    cosine = {"absolute": 1e-6}
    return {"weight_norm": Quantity(expert_norms(params, layer)),
            "router_similarity_min": Quantity(low, **cosine),
            "router_similarity_mean": Quantity(mean, **cosine),
            "router_similarity_max": Quantity(high, **cosine)}
