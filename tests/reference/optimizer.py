"""What a step makes of gradients, in float64: learning rate, clipping, weight decay, optimizer."""
import math

import numpy as np

DECAYING = ("w", "phi", "w1", "w2")  # last part of a name: not biases and scales
UNIT = 2.0**-24  # of float32: half the distance from 1 to the next number


def decay_of(name, options):
    return options["weight_decay"] if name.split(".")[-1] in DECAYING else 0.0


def clip_factor(grads, options):
    norm = math.sqrt(sum(np.sum(grad * grad) for grad in grads))
    return min(options["clip_norm"] / norm, 1.0) if options["clip_norm"] > 0 else 1.0


def rate_at(step, recipe):
    """The learning rate of step 0, 1, ..., in a recipe that gives its length in steps."""
    schedule, rate = recipe["schedule"], recipe["optimizer"]["learning_rate"]
    warmup = schedule["warmup_steps"]
    if step < warmup:
        return rate * (step + 1) / warmup
    if schedule["kind"] == "cosine":
        share, final = (step - warmup) / (recipe["train"]["steps"] - warmup), schedule["final"]
        return rate * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share)))
    if schedule["kind"] == "step":
        return rate * schedule["factor"] ** ((step - warmup) // schedule["every"])
    return rate


def gradient_in(options, decay, weight, before, after):
    """The gradient, clipped, that took the first moment from `before` to `after`."""
    if options["kind"] == "sgd":
        return after - options["momentum"] * before - decay * weight
    decay = 0.0 if options["kind"] == "adamw" else decay
    return (after - options["beta1"] * before) / (1 - options["beta1"]) - decay * weight


def second_moment(options, decay, weight, grad, before):
    decay = 0.0 if options["kind"] == "adamw" else decay
    return options["beta2"] * before + (1 - options["beta2"]) * (grad + decay * weight)**2


def updated(options, decay, step, rate, weight, moments):
    """The weight after step 0, 1, ... from the moments after it, and how far off float32 may be."""
    if options["kind"] == "sgd":
        keep, change = 1.0, rate * moments["m"]
    else:
        keep = 1 - rate * decay if options["kind"] == "adamw" else 1.0
        m = moments["m"] / (1 - options["beta1"]**(step + 1))
        v = moments["v"] / (1 - options["beta2"]**(step + 1))
        change = rate * m / (np.sqrt(v) + options["epsilon"])
    # Each of fewer than eight operations rounds once.
    return keep * weight - change, 8 * UNIT * (np.abs(weight) + np.abs(change))
