#!/usr/bin/env python3
"""Compare the program's logits, loss and gradients with the reference.

    compare.py glyphs     several combinations of options, on glyphs and on l2norm
    compare.py mnist      the recipe mnist.yaml, on MNIST in the folder that COTERIE_MNIST names

Adam with beta1 = 0 makes the first moment after one step the gradient itself: `train --steps 0`
writes the weights, one more step the gradient. The environment names the program (COTERIE) and the
source folder (COTERIE_SOURCE).
"""
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from inputs import model_options, read_batch, read_checkpoint
from program import Program
from reference import evaluate, patches_of

# float32 against float64: sums of up to 256 * 196 products, each off by 6e-8 or less, most of it
# averaging out.
GRADIENT_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 1e-5
LOSS_TOLERANCE = 1e-5

COMMON = [
    "seed=3", "optimizer.kind=adam", "optimizer.beta1=0", "optimizer.weight_decay=0",
    "optimizer.clip_norm=0", "train.shuffle=false", "train.batch=96", "checkpoint.keep=0"]

CASES = {
    "the paper's layer": ["model.experts=16", "model.expert_hidden_total=128"],
    "logits, two layers, everything with a bias": [
        "router.normalize=logits", "model.activation=gelu", "model.experts=5", "model.slots=3",
        "model.expert_hidden=9", "model.patch_height=7", "model.embed=12", "model.embed_bias=true",
        "model.layers=2", "model.residual=true", "model.expert_bias=true", "model.pool=mean",
        "model.head_bias=true", "loss.label_smoothing=0.1"],
    "none, gelu, two slots": [
        "router.normalize=none", "router.init=lecun_normal", "model.activation=gelu",
        "model.experts=6", "model.slots=2", "model.expert_hidden=8", "model.expert_bias=true"],
    "inputs, two layers, embedding": [
        "model.experts=3", "model.slots=2", "model.expert_hidden=7", "model.embed=10",
        "model.layers=2", "model.residual=true", "train.accumulate=2"],
    "uniform dispatch": [
        "router.uniform_dispatch=true", "model.experts=4", "model.expert_hidden=8",
        "model.head_bias=true"],
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


def reference_of(params, recipe, split, count):
    images, target = read_batch(recipe, split, count)
    tokens = patches_of(images, recipe["model"]["patch_height"], recipe["model"]["patch_width"])
    return (*evaluate(params, model_options(recipe), tokens, target), target)


def gradient_problems(before, after):
    """A line for each parameter whose gradient is off, and the largest error."""
    params, _, recipe = read_checkpoint(before)
    stepped, moments, _ = read_checkpoint(after)
    grads = reference_of(params, recipe, "train", recipe["train"]["batch"])[2]
    problems, worst = [], 0.0
    names = [sorted(params), sorted(moments), sorted(grads)]
    if names[0] != names[1] or names[0] != names[2]:
        return ["parameters {}, moments {}, reference {}".format(*names)], worst
    for name, grad in grads.items():
        if recipe["router"]["freeze"] and name.split(".")[-1] in ("phi", "scale"):
            if not np.array_equal(params[name], stepped[name]):
                problems.append(f"{name}: frozen, and changed")
            continue
        error = relative(moments[name], grad)
        worst = max(worst, error)
        if not error < GRADIENT_TOLERANCE:
            problems.append(f"{name}: gradient off by {error:.2e}")
    return problems, worst


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
    before, after = program.one_step(recipe, overrides)
    problems, worst = gradient_problems(before, after)
    problems += prediction_problems(program, after)
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
