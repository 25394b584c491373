"""profile.py FOLDER PROFILE SETTING=VALUE...: what a run says of its own cost hangs together.

FOLDER is a run's, PROFILE what `train --profile --format json` printed. The settings tell the shapes:
ranks, replicas, experts, layers, normalize, embed, accumulate, exchange (slots or tokens), messages (0 or 1),
first (the call began behind this step) and steps (of the call).
"""
import json
import sys
from pathlib import Path

import h5py
import numpy as np

PHASES = "data route dispatch exchange experts combine head sums update".split()
OF_LAYER, COMMUNICATES = PHASES[1:6], ("exchange", "sums")
SAMPLES, BATCH, GRAINS = 1250, 64, 8
TOKENS, PIXELS, CLASSES, HIDDEN_TOTAL = 4, 196, 10, 96
TRACED = 20
REAL, DOUBLE, SCORES = 4, 8, 5


def cut(total, parts, part):
    return total * part // parts


class Shapes:
    """Bytes that a rank sends in one step, from the shapes alone."""

    def __init__(self, settings):
        number = {"replicas": 1, "experts": 16, "layers": 1, "embed": 0, "accumulate": 1, "first": 0}
        number.update({key: int(value) for key, value in settings.items() if value.isdigit()})
        self.__dict__.update(number)
        self.tokens_plan = settings["exchange"] == "tokens"
        self.logits = settings.get("normalize") == "logits"
        self.members = self.ranks // self.replicas
        self.width = self.embed or PIXELS
        self.hidden = HIDDEN_TOTAL // self.experts

    def samples_of(self, samples, parts, part):
        begin, end = (cut(GRAINS, parts, part + i) for i in (0, 1))
        return cut(samples, GRAINS, end) - cut(samples, GRAINS, begin)

    def owned(self, rank):
        member = rank % self.members
        return cut(self.experts, self.members, member + 1) - cut(self.experts, self.members, member)

    def ordered(self, numbers, ranks, rank):
        """Of an ordered sum."""
        if not self.messages:
            return 0
        if ranks & (ranks - 1) == 0:  # by halving, and the same way back
            sent, held = 0, numbers
            for bit in range(ranks.bit_length() - 1):
                sent += held
                held = held - held // 2 if rank >> bit & 1 else held // 2
            return REAL * sent
        own = cut(numbers, ranks, rank + 1) - cut(numbers, ranks, rank)
        return REAL * (numbers - own + (ranks - 1) * own)

    def exchange(self, samples, rank, layer):
        """Of one micro-batch."""
        if not self.messages:
            return 0
        here = self.samples_of(samples, self.ranks, rank)
        others = self.samples_of(samples, self.replicas, rank // self.members) - here
        if not self.tokens_plan:
            row = self.width * REAL
            return 2 * row * (here * (self.experts - self.owned(rank)) + others * self.owned(rank))
        tokens = TOKENS * self.width
        gathered = 2 * tokens + 2 * TOKENS  # tokens; gradients, log-sum-exp and delta
        parts = tokens + 2 * TOKENS         # numerators, maximum and sum
        if layer > 0 or self.embed:         # gradients of the layer's input
            parts += tokens * (2 if self.logits else 1)
        columns = self.width * self.owned(rank)  # of Phi's gradient: summed over replicas, and gathered
        phi = self.ordered(columns, self.replicas, rank // self.members) + REAL * (self.members - 1) * columns
        return REAL * ((self.members - 1) * here * gathered + others * parts) + phi

    def sums(self, pieces, rank):
        layer = 1 + (0 if self.tokens_plan else self.width * self.experts)
        summed = self.embed * PIXELS + self.layers * layer + TOKENS * self.width * CLASSES
        owned = self.owned(rank)
        sharded = self.layers * 2 * owned * self.width * self.hidden
        batch = self.ordered(summed, self.ranks, rank) + (self.ranks - 1) * SCORES * DOUBLE
        norms = self.layers * 2 * (self.members - 1) * owned * DOUBLE
        return pieces * batch + self.ordered(sharded, self.replicas, rank // self.members) + norms

    def of_step(self, step):
        """{(phase, layer): bytes by rank}; steps count from 0."""
        batches = -(-SAMPLES // BATCH)
        samples = min(BATCH, SAMPLES - step % batches * BATCH)
        ends = [cut(samples, self.accumulate, i) for i in range(self.accumulate + 1)]
        pieces = [b - a for a, b in zip(ends, ends[1:]) if b > a]
        found = {("exchange", layer): [sum(self.exchange(n, rank, layer) for n in pieces) for rank in range(self.ranks)]
                 for layer in range(self.layers)}
        found["sums", None] = [self.sums(len(pieces), rank) for rank in range(self.ranks)]
        return found


def near(a, b, tolerance=1e-6):
    assert abs(a - b) <= tolerance * max(abs(a), abs(b)), (a, b)


def check_range(found, ranks):
    assert 0 <= found["min"] <= found["mean"] * (1 + 1e-6) and found["mean"] <= found["max"] * (1 + 1e-6), found
    assert 0 <= found["rank"] < ranks, found


def check_costs(costs, shapes, first, steps):
    """`steps` steps from `first` on."""
    assert costs["steps"] == steps, (costs["steps"], steps)
    rows = {(row["phase"], row["layer"]): row for row in costs["phases"]}
    assert len(rows) == len(costs["phases"])
    assert set(rows) == {(phase, layer) for phase in PHASES
                         for layer in (range(shapes.layers) if phase in OF_LAYER else [None])}, list(rows)
    for (phase, _), row in rows.items():
        kinds = ["seconds"] + ["bytes", "exposed", "hidden"] * (phase in COMMUNICATES)
        assert list(row)[2:] == kinds, row
        for kind in kinds:
            check_range(row[kind], shapes.ranks)
        if phase in COMMUNICATES:
            assert row["exposed"]["max"] <= row["seconds"]["max"] * (1 + 1e-6), row
    # Some phases are empty: thin experts have no dispatch of their own.
    assert all(rows[phase, None]["seconds"]["min"] > 0 for phase in ("data", "head", "sums", "update"))
    assert all(rows["exchange", layer]["exposed"]["min"] > 0 for layer in range(shapes.layers))
    check_range(costs["step"], shapes.ranks)
    near(sum(row["seconds"]["mean"] for row in rows.values()), costs["step"]["mean"])
    wanted = [shapes.of_step(step) for step in range(first, first + steps)]
    for key in wanted[0]:
        mean = np.mean([step[key] for step in wanted], axis=0)
        found = rows[key]["bytes"]
        for name, value in (("min", mean.min()), ("mean", mean.mean()), ("max", mean.max()), ("rank", mean.argmax())):
            near(found[name], value)


def check_metrics(folder, shapes, steps):
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    first = shapes.first
    for event in events:
        if event["event"] == "epoch" and event["step"] > shapes.first:
            check_costs(event["ledger"], shapes, first, event["step"] - first)
            # These are rank 0's, whose phases are all within them.
            assert event["ledger"]["step"]["min"] * (event["step"] - first) <= event["seconds"] * (1 + 1e-6)
            first = event["step"]
    assert events[-1]["event"] == "end" and events[-1]["step"] == shapes.first + steps
    check_costs(events[-1]["ledger"], shapes, shapes.first, steps)
    return events


def check_statistics(folder, events, shapes):
    """The last record is of the last epoch."""
    last = [event for event in events if event["event"] == "epoch"][-1]["ledger"]
    with h5py.File(folder / "stats.h5", "r") as file:
        assert file["phase"].attrs["long_name"].decode() == ", ".join(PHASES)
        assert file["over_ranks"].attrs["long_name"].decode().startswith("min, mean, max, rank")
        timing = {name: data[-1] for name, data in file["timing"].items() if data.ndim == 4}
    assert len(timing) == 4
    seen = np.zeros((shapes.layers + 1, len(PHASES)), bool)
    for row in last["phases"]:
        place = shapes.layers if row["layer"] is None else row["layer"], PHASES.index(row["phase"])
        seen[place] = True
        for kind, found in row.items():
            if kind not in ("phase", "layer"):
                for number, value in zip(timing[f"step_{kind}"][place], found.values()):
                    near(number, value)
    assert all((data[~seen] == 0).all() for data in timing.values())


def spans_of(trace, rank, thread):
    return [event for event in trace if event["ph"] == "X" and (event["pid"], event["tid"]) == (rank, thread)]


def check_rank(spans, events, shapes, steps):
    whole = [span for span in spans if span["name"] == "step"]
    assert [span["args"]["step"] for span in whole] == list(range(shapes.first + 1, shapes.first + 1 + min(steps, TRACED)))
    parts = sorted((span for span in spans if span["name"] != "step"), key=lambda span: span["ts"])
    assert {span["name"] for span in parts} >= set(PHASES) - {"dispatch", "combine"}, {span["name"] for span in parts}
    for span in parts:
        assert span["name"] in PHASES, span
        layer = span.get("args", {}).get("layer")
        assert (layer in range(shapes.layers)) if span["name"] in OF_LAYER else layer is None, span
    rounding = 0.002  # microseconds: two ends of three decimals
    for step in whole:
        begin, end = step["ts"], step["ts"] + step["dur"]
        inside = [span for span in parts if begin - rounding <= span["ts"] < end - rounding]
        parts = [span for span in parts if span not in inside]
        assert len(inside) >= len(PHASES) - 2
        assert abs(sum(span["dur"] for span in inside) - step["dur"]) <= rounding * len(inside), step
        for before, after in zip(inside, inside[1:]):
            assert abs(before["ts"] + before["dur"] - after["ts"]) <= rounding, (before, after)
        assert inside[-1]["ts"] + inside[-1]["dur"] <= end + rounding
    assert not parts, parts[0]
    for before, after in zip(whole, whole[1:]):
        assert after["ts"] >= before["ts"] + before["dur"] - rounding
    assert whole[0]["ts"] >= 0 and whole[-1]["ts"] + whole[-1]["dur"] <= 1e6 * events[-1]["seconds"]


def check_trace(folder, events, shapes, steps):
    trace = json.loads((folder / "trace.json").read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in trace if event["name"] == "process_name"}
    assert names == {rank: f"rank {rank}" for rank in range(shapes.ranks)}, names
    assert {event["ph"] for event in trace} == {"M", "X"} and {event["pid"] for event in trace} == set(names)
    for rank in names:
        check_rank(spans_of(trace, rank, 0), events, shapes, steps)
    # Ranks wait for each other in every step, so the same step is at the same time on all of them.
    for spans in zip(*([span for span in spans_of(trace, rank, 0) if span["name"] == "step"] for rank in names)):
        assert max(span["ts"] for span in spans) < min(span["ts"] + span["dur"] for span in spans), spans


def main():
    folder, printed = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    settings = dict(setting.split("=") for setting in sys.argv[3:])
    shapes, steps = Shapes(settings), int(settings["steps"])
    assert printed["ranks"] == shapes.ranks and printed["trace"] == f"{folder}/trace.json", printed
    check_costs(printed["profile"], shapes, shapes.first, steps)
    events = check_metrics(folder, shapes, steps)
    check_statistics(folder, events, shapes)
    check_trace(folder, events, shapes, steps)


main()
