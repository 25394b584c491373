#!/usr/bin/env python3
"""An independent reference of the model `patch` in NumPy and float64: logits, loss, all gradients.

It knows the model's equations and shares no code with the program; weights, options and batch come
from the caller (compare.py takes them from a checkpoint). Every layer is a function that returns
its output and its backward pass, each one einsum over the whole batch.

    reference.py --self-test     compare the backward pass with finite differences, for every option

Letters: B samples, T tokens, D token width, E experts, P slots per expert, S = E P, H hidden width,
C outputs.
"""
import functools
import itertools
import math
import sys

import numpy as np

INPUTS_EPSILON = 1e-12  # v / max(|v|, epsilon)
LOGITS_EPSILON = 1e-6  # v / sqrt(v.v + epsilon)


def l2_normalize(v, axis, mode):
    """Unit vectors along `axis`; the zero vector becomes 0 with gradient 0."""
    square = np.sum(v * v, axis=axis, keepdims=True)
    if mode == "logits":
        length, constant = np.sqrt(square + LOGITS_EPSILON), np.zeros_like(square, dtype=bool)
    else:
        length = np.maximum(np.sqrt(square), INPUTS_EPSILON)
        constant = np.sqrt(square) <= INPUTS_EPSILON
    unit = v / length

    def backward(g):
        along = np.where(constant, 0.0, np.sum(g * unit, axis=axis, keepdims=True))
        return np.where(square == 0.0, 0.0, (g - unit * along) / length)

    return unit, backward


def softmax(x, axis):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    p = e / np.sum(e, axis=axis, keepdims=True)
    return p, lambda g: p * (g - np.sum(g * p, axis=axis, keepdims=True))


def activation(x, kind):
    if kind == "relu":
        return np.maximum(x, 0.0), lambda g: g * (x > 0.0)
    cdf = 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return x * cdf, lambda g: g * (cdf + x * density)


def mixing_weights(logits, axis, uniform):
    if uniform:
        return np.full_like(logits, 1.0 / logits.shape[axis]), lambda g: np.zeros_like(g)
    return softmax(logits, axis)


def experts(slots, params, name, kind):
    """slots [B,E,P,D] -> [B,E,P,D], each expert with its own two-layer network."""
    w1, w2 = params[name + "w1"], params[name + "w2"]
    zero = np.zeros(())
    b1, b2 = params.get(name + "b1"), params.get(name + "b2")
    pre = np.einsum("bepd,edh->beph", slots, w1) + (zero if b1 is None else b1[:, None, :])
    hidden, activation_backward = activation(pre, kind)
    out = np.einsum("beph,ehd->bepd", hidden, w2) + (zero if b2 is None else b2[:, None, :])

    def backward(dout, grads):
        dpre = activation_backward(np.einsum("bepd,ehd->beph", dout, w2))
        grads[name + "w2"] = np.einsum("beph,bepd->ehd", hidden, dout)
        grads[name + "w1"] = np.einsum("bepd,beph->edh", slots, dpre)
        if b1 is not None:
            grads[name + "b1"] = dpre.sum(axis=(0, 2))
            grads[name + "b2"] = dout.sum(axis=(0, 2))
        return np.einsum("beph,edh->bepd", dpre, w1)

    return out, backward


def soft_moe(x, params, name, options, choose=None):
    """x [B,T,D] -> y [B,T,D] (Puigcerver et al. 2023, section 2); its backward pass; and what is
    inside: combine and dispatch [B,T,E,P], the slots' outputs [B,E,P,D].

    choose(inside) -> [B,E], 1 for an expert that the sample keeps; the others' outputs count as 0.
    There is a backward pass only without it."""
    phi = params[name + "phi"]
    d, e, p = phi.shape
    b, t, _ = x.shape
    mode = options["normalize"]
    if mode == "none":
        x_hat, x_backward = x, lambda g: g
        phi_hat, phi_backward = phi.reshape(d, e * p), lambda g: g
        scale = 1.0
    else:
        x_hat, x_backward = l2_normalize(x, 2, mode)
        phi_hat, phi_backward = l2_normalize(phi.reshape(d, e * p), 0, mode)
        scale = params[name + "scale"][0]
    mixed = x_hat if mode == "inputs" else x
    cosines = np.einsum("btd,ds->bts", x_hat, phi_hat)
    dispatch, dispatch_backward = mixing_weights(scale * cosines, 1, options["uniform_dispatch"])
    combine, combine_backward = mixing_weights(scale * cosines, 2, options["uniform_combine"])
    slots = np.einsum("bts,btd->bsd", dispatch, mixed)
    out, experts_backward = experts(slots.reshape(b, e, p, d), params, name + "experts.",
                                    options["activation"])
    inside = {"combine": combine.reshape(b, t, e, p), "dispatch": dispatch.reshape(b, t, e, p),
              "outputs": out}
    if choose is not None:
        out = out * choose(inside)[:, :, None, None]
    out = out.reshape(b, e * p, d)
    y = np.einsum("bts,bsd->btd", combine, out)

    def backward(dy, grads):
        dout = np.einsum("bts,btd->bsd", combine, dy)
        dslots = experts_backward(dout.reshape(b, e, p, d), grads).reshape(b, e * p, d)
        dlogits = (combine_backward(np.einsum("btd,bsd->bts", dy, out)) +
                   dispatch_backward(np.einsum("bsd,btd->bts", dslots, mixed)))
        dmixed = np.einsum("bts,bsd->btd", dispatch, dslots)
        dx_hat = scale * np.einsum("bts,ds->btd", dlogits, phi_hat)
        dphi_hat = scale * np.einsum("btd,bts->ds", x_hat, dlogits)
        grads[name + "phi"] = phi_backward(dphi_hat).reshape(d, e, p)
        if mode != "none":
            grads[name + "scale"] = np.array([np.sum(dlogits * cosines)])
        if mode == "inputs":
            return x_backward(dx_hat + dmixed)
        return x_backward(dx_hat) + dmixed

    return y, backward, inside


def linear(x, params, name):
    """x [...,I] -> [...,O]; the bias where there is one."""
    w, bias = params[name + "w"], params.get(name + "b")
    y = x @ w if bias is None else x @ w + bias

    def backward(dy, grads):
        flat_x, flat_dy = x.reshape(-1, w.shape[0]), dy.reshape(-1, w.shape[1])
        grads[name + "w"] = np.einsum("ni,no->io", flat_x, flat_dy)
        if bias is not None:
            grads[name + "b"] = flat_dy.sum(axis=0)
        return dy @ w.T

    return y, backward


def pool(x, kind):
    """x [B,T,D] -> [B,TD], the tokens one after the other, or [B,D], their mean."""
    b, t, d = x.shape
    if kind == "flatten":
        return x.reshape(b, t * d), lambda g: g.reshape(b, t, d)
    return x.mean(axis=1), lambda g: np.repeat(g[:, None, :] / t, t, axis=1)


def losses_of(logits, target, kind, smoothing):
    """Of each sample [B], and their gradients [B,C] with respect to the logits [B,C]."""
    b, c = logits.shape
    if kind == "mean_squared_error":
        difference = logits[:, 0] - target
        return difference**2, 2.0 * difference[:, None]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    wanted = np.full((b, c), smoothing / c)
    wanted[np.arange(b), target] += 1.0 - smoothing
    return -np.sum(wanted * log_p, axis=1), np.exp(log_p) - wanted


def loss_of(logits, target, kind, smoothing):
    """Mean over the samples, and its gradient with respect to the logits [B,C]."""
    losses, gradients = losses_of(logits, target, kind, smoothing)
    return losses.mean(), gradients / len(losses)


def patches_of(images, height, width):
    """images [B,C,Y,X] -> [B,T,D]: patches in row-major order, each as channel, row, column."""
    b, c, y, x = images.shape
    rows, columns = y // height, x // width
    grid = images.reshape(b, c, rows, height, columns, width).transpose(0, 2, 4, 1, 3, 5)
    return grid.reshape(b, rows * columns, c * height * width)


def forward(params, options, tokens, choose=None):
    """tokens [B,T,D] -> logits [B,C]; what is inside each layer (soft_moe), its input x [B,T,D]
    among it; and the backward pass from the logits' gradient to that of every parameter.

    choose(layer, inside) -> [B,E]: the experts kept, as in soft_moe."""
    backwards, insides = [], []
    x = tokens
    if "embed.w" in params:
        x, embed_backward = linear(x, params, "embed.")
    for layer in range(options["layers"]):
        choose_here = None if choose is None else functools.partial(choose, layer)
        y, backward_here, inside = soft_moe(x, params, f"moe.{layer}.", options, choose_here)
        backwards.append(backward_here)
        insides.append({**inside, "x": x})
        x = x + y if options["residual"] else y
    pooled, pool_backward = pool(x, options["pool"])
    logits, head_backward = linear(pooled, params, "head.")

    def backward(dlogits):
        grads = {}
        dx = pool_backward(head_backward(dlogits, grads))
        for backward_here in reversed(backwards):
            through = backward_here(dx, grads)
            dx = dx + through if options["residual"] else through
        if "embed.w" in params:
            embed_backward(dx, grads)
        return grads

    return logits, insides, backward


def evaluate(params, options, tokens, target):
    """tokens [B,T,D] -> logits [B,C], loss, and the gradient of the loss for every parameter."""
    logits, _, backward = forward(params, options, tokens)
    loss, dlogits = loss_of(logits, target, options["loss"], options["label_smoothing"])
    return logits, loss, backward(dlogits)


# What follows checks this program against itself.

def random_params(rng, sizes, options, biases):
    t, d_in, d, e, p, h, c = sizes
    shapes = {"embed.w": (d_in, d), "head.w": ((t if options["pool"] == "flatten" else 1) * d, c)}
    if biases:
        shapes.update({"embed.b": (d,), "head.b": (c,)})
    for layer in range(options["layers"]):
        name = f"moe.{layer}."
        shapes.update({name + "phi": (d, e, p), name + "experts.w1": (e, d, h),
                       name + "experts.w2": (e, h, d)})
        if options["normalize"] != "none":
            shapes[name + "scale"] = (1,)
        if biases:
            shapes.update({name + "experts.b1": (e, h), name + "experts.b2": (e, d)})
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def directional_error(rng, params, options, tokens, target):
    """The largest relative error, over the parameters, of the slope along one random direction."""
    step = 1e-5  # central differences: truncation near step^2, rounding near 1e-16 / step
    grads = evaluate(params, options, tokens, target)[2]
    if sorted(grads) != sorted(params):
        raise SystemExit(f"gradients for {sorted(grads)}, parameters {sorted(params)}")
    # Some gradients are zero but for rounding (tokens all alike leave no dispatch to learn).
    floor = 1e-3 * max(np.linalg.norm(g) for g in grads.values())
    worst = 0.0
    for name, value in params.items():
        direction = rng.standard_normal(value.shape)
        ahead, behind = ({**params, name: value + sign * direction} for sign in (step, -step))
        numeric = (evaluate(ahead, options, tokens, target)[1] -
                   evaluate(behind, options, tokens, target)[1]) / (2.0 * step)
        exact = np.sum(grads[name] * direction)
        norm = max(np.linalg.norm(grads[name]), floor) * np.linalg.norm(direction)
        worst = max(worst, abs(numeric - exact) / norm)
    return worst


def self_test():
    rng = np.random.default_rng(7)
    t, d_in, d, e, p, h = 3, 6, 5, 3, 2, 4
    losses = ("cross_entropy", "mean_squared_error")
    choices = itertools.product(("none", "logits", "inputs"), ("relu", "gelu"), ("flatten", "mean"),
                                losses, (False, True), (False, True))
    worst, count = 0.0, 0
    for normalize, act, pooling, loss, flag, biases in choices:
        for uniform in ((False, False), (True, False), (False, True)):
            options = {"normalize": normalize, "activation": act, "pool": pooling, "loss": loss,
                       "label_smoothing": 0.1 if flag else 0.0, "residual": flag, "layers": 2,
                       "uniform_dispatch": uniform[0], "uniform_combine": uniform[1]}
            regression = loss == "mean_squared_error"
            c = 1 if regression else 4
            params = random_params(rng, (t, d_in, d, e, p, h, c), options, biases)
            tokens = rng.standard_normal((4, t, d_in))
            target = rng.standard_normal(4) if regression else rng.integers(0, c, 4)
            worst = max(worst, directional_error(rng, params, options, tokens, target))
            count += 1
    # A ReLU that changes sides within the step would show as a large error; the seed above has
    # none.
    if not worst < 1e-6:
        raise SystemExit(f"reference.py: gradients off finite differences by {worst:.2e}")
    print(f"reference.py: {count} combinations of options, largest relative error {worst:.1e}")


if __name__ == "__main__":
    if sys.argv[1:] != ["--self-test"]:
        raise SystemExit(__doc__)
    self_test()
