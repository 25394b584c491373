#!/usr/bin/env python3
"""Compare the program's logits, loss, gradients and updates with the reference.

    compare.py glyphs     several combinations of options, on glyphs and on l2norm
    compare.py mnist      the recipe mnist.yaml, on MNIST in the folder that COTERIE_MNIST names

`train --steps 0` writes the weights, each step more its moments and what they make of the weights.
From two checkpoints' first moments follows the gradient. The environment names the program
(COTERIE) and the source folder (COTERIE_SOURCE).
"""
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from inputs import model_options, read_batch, read_checkpoint
from optimizer import clip_factor, decay_of, gradient_in, rate_at, second_moment, updated
from program import Program
from reference import evaluate, patches_of

# float32 against float64: sums of up to 256 * 196 products, each off by 6e-8 or less, most of it
# averaging out.
GRADIENT_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 1e-5
LOSS_TOLERANCE = 1e-5

STEPS = 2
# With a beta1 close to 1 the second step's gradient would be a small difference of large moments.
COMMON = [
    "seed=3", "train.shuffle=false", "train.batch=60", "train.steps=5", "optimizer.beta1=0.5"]

CASES = {
    "the paper's layer": [
        "model.experts=16", "model.expert_hidden_total=128", "optimizer.kind=adam",
        "optimizer.weight_decay=1e-4", "optimizer.clip_norm=0.1", "schedule.warmup_steps=3"],
    "logits, two layers, everything with a bias": [
        "router.normalize=logits", "model.activation=gelu", "model.experts=5", "model.slots=3",
        "model.expert_hidden=9", "model.patch_height=7", "model.embed=12", "model.embed_bias=true",
        "model.layers=2", "model.residual=true", "model.expert_bias=true", "model.pool=mean",
        "model.head_bias=true", "loss.label_smoothing=0.1", "optimizer.kind=adamw",
        "optimizer.weight_decay=0.1", "schedule.kind=cosine", "schedule.final=0.1"],
    "none, gelu, two slots": [
        "router.normalize=none", "router.init=lecun_normal", "model.activation=gelu",
        "model.experts=6", "model.slots=2", "model.expert_hidden=8", "model.expert_bias=true",
        "optimizer.kind=sgd", "optimizer.momentum=0.9", "optimizer.weight_decay=0.01",
        "optimizer.clip_norm=0.1", "schedule.kind=step", "schedule.every=1",
        "parallel.exchange=tokens"],
    "inputs, two layers, embedding": [
        "model.experts=3", "model.slots=2", "model.expert_hidden=7", "model.embed=10",
        "model.layers=2", "model.residual=true", "train.accumulate=2"],
    "uniform dispatch": [
        "router.uniform_dispatch=true", "model.experts=4", "model.expert_hidden=8",
        "model.head_bias=true", "parallel.reproducible=false"],
    "uniform combine": [
        "router.uniform_combine=true", "router.normalize=logits", "model.experts=4",
        "model.slots=2", "model.expert_hidden=8", "model.activation=gelu"],
    "one expert, frozen router, replicas": [
        "model.experts=1", "model.slots=4", "model.expert_hidden=8", "router.freeze=true",
        "parallel.expert_replicas=2"],
}

L2NORM = [
    "data.source=l2norm", "data.train_samples=200", "data.test_samples=50", "data.tokens=4",
    "data.width=8", "loss.kind=mean_squared_error", "model.patch_height=1", "model.patch_width=8",
    "model.experts=5", "model.slots=2", "model.expert_hidden=6", "model.expert_bias=true",
    "model.head_bias=true", "router.normalize=none", "router.init=lecun_normal"]


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def reference_of(params, recipe, split, count, batch=0):
    """Of `count` samples, which `batch` times as many stand before."""
    images, target = (samples[batch * count:]
                      for samples in read_batch(recipe, split, (batch + 1) * count))
    tokens = patches_of(images, recipe["model"]["patch_height"], recipe["model"]["patch_width"])
    return (*evaluate(params, model_options(recipe), tokens, target), target)


def frozen(name, recipe):
    return recipe["router"]["freeze"] and name.split(".")[-1] in ("phi", "scale")


def step_problems(step, before, after):
    """A line for each parameter whose gradient, moment or update in step 0, 1, ... is off, and the
    largest error of a gradient."""
    params, moments, recipe = read_checkpoint(before)
    stepped, next_moments, _ = read_checkpoint(after)
    grads = reference_of(params, recipe, "train", recipe["train"]["batch"], step)[2]
    options, rate = recipe["optimizer"], rate_at(step, recipe)
    clip = clip_factor([grads[name] for name in grads if not frozen(name, recipe)], options)
    problems, worst = [], 0.0
    names = [sorted(params), sorted(next_moments["m"]), sorted(grads)]
    if names[0] != names[1] or names[0] != names[2]:
        return ["parameters {}, moments {}, reference {}".format(*names)], worst
    for name, grad in grads.items():
        weight, decay = params[name], decay_of(name, options)
        if frozen(name, recipe):
            if not np.array_equal(weight, stepped[name]):
                problems.append(f"{name}: frozen, and changed")
            continue
        old, now = ({kind: arrays[name] for kind, arrays in all_moments.items()}
                    for all_moments in (moments, next_moments))
        grad = clip * grad
        error = relative(gradient_in(options, decay, weight, old["m"], now["m"]), grad)
        worst = max(worst, error)
        if not error < GRADIENT_TOLERANCE:
            problems.append(f"{name}: gradient off by {error:.2e}")
        if "v" in now:
            error = relative(now["v"], second_moment(options, decay, weight, grad, old["v"]))
            if not error < GRADIENT_TOLERANCE:
                problems.append(f"{name}: second moment off by {error:.2e}")
        want, allowed = updated(options, decay, step, rate, weight, now)
        if not (np.abs(stepped[name] - want) <= allowed).all():
            error = relative(stepped[name] - weight, want - weight)
            problems.append(f"{name}: update off by {error:.2e}")
    return [f"step {step}: {problem}" for problem in problems], worst


def prediction_problems(program, checkpoint):
    params, _, recipe = read_checkpoint(checkpoint)
    arrays, said = program.predictions(checkpoint)
    logits, labels, loss = arrays["logits"].astype(np.float64), arrays["labels"], said["loss"]
    wanted, wanted_loss, _, target = reference_of(params, recipe, "test", len(logits))
    problems = []
    if not relative(logits, wanted) < LOGIT_TOLERANCE:
        problems.append(f"logits off by {relative(logits, wanted):.2e}")
    if not np.allclose(labels, target, rtol=1e-6, atol=0):
        problems.append("labels differ")
    if not abs(loss - wanted_loss) < LOSS_TOLERANCE * abs(wanted_loss):
        problems.append(f"loss {loss}, reference {wanted_loss}")
    return problems


def compare(program, name, recipe, overrides):
    checkpoints = program.first_steps(recipe, overrides, STEPS)
    problems, worst = [], 0.0
    for step in range(STEPS):
        found, error = step_problems(step, *checkpoints[step:step + 2])
        problems, worst = problems + found, max(worst, error)
    problems += prediction_problems(program, checkpoints[-1])
    print(f"{name}: largest gradient error {worst:.1e}", flush=True)
    for problem in problems:
        print(f"    WRONG: {problem}")
    return not problems


def main():
    with tempfile.TemporaryDirectory(prefix="coterie-reference-") as scratch:
        program = Program(scratch)
        if sys.argv[1:] == ["mnist"]:
            recipe = Path(os.environ["COTERIE_SOURCE"]) / "jobs" / "recipes" / "mnist.yaml"
            data = [f"data.path={os.environ['COTERIE_MNIST']}", "data.test_samples=1000"]
            good = [compare(program, "mnist.yaml", recipe, [*COMMON, "train.batch=256", *data])]
        elif sys.argv[1:] == ["glyphs"]:
            recipe = Path(scratch) / "empty.yaml"
            recipe.write_text("seed: 0\n")
            glyphs = Path(scratch) / "glyphs"
            program.run("data", "make", "-o", glyphs, "--train", 200, "--test", 50)
            data = ["data.source=idx", f"data.path={glyphs}"]
            good = [compare(program, name, recipe, [*COMMON, *data, *case])
                    for name, case in CASES.items()]
            good += [compare(program, "l2norm", recipe, [*COMMON, *L2NORM])]
        else:
            raise SystemExit(__doc__)
    print(f"{sum(good)} of {len(good)} cases agree with the reference")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
