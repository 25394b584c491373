"""One process of a PyTorch training: worker.py FOLDER MODE-AS-JSON, in the environment that
modes.py sets. FOLDER has the samples, the initial weights and job.json; rank 0 prints one JSON
object. With `task` "losses" it chooses the fastest of the forms of the model, trains anew from the
initial weights, and gives the losses; with "speed" it gives samples/s of its training steps."""
import contextlib
import ctypes
import json
import re
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from samples import logit_noise
from soft_moe import PatchModel, loss_sum, make_optimizer, rate_factor
from torch.nn.parallel import DistributedDataParallel

CHOICE_STEPS, WARMUP_STEPS, LEAST_STEPS = 8, 5, 10


def blas_library():
    """The file that PyTorch's matrix products come from, as far as it is a library of its own."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split()[-1] for line in lines if re.search(r"/lib(blas|openblas|blis|mkl)", line)}
    return min(paths, default="its own")


def kernels_of(library):
    """The kernels that it chose, if it is an OpenBLAS."""
    try:
        name = ctypes.CDLL(library).openblas_get_corename
    except (OSError, AttributeError):
        return None
    name.restype = ctypes.c_char_p
    return name().decode()


class Trainer:
    def __init__(self, folder, job, mode):
        self.job, self.recipe = job, job["recipe"]
        self.rank, self.world = mode["rank"], mode["processes"]
        # Only what the recipe asks for: what parts suit coterie's cache is its own affair.
        self.pieces = max(1, self.recipe["train"]["accumulate"])
        self.tokens = torch.from_numpy(np.load(folder / "tokens.npy"))
        self.target = torch.from_numpy(np.load(folder / "target.npy"))
        order = folder / "order.npy"
        self.order = torch.from_numpy(np.load(order)) if order.exists() else None
        with np.load(folder / "weights.npz") as weights:
            self.weights = {name: torch.from_numpy(value) for name, value in weights.items()}

    def start(self, form):
        """From the initial weights."""
        self.model = PatchModel(self.weights, self.recipe, form)
        self.optimizer = make_optimizer(self.model, self.recipe)
        if self.world > 1:
            self.model = DistributedDataParallel(self.model, broadcast_buffers=False,
                                                 gradient_as_bucket_view=True)

    def batch_size(self, step):
        samples, batch = self.tokens.shape[1], self.recipe["train"]["batch"]
        return min(batch, samples - step % self.job["batches"] * batch)

    def samples(self, step, begin, end):
        """Places [begin, end) of a step's batch."""
        epoch, place = divmod(step, self.job["batches"])
        first = place * self.recipe["train"]["batch"]
        rows = slice(first + begin, first + end)
        if self.order is not None:
            rows = self.order[epoch][rows]
        epoch %= len(self.tokens)
        return self.tokens[epoch][rows], self.target[epoch][rows]

    def noise(self, step, begin, count, exact):
        """By layer: the program's own numbers, or any."""
        deviation = self.recipe["router"]["noise"]
        if deviation == 0:
            return None
        tokens, slots = self.tokens.shape[2], self.weights["moe.0.phi"].shape[1:].numel()
        layers = range(self.recipe["model"]["layers"])
        if not exact:
            return [deviation * torch.randn(count, tokens, slots) for _ in layers]
        return [deviation * torch.from_numpy(
            logit_noise(self.recipe["seed"], step, layer, begin, count, tokens, slots))
                for layer in layers]

    def accumulate(self, step, piece, size, exact):
        """Gradients of one piece of the batch, as far as it is this rank's; its summed loss."""
        first, last = size * piece // self.pieces, size * (piece + 1) // self.pieces
        if first == last:
            return torch.zeros(())
        begin = first + (last - first) * self.rank // self.world
        end = first + (last - first) * (self.rank + 1) // self.world
        x, target = self.samples(step, begin, end)
        apart = self.world > 1 and piece + 1 < self.pieces
        with self.model.no_sync() if apart else contextlib.nullcontext():
            outputs = self.model(x, self.noise(step, begin, end - begin, exact))
            loss = loss_sum(outputs, target, self.recipe)
            # DistributedDataParallel takes the mean over the ranks.
            (loss * (self.world / size)).backward()
        return loss.detach()

    def step(self, step, exact=False):
        """The loss of this rank's samples, added up."""
        size, options = self.batch_size(step), self.recipe["optimizer"]
        self.optimizer.zero_grad(set_to_none=True)
        loss = sum(self.accumulate(step, piece, size, exact)
                   for piece in range(self.pieces))
        if options["clip_norm"] > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), options["clip_norm"])
        factor = rate_factor(self.recipe["schedule"], step, self.job["total_steps"])
        for group in self.optimizer.param_groups:
            group["lr"] = options["learning_rate"] * factor
        self.optimizer.step()
        return loss

    def seconds(self, count):
        """Of each of so many steps, on full batches from the start of the samples."""
        taken = []
        for number in range(count):
            began = time.perf_counter()
            self.step(number % self.job["full_batches"])
            taken.append(time.perf_counter() - began)
        return taken

    def agreed(self, value):
        """Rank 0's value, on every rank."""
        values = [value]
        if self.world > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def faster_form(self, forms):
        medians = {}
        for form in forms:
            self.start(form)
            medians[form] = statistics.median(self.seconds(CHOICE_STEPS))
        return self.agreed(min(medians, key=medians.get))

    def losses(self, forms):
        form = self.faster_form(forms) if len(forms) > 1 else forms[0]
        self.start(form)
        losses = []
        for step in range(self.job["steps"]):
            loss = self.step(step, exact=True).double()
            if self.world > 1:
                dist.all_reduce(loss)
            losses.append(loss.item() / self.batch_size(step))
        blas = blas_library()
        return {"form": form, "losses": losses, "blas": blas, "kernels": kernels_of(blas)}

    def speed(self, form, seconds):
        self.start(form)
        warm = statistics.median(self.seconds(WARMUP_STEPS))
        count = self.agreed(max(LEAST_STEPS, round(seconds / warm)))
        return {"samples_per_s": self.batch_size(0) / statistics.median(self.seconds(count)),
                "steps": count}


def main():
    folder, mode = Path(sys.argv[1]), json.loads(sys.argv[2])
    job = json.loads((folder / "job.json").read_text())
    torch.set_num_threads(mode["threads"])
    if mode["processes"] > 1:
        dist.init_process_group("gloo", init_method=f"file://{mode['meeting']}",
                                rank=mode["rank"], world_size=mode["processes"],
                                timeout=timedelta(minutes=5))
    trainer = Trainer(folder, job, mode)
    result = (trainer.losses(mode["forms"]) if mode["task"] == "losses" else
              trainer.speed(mode["form"], mode["seconds"]))
    if mode["rank"] == 0:
        print(json.dumps(result))


main()
