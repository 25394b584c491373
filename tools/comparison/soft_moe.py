"""The model `patch` in PyTorch, written for speed: one matrix product for all logits, and batched
ones over samples and over experts. The equations are those of docs/architecture.md.

Letters: B samples, T tokens, D token width, E experts, P slots per expert, S = E P, H hidden width.
"""
import math

import torch
from torch.nn import functional

LOGITS_EPSILON = 1e-6  # v / sqrt(v.v + epsilon)
INPUTS_EPSILON = 1e-12  # v / max(|v|, epsilon)


def unit(v, dim, form):
    if form == "inputs":
        return functional.normalize(v, dim=dim, eps=INPUTS_EPSILON)
    return v * torch.rsqrt(v.square().sum(dim=dim, keepdim=True) + LOGITS_EPSILON)


def by_bmm(layer, dispatch, combine, x):
    """Slots' rows brought together by expert: one product of B P rows for each."""
    b, t, d = x.shape
    e = len(layer.w1)
    slots = torch.bmm(dispatch.transpose(1, 2), x)
    rows = slots.view(b, e, -1, d).transpose(0, 1).reshape(e, -1, d)
    if layer.b1 is None:
        out = torch.bmm(layer.activate(torch.bmm(rows, layer.w1)), layer.w2)
    else:
        hidden = layer.activate(torch.baddbmm(layer.b1.unsqueeze(1), rows, layer.w1))
        out = torch.baddbmm(layer.b2.unsqueeze(1), hidden, layer.w2)
    return torch.bmm(combine, out.view(e, b, -1, d).transpose(0, 1).reshape(b, -1, d))


def by_einsum(layer, dispatch, combine, x):
    b, t, d = x.shape
    e = len(layer.w1)
    slots = torch.einsum("bts,btd->bsd", dispatch, x).view(b, e, -1, d)
    hidden = torch.einsum("bepd,edh->beph", slots, layer.w1)
    hidden = layer.activate(hidden if layer.b1 is None else hidden + layer.b1.unsqueeze(1))
    out = torch.einsum("beph,ehd->bepd", hidden, layer.w2)
    out = out if layer.b2 is None else out + layer.b2.unsqueeze(1)
    return torch.einsum("bts,bsd->btd", combine, out.reshape(b, -1, d))


def by_projection(layer, dispatch, combine, x):
    """The same sums in another order: first W1 of all experts times each token, at the end W2 of
    all experts times each token's mean of hidden values, so that no slot of width D ever exists.
    Seldom fewer multiply-adds, T E H D in each of two products, but these are large."""
    b, t, d = x.shape
    e, _, h = layer.w1.shape
    dispatch, combine = dispatch.view(b, t, e, -1, 1), combine.view(b, t, e, -1, 1)
    projected = x.reshape(b * t, d) @ layer.w1.transpose(0, 1).reshape(d, e * h)
    hidden = (dispatch * projected.view(b, t, e, 1, h)).sum(1)
    hidden = layer.activate(hidden if layer.b1 is None else hidden + layer.b1.unsqueeze(1))
    mean = (combine * hidden.unsqueeze(1)).sum(3)
    y = mean.view(b * t, e * h) @ layer.w2.reshape(e * h, d)
    if layer.b2 is not None:
        y = y + combine.sum(3).view(b * t, e) @ layer.b2
    return y.view(b, t, d)


FORMS = {"bmm": by_bmm, "einsum": by_einsum, "projected": by_projection}


class SoftMoe(torch.nn.Module):
    """One layer, x [B,T,D] -> [B,T,D]."""

    def __init__(self, weights, prefix, recipe, form):
        super().__init__()
        router = recipe["router"]
        self.normalize = router["normalize"]
        self.uniform_dispatch = router["uniform_dispatch"]
        self.uniform_combine = router["uniform_combine"]
        self.activate = {"relu": torch.relu, "gelu": functional.gelu}[recipe["model"]["activation"]]
        self.mix_experts = FORMS[form]
        for name in ("phi", "scale", "w1", "b1", "w2", "b2"):
            here = prefix + (name if name in ("phi", "scale") else f"experts.{name}")
            value = torch.nn.Parameter(weights[here].clone()) if here in weights else None
            self.register_parameter(name, value)
        routes = not router["freeze"] and not (self.uniform_dispatch and self.uniform_combine)
        for parameter in (self.phi, self.scale):
            if parameter is not None:
                parameter.requires_grad_(routes)

    def forward(self, x, noise):
        b, t, _ = x.shape
        phi = self.phi.flatten(1)
        s = phi.shape[1]
        mixed = x
        if self.normalize == "none":
            logits = x @ phi
        else:
            routed = unit(x, 2, self.normalize)
            logits = routed @ (unit(phi, 0, self.normalize) * self.scale)
            mixed = routed if self.normalize == "inputs" else x
        if noise is not None:
            logits = logits + noise
        dispatch = (x.new_full((b, t, s), 1.0 / t) if self.uniform_dispatch else
                    torch.softmax(logits, 1))
        combine = (x.new_full((b, t, s), 1.0 / s) if self.uniform_combine else
                   torch.softmax(logits, 2))
        return self.mix_experts(self, dispatch, combine, mixed)


class Linear(torch.nn.Module):
    def __init__(self, weights, prefix):
        super().__init__()
        self.w = torch.nn.Parameter(weights[prefix + "w"].clone())
        bias = weights.get(prefix + "b")
        self.b = None if bias is None else torch.nn.Parameter(bias.clone())

    def forward(self, x):
        return x @ self.w if self.b is None else x @ self.w + self.b


class PatchModel(torch.nn.Module):
    """Patches [B,T,D] -> logits [B,C]. noise: None, or by layer [B,T,S]."""

    def __init__(self, weights, recipe, form):
        super().__init__()
        model = recipe["model"]
        self.residual, self.pool = model["residual"], model["pool"]
        self.embed = Linear(weights, "embed.") if "embed.w" in weights else None
        self.layers = torch.nn.ModuleList(
            SoftMoe(weights, f"moe.{layer}.", recipe, form) for layer in range(model["layers"]))
        self.head = Linear(weights, "head.")

    def forward(self, x, noise=None):
        if self.embed is not None:
            x = self.embed(x)
        for number, layer in enumerate(self.layers):
            y = layer(x, None if noise is None else noise[number])
            x = x + y if self.residual else y
        return self.head(x.flatten(1) if self.pool == "flatten" else x.mean(1))


def loss_sum(outputs, target, recipe):
    """The losses of the samples, added up."""
    if recipe["loss"]["kind"] == "mean_squared_error":
        return functional.mse_loss(outputs[:, 0], target, reduction="sum")
    return functional.cross_entropy(outputs, target, reduction="sum",
                                    label_smoothing=recipe["loss"]["label_smoothing"])


def make_optimizer(model, recipe):
    """Weight decay is not for biases and scales."""
    options = recipe["optimizer"]
    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[name.split(".")[-1] not in ("b", "b1", "b2", "scale")].append(parameter)
    groups = [{"params": parameters, "weight_decay": options["weight_decay"] if decays else 0.0}
              for decays, parameters in groups.items() if parameters]
    rate = options["learning_rate"]
    if options["kind"] == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=options["momentum"])
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options["kind"]]
    return kind(groups, lr=rate, betas=(options["beta1"], options["beta2"]), eps=options["epsilon"])


def rate_factor(schedule, step, total):
    """What the learning rate of a step is multiplied by."""
    warmup = schedule["warmup_steps"]
    if step < warmup:
        return (step + 1) / warmup
    done = step - warmup
    if schedule["kind"] == "cosine":
        share = min(done / max(total - warmup, 1), 1.0)
        return schedule["final"] + (1 - schedule["final"]) * 0.5 * (1 + math.cos(math.pi * share))
    if schedule["kind"] == "step":
        return schedule["factor"]**(done // schedule["every"])
    return 1.0
