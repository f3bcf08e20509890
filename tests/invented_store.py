"""Entries of a store that nobody measured: plausible ones, the same at every call, for tests of what reads them."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

from tritorch.autotune.device import Environment
from tritorch.autotune.key import Key, Size, bucket
from tritorch.autotune.trial import COMPILE, CRASH, RESOURCES, TIMEOUT, WRONG, Entry, Resources, Timing, Trial

ENVIRONMENT = Environment(
    device="NVIDIA H100 80GB HBM3", capability=90, sms=132, shared_memory=232448, driver="575.57.08", triton="3.6.0",
    flags="fp_fusion", determinism="deterministic",
)  # fmt: skip

OTHER = replace(ENVIRONMENT, device="NVIDIA A100-SXM4-80GB", capability=80, sms=108)

_BYTES_A_SECOND, _FLOPS_A_SECOND = 3.35e12, {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12}
_ITEMSIZE = {"bfloat16": 2, "float16": 2, "float32": 4}


def invented_entries():
    """A dozen entries of four kernels, some of whose configs failed in every way there is."""
    shapes = [(256, 256, 256), (1024, 1024, 1024), (4096, 4096, 4096), (8192, 1024, 4096), (64, 4096, 4096)]
    yield from (matmul(*shape, dtype) for shape, dtype in zip(shapes, itertools.cycle(("bfloat16", "float32"))))
    yield from (row_wise("softmax", *shape) for shape in [(1024, 1024), (8192, 4096), (128, 65536)])
    yield from (row_wise("layer_norm", *shape) for shape in [(2048, 768), (16384, 1024)])
    yield attention(2048, 64, "bfloat16")
    yield attention(8192, 128, "bfloat16")


def matmul(rows, columns, inner, dtype="bfloat16", trials=60):
    """An entry of a tiled product."""
    itemsize = _ITEMSIZE[dtype]
    work = (2 * rows * columns * inner, (rows * inner + inner * columns + rows * columns) * itemsize)
    sizes = {"rows": rows, "columns": columns, "inner": inner, "batch": 1}
    knobs = {"BLOCK_M": (64, 16, 32, 128, 256), "BLOCK_N": (128, 16, 32, 64, 256), "BLOCK_K": (32, 16, 64, 128),
             "GROUP_M": (8, 1, 4, 16), "num_warps": (4, 8), "num_stages": (3, 2, 4, 5, 6)}  # fmt: skip

    def factor(config):
        tile = config["BLOCK_M"] * config["BLOCK_N"]
        fill = math.log2(tile / 16384) * 0.25 + math.log2(config["BLOCK_K"] / 64) * 0.1
        return (
            1.15 + fill * fill + 0.05 * abs(config["num_stages"] - 4) + 0.2 * (tile < 4096) * (config["num_warps"] > 4)
        )

    def shared_memory(config):
        return (config["BLOCK_M"] + config["BLOCK_N"]) * config["BLOCK_K"] * itemsize * config["num_stages"]

    problem = _problem("matmul", [[rows, inner], [inner, columns]], dtype, False, False)
    name = "tritorch.ops.matrix.kernel.matmul_kernel"
    return _entry(name, dtype, sizes, work, knobs, factor, shared_memory, problem, trials)


def row_wise(op, rows, columns, dtype="bfloat16", trials=24):
    """An entry of a kernel that reads and writes rows."""
    size = rows * columns
    knobs = {"ROWS": (1, 2, 4, 8, 16), "num_warps": (4, 1, 2, 8)}

    def factor(config):
        return 1.05 + 0.15 * abs(math.log2(config["ROWS"] * columns / (1024 * config["num_warps"])))

    problem = _problem(op, [[rows, columns]], dtype, 1)
    work = (0, 2 * size * _ITEMSIZE[dtype])
    name = f"tritorch.ops.rowwise.{op}._{op}"
    sizes = {"rows": rows, "columns": columns}
    return _entry(name, dtype, sizes, work, knobs, factor, lambda config: 0, problem, trials)


def attention(length, depth, dtype, trials=40):
    """An entry of attention over 16 heads."""
    heads, itemsize = 16, _ITEMSIZE[dtype]
    knobs = {"BLOCK_M": (64, 32, 128), "BLOCK_N": (64, 32, 128), "num_warps": (4, 8), "num_stages": (2, 1, 3, 4)}

    def factor(config):
        return (
            1.5 + 0.3 * abs(math.log2(config["BLOCK_M"] * config["BLOCK_N"] / 8192)) + 0.1 * (config["num_stages"] != 3)
        )

    def shared_memory(config):
        return (config["BLOCK_M"] + 2 * config["BLOCK_N"] * config["num_stages"]) * depth * itemsize

    shape = [1, heads, length, depth]
    problem = _problem("scaled_dot_product_attention", [shape, shape, shape], dtype)
    work = (4 * heads * length * length * depth, 4 * heads * length * depth * itemsize)
    sizes = {"queries": length, "keys": length, "depth": depth}
    name = "tritorch.ops.attention.kernels.attention_kernel"
    return _entry(name, dtype, sizes, work, knobs, factor, shared_memory, problem, trials)


def _problem(op, shapes, dtype, *others):
    steps = [[math.prod(shape[at + 1 :]) for at in range(len(shape))] for shape in shapes]
    tensors = [{"tensor": shape, "dtype": dtype, "strides": step} for shape, step in zip(shapes, steps, strict=True)]
    return {"kind": "op", "op": op, "arguments": [*tensors, *others]}


def _entry(name, dtype, sizes, work, knobs, factor, shared_memory, problem, trials):
    flops, moved = work
    roofline = max(flops / _FLOPS_A_SECOND[dtype], moved / _BYTES_A_SECOND)
    key = Key(name, "0123456789ab", (dtype,) * 2, (("EVEN", "True"),),
              tuple(Size(each, *bucket(value)) for each, value in sizes.items()))  # fmt: skip
    draw = random.Random(key.digest)
    configs = [dict(zip(knobs, values, strict=True)) for values in itertools.product(*knobs.values())]
    tried = [configs[0], *draw.sample(configs[1:], min(trials, len(configs)) - 1)]
    found = [_trial(config, roofline * factor(config) + 2e-6, shared_memory(config), draw) for config in tried]
    entry = Entry(key, found, "full", problem, {"flops": flops, "bytes": moved, "roofline": roofline})
    for trial in entry.ranked()[:4]:
        p50 = trial.timing.p50 * draw.uniform(0.997, 1.003)
        entry.put(Trial(trial.config, final=Timing(p50 * 0.995, p50, p50 * 1.006, 40), timing=trial.timing,
                        resources=trial.resources, error=trial.error))  # fmt: skip
    return entry


def _trial(config, seconds, shared_memory, draw):
    if shared_memory > ENVIRONMENT.shared_memory:
        cause = f"needs {shared_memory} bytes of shared memory, a block may use {ENVIRONMENT.shared_memory}"
        return Trial(config, RESOURCES, resources=Resources(128, 0, shared_memory), cause=cause)
    fate = draw.random()
    failures = {
        0.015: (COMPILE, "PassManager::run failed"),
        0.025: (TIMEOUT, "no answer in 20 s"),
        0.03: (CRASH, "the worker died of signal 11"),
        0.045: (WRONG, "largest difference 3.1e+04 times what is allowed at [0, 17]"),
    }
    for most, (state, cause) in failures.items():
        if fate < most and len(config) > 2:
            return Trial(config, state, cause=cause, error=3.1e4 if state == WRONG else None)
    p50 = seconds * draw.uniform(0.98, 1.02)
    resources = Resources(draw.choice((64, 96, 128, 168)), draw.choice((0, 0, 0, 16)), shared_memory)
    timing = Timing(p50 * draw.uniform(0.985, 0.998), p50, p50 * draw.uniform(1.002, 1.03), 24)
    return Trial(config, timing=timing, resources=resources, error=draw.uniform(0, 0.4))
