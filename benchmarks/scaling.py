"""Step times on 1 to 1,024 GPUs on paper: compute as measured on few, collectives by NCCL's published bandwidth.

    python benchmarks/scaling.py [--json FILE] [--plot FILE.png] [--step-json FILE] [--between GB]

Needs no GPU. The schedule is that of DistributedDataParallel and FullyShardedDataParallel: buckets are reduced in order
of arrival on one communication stream while backward goes on; a sharded unit is gathered one ahead of its use. What is
assumed, with sources, stands in docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass, replace

GPUS = (1, 8, 16, 32, 64, 128, 256, 512, 1024)
MEBIBYTE = 1 << 20
PUBLISHED = {  # tokens a second and GPU, of H100s: MosaicML, llm-foundry, scripts/train/benchmarking
    "GPT 1.3B, 14 x 2048": {8: 45_455, 32: 45_130, 64: 44_402},
    "GPT 13B, 2 x 2048": {8: 4_792, 16: 4_767, 32: 4_811, 64: 4_800},
}


@dataclass(frozen=True)
class Fabric:
    """What connects the GPUs: bandwidths in bytes a second (nccl-tests' bus bandwidth), latencies in seconds."""

    node: int = 8
    reduce_inside: float = 475e9  # all_reduce in a node, NVLink SHARP
    ring_inside: float = 370e9  # all_gather and reduce_scatter in a node
    between: float = 8 * 47e9  # of a node: eight 400 Gb/s adapters
    reduce_one_node: float = 13e-6  # the smallest all_reduce
    reduce_two_nodes: float = 47e-6
    start: float = 8.4e-6  # of a ring
    hop_inside: float = 3.4e-6
    hop_between: float = 9.6e-6

    def nodes(self, gpus):
        """How many nodes hold so many GPUs."""
        return math.ceil(gpus / self.node)

    def all_reduce(self, size, gpus):
        """Seconds to sum `size` bytes over all GPUs: in a node by the switch, over nodes along a tree."""
        nodes = self.nodes(gpus)
        if nodes == 1:
            latency, bandwidth = self.reduce_one_node, self.reduce_inside
        else:
            latency = self.reduce_two_nodes + 2 * self.hop_between * (math.log2(nodes) - 1)
            bandwidth = min(self.reduce_inside, self.between)
        return 0.0 if gpus == 1 else latency + 2 * size * (gpus - 1) / gpus / bandwidth

    def gather(self, size, gpus):
        """Seconds to gather `size` bytes from the shards of all GPUs, or to reduce them into shards, around a ring."""
        nodes = self.nodes(gpus)
        latency = self.start + (gpus - nodes) * self.hop_inside + (nodes - 1) * self.hop_between
        bandwidth = self.ring_inside if nodes == 1 else min(self.ring_inside, self.between)
        return 0.0 if gpus == 1 else latency + size * (gpus - 1) / gpus / bandwidth


@dataclass(frozen=True)
class Assumed:
    """What is not published: how much communication slows compute, and how much ranks differ."""

    lost_to_communication: float = 16 / 132  # of compute while a collective runs: multiprocessors that NCCL takes
    deviation: float = 0.005  # of a rank's step time; the step ends with the slowest

    def slowest(self, gpus):
        """The expected maximum of `gpus` normal step times, over their mean."""
        return 1 + self.deviation * math.sqrt(2 * math.log(gpus)) if gpus > 1 else 1.0


@dataclass(frozen=True)
class Unit:
    """A layer: its parameters, and its part of the step's operations."""

    parameters: int
    share: float


@dataclass(frozen=True)
class Net:
    """A net with the time that a step takes on one GPU."""

    name: str
    units: tuple[Unit, ...]  # in the order of forward
    seconds: float
    tokens: int
    tied: int = 0  # parameters of the first unit that the last one uses, too: final only at the end of backward

    def backward(self, unit):
        """A backward takes twice the operations of a forward."""
        return self.seconds * unit.share * 2 / 3

    def forward(self, unit):
        """The time of a layer's forward."""
        return self.seconds * unit.share / 3


def transformer(name, layers, width, vocabulary, length, tokens, tokens_per_second):
    """A GPT whose embedding is also its output layer."""
    block = 12 * width * width + 13 * width
    head = vocabulary * width
    flops = [0.0] + [block + 2 * length * width] * layers + [head]
    total = sum(flops)
    sizes = [length * width, *[block] * layers, 2 * width]
    units = tuple(Unit(size, part / total) for size, part in zip(sizes, flops, strict=True))
    return Net(name, units, tokens / tokens_per_second, tokens, head)


def nets(gpt2_tokens_per_second):
    """GPT-2 replicated; 1.3 and 13 billion parameters sharded (MPT's sizes, tokens a second on 8 GPUs)."""
    small, large = PUBLISHED
    return (
        (transformer("GPT-2 124M, 16 x 1024", 12, 768, 50_304, 1024, 16 * 1024, gpt2_tokens_per_second), replicated),
        (transformer("GPT-2 124M, 64 x 1024", 12, 768, 50_304, 1024, 64 * 1024, gpt2_tokens_per_second), replicated),
        (transformer(small, 24, 2048, 50_368, 2048, 14 * 2048, PUBLISHED[small][8]), sharded),
        (transformer(large, 40, 5120, 50_368, 2048, 2 * 2048, PUBLISHED[large][8]), sharded),
    )


class Streams:
    """Two clocks: compute and communication, each in order; what overlaps slows compute."""

    def __init__(self, assumed):
        self.compute = self.communication = 0.0
        self.assumed = assumed

    def run(self, seconds):
        """Compute for as long, slower while a collective is under way."""
        rate = 1 - self.assumed.lost_to_communication
        beside = max(0.0, self.communication - self.compute)
        done = min(seconds, beside * rate)
        self.compute += done / rate + (seconds - done)

    def send(self, seconds, ready):
        """A collective that may begin at `ready`; its end."""
        self.communication = max(self.communication, ready) + seconds
        return self.communication

    def wait(self, moment):
        """Compute goes on when a collective has ended."""
        self.compute = max(self.compute, moment)


def replicated(net, gpus, fabric, assumed, bucket=25 * MEBIBYTE, first=1 * MEBIBYTE, bytes_each=4):
    """Seconds of a step of DistributedDataParallel: gradients in float32, the first bucket small."""
    streams, filled, limit = Streams(assumed), 0, first
    for unit in net.units:
        streams.run(net.forward(unit))
    for place, unit in reversed(list(enumerate(net.units))):
        streams.run(net.backward(unit))
        last = place == 0
        filled += bytes_each * (unit.parameters + (net.tied if last else 0))
        if gpus > 1 and (filled >= limit or last):
            streams.send(fabric.all_reduce(filled, gpus), streams.compute)
            filled, limit = 0, bucket
    streams.wait(streams.communication)
    return streams.compute * assumed.slowest(gpus)


def sharded(net, gpus, fabric, assumed, gathered=2, reduced=4):
    """Seconds of a step of FullyShardedDataParallel: weights gathered in bfloat16, gradients reduced in float32."""
    streams = Streams(assumed)

    def size(place):
        unit = net.units[place]
        return unit.parameters + (net.tied if place in (0, len(net.units) - 1) else 0)

    def gather(place, ready):
        return streams.send(fabric.gather(gathered * size(place), gpus), ready) if gpus > 1 else 0.0

    order = list(range(len(net.units)))
    for run, route in ((net.forward, order), (net.backward, order[::-1])):
        here = gather(route[0], streams.compute)
        for place, following in zip(route, [*route[1:], None], strict=True):
            streams.wait(here)
            if following is not None:
                here = gather(following, streams.compute)
            streams.run(run(net.units[place]))
            if run == net.backward and gpus > 1:
                streams.send(fabric.gather(reduced * size(place), gpus), streams.compute)
    streams.wait(streams.communication)
    return streams.compute * assumed.slowest(gpus)


def without_communication(net, step, fabric, assumed, gpus=8):
    """The net with the compute of which a step on 8 GPUs takes what was measured there."""
    found = net
    for _ in range(20):
        found = replace(found, seconds=found.seconds * net.seconds / step(found, gpus, fabric, assumed))
    return found


def study(tokens_per_second, fabric=None, assumed=None):
    """Rows of (net, GPUs, milliseconds, tokens a second and GPU, efficiency against one GPU)."""
    fabric, assumed = fabric or Fabric(), assumed or Assumed()
    rows = []
    for net, step in nets(tokens_per_second):
        if step is sharded:
            net = without_communication(net, step, fabric, assumed)
        alone = step(net, 1, fabric, assumed)
        for gpus in GPUS:
            seconds = step(net, gpus, fabric, assumed)
            rows.append(
                {"net": net.name, "way": step.__name__, "gpus": gpus, "ms": seconds * 1e3,
                 "tokens_per_second_and_gpu": net.tokens / seconds, "efficiency": alone / seconds}
            )  # fmt: skip
    return rows


def markdown(rows):
    """A table: nets down, GPUs across, efficiency and the step's milliseconds in a cell."""
    lines = ["| net | " + " | ".join(f"{gpus:,}" for gpus in GPUS) + " |", "|---|" + "---|" * len(GPUS)]
    for name in dict.fromkeys(row["net"] for row in rows):
        own = [row for row in rows if row["net"] == name]
        cells = " | ".join(f"{row['efficiency']:.1%} ({row['ms']:.1f} ms)" for row in own)
        lines.append(f"| {name}, {own[0]['way']} | {cells} |")
    return "\n".join(lines)


def plot(rows, path):
    """Efficiency over GPUs, a line a net; crosses are what others measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    figure, axes = pyplot.subplots(figsize=(7.5, 4.2), layout="constrained")
    for name in dict.fromkeys(row["net"] for row in rows):
        own = {row["gpus"]: row for row in rows if row["net"] == name}
        (line,) = axes.plot(
            list(own), [row["efficiency"] for row in own.values()], marker=".", label=f"{name}, {own[1]['way']}"
        )
        seen = PUBLISHED.get(name, {})
        alone = own[1]["tokens_per_second_and_gpu"]
        axes.plot(list(seen), [rate / alone for rate in seen.values()], "x", color=line.get_color(), markersize=9)
    axes.plot([], [], "x", color="gray", markersize=9, label="measured by others")
    axes.set_xscale("log", base=2)
    axes.set_xticks(GPUS, [f"{gpus:,}" for gpus in GPUS])
    axes.set_ylim(0.7, 1.01)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("GPUs, 8 a node")
    axes.set_ylabel("throughput over linear scaling")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=150)


def measured(path):
    """Tokens a second of GPT-2 124M in a result of `tritorch bench step`."""
    with open(path) as file:
        rows = json.load(file)["rows"]
    found = [row["ours"] for row in rows if row["case"].startswith("gpt2 12x768")]
    if not found:
        raise SystemExit(f"{path} has no row of GPT-2 with 12 layers of 768")
    return found[0]


def main():
    """Print the table; keep JSON and picture where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE")
    parser.add_argument("--step-json", metavar="FILE", help="of `tritorch bench step`: GPT-2 on one GPU")
    parser.add_argument("--between", metavar="GB", type=float, help="a second, of a node's network (default: 376)")
    options = parser.parse_args()
    fabric = Fabric(between=options.between * 1e9) if options.between else Fabric()
    rows = study(measured(options.step_json) if options.step_json else 468_000, fabric)
    sys.stdout.write(markdown(rows) + "\n")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"suite": "scaling", "rows": rows}, file, indent=1)
            file.write("\n")
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
