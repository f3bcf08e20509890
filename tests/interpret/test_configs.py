"""What launches ask a config by: keys that miss nothing the compiled code depends on, defaults that lie in their space.

Ops run on the interpreter device with their launches noted instead of carried out, and with configs chosen as for a
GPU.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import random
from collections import defaultdict
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.key import array_text, describe_key
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.tunable import KERNELS, Asked, TunableKernel, noting_configs, pretending
from tritorch.autotune.tuner import asked_by
from tritorch.ops.base import TABLE
from tritorch.runtime import precision, transfer
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import Kernel, Launch, recording_launches
from tritorch.validation import call_on, samples_of

OURS = [kernel for name, kernel in KERNELS.items() if name.startswith("tritorch.ops.")]  # other tests have theirs
FAMILIES = sorted({kernel.kernel_name.split(".")[2] for kernel in OURS})
# How samples are drawn, and how exact products of float32 are.
SETTINGS = ((np.float32, "highest"), (np.float32, "high"), (ml_dtypes.bfloat16, "highest"), (np.float64, "highest"))
DEVICES = tuple(map(generation, (80, 90, 100)))
SIZES = (1, 48, 1000, 1 << 14, 1 << 24)  # what default configs are asked for beyond the samples
LIMITED = dict.fromkeys(("width", "value_width"), (16, 64, 256))  # sizes that have a limit

MOST_CONFIGS = 400  # what a search covers, for a problem of a usual size
LAYERS = [
    *({"N": images, "C": 128, "K": 128, "H": 28, "W": 28} for images in (16, 64)),  # of boxes, of lanes
    {"N": 128, "C": 512, "K": 512, "H": 4, "W": 4},
    {"N": 64, "C": 256, "K": 1024, "H": 14, "W": 14, "R": 1, "S": 1, "padding": 0},  # a product
]

# Parameters, of any kernel or of one, that may differ though keys differ in sizes at most, and why.
FREE = {
    "EVEN_K": "whether BLOCK_K divides the sum: follows from a size and a knob",
    "EVEN": "whether a tile divides what is read by tiles: follows from a size and a knob",
    "WHOLE": "whether a row fits a block: follows from a size and a knob",
    "arrivals": "whether programs wait for one another: follows from sizes and knobs",
    "PARTS": "tiles of weights that are kept: follows from a size and knobs",
    **dict.fromkeys(("LINES", "PLACES", "IMAGES"), "the box of so many rows that is filled most: follows from sizes"),
    "FOLD_1": "how far apart the lines of a box are: follows from a fact, and from whether a box has one line or more",
    "FOLD_2": "the same of places",
    "WIDTH": "a size of the key, padded",
    "VALUE_WIDTH": "a size of the key, padded",
    "P": "an exponent: the formulas that differ by it are in the key",
    "flash_key_kernel.slopes": "whether slopes are stored: follows from sizes and a knob",
    "group_gradients_kernel.GIVEN": "whether other programs left the sums: follows from a knob",
    "nll_kernel.MEAN": "a division by the only program, if there is one",
    "step_kernel.given": "numbers of the step that are on the device: each program reads them once",
    "step_kernel.found": "whether there is a step, likewise",
    "nll_kernel.out": "narrowed by the only program, if there is one: follows from a size and a knob",
    "nll_kernel.weights": "likewise",
    "state_kernel.first": "narrowed by the only part, if there is one: follows from a knob",
    "state_kernel.second": "likewise",
    **dict.fromkeys(
        [f"{name}weight_kernel.out" for name in ("", "tap_", "lane_", "box_", "depthwise_")],
        "narrowed by the only part, if there is one: follows from a knob",
    ),
    **dict.fromkeys(
        [
            f"{kernel}.{name}"
            for kernel in ("matmul_kernel", "descriptor_kernel")
            for name in ("ACTIVATION", "SCALED", "bias", "out", "residual")
        ],
        "of parts the bare sums are stored, and another launch ends the product: follows from a knob",
    ),
    **dict.fromkeys(
        [f"sort_blocks.{name}" for name in ("values", "places", "sorted_keys", "sorted_order")],
        "the results where a row fits a block, else what is sorted again: follows from a size and a knob",
    ),
}


class Seen(NamedTuple):
    """A launch, by whom, and what was asked for it."""

    op: str
    sample: int
    launch: Launch
    asked: Asked | None


class Log:
    """Where launches are noted with what their kernel asked last."""

    def __init__(self, asked):
        self.asked, self.found = asked, []

    def append(self, launch):
        if isinstance(launch.kernel, TunableKernel):
            last = next((each for each in reversed(self.asked) if each.kernel is launch.kernel), None)
            self.found.append((launch, last))


def family(kernel):
    return kernel.__module__.split(".")[2]


@functools.cache
def launches():
    """Every launch of a kernel with a space that the samples of all ops lead to."""
    seen, allocate, before = [], transfer.empty_on_host, precision.get_float32_matmul_precision()
    transfer.empty_on_host = np.zeros  # results of launches that do not happen
    try:
        for dtype, exactness in SETTINGS:
            precision.set_float32_matmul_precision(exactness)
            for op in TABLE.values():
                for number, sample in enumerate(samples_of(op, dtype)):
                    with pretending(generation(90)), noting_configs() as asked:
                        log = Log(asked)
                        with recording_launches(run=False, launches=log):
                            call_on(op, sample, INTERPRETER)
                    seen.extend(Seen(op.op_name, number, *each) for each in log.found)
    finally:
        transfer.empty_on_host = allocate
        precision.set_float32_matmul_precision(before)
    return seen


def described(launch):
    """What the compiled code depends on: constants that are no knobs, and which arrays there are, of which dtypes."""
    parameters = inspect.signature(launch.kernel.fn).parameters
    keywords = {name: value for name, value in launch.keywords.items() if name in parameters}
    values = inspect.signature(launch.kernel.fn).bind(*launch.args, **keywords).arguments
    found = {}
    for name, value in values.items():
        if parameters[name].annotation == "tl.constexpr":
            if name not in launch.kernel.space.knobs:
                found[name] = value
        else:
            found[name] = kinds(value)
    return found


def kinds(value):
    if isinstance(value, tuple):
        return tuple(map(kinds, value))
    return array_text(value) if value is None or isinstance(value, np.ndarray) else "a number"


def text(value):
    return value.__name__ if isinstance(value, Kernel) else str(value)


def test_launches_ask_for_a_config():
    silent = {f"{seen.op}: {seen.launch.kernel.kernel_name}" for seen in launches() if seen.asked is None}
    assert not silent, f"launches whose kernel was not asked for a config: {sorted(silent)}"


def facts_of(seen):
    """A key without its sizes: samples are so small that sizes alone would tell them all apart."""
    kernel, key, known = seen.asked.kernel, seen.asked.key, seen.asked.known
    facts = [(name, value) for name, value in known.items() if name not in scaled(kernel, known)]
    return kernel, key.arrays, tuple(facts)


@pytest.mark.parametrize("name", FAMILIES)
def test_keys_miss_nothing_that_code_depends_on(name):
    groups = defaultdict(list)
    for seen in launches():
        if seen.asked and family(seen.launch.kernel) == name:
            groups[facts_of(seen)].append(seen)
    assert groups, f"no launches of {name}"
    wrong = {}  # the first case of each parameter
    for first, *others in groups.values():
        expected = described(first.launch)
        for other in others:
            for parameter, value in described(other.launch).items():
                named = f"{first.launch.kernel.__name__}.{parameter}"
                if value != expected[parameter] and not FREE.keys() & {parameter, named}:
                    wrong.setdefault(
                        named,
                        f"{named} is {text(expected[parameter])} in {first.op} {first.sample}, but {text(value)} in "
                        f"{other.op} {other.sample}, and nothing but sizes tells them apart: "
                        f"{describe_key(first.asked.key)}",
                    )
    assert not wrong, "\n".join(wrong.values())


def known_of(kernel):
    """What was asked of a kernel: each combination of facts and switches once."""
    found = {}
    for seen in launches():
        if seen.asked and seen.launch.kernel is kernel:
            known = seen.asked.known
            switches = tuple(value for name, value in known.items() if name not in scaled(kernel, known))
            found.setdefault(switches, known)
    return found.values()


def scaled(kernel, known):
    """The sizes that a default is asked for at other scales."""
    return [name for name in kernel.sizes if type(known[name]) is int and name != "itemsize"]


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults_lie_in_their_space(name):
    for kernel in OURS:
        if family(kernel) == name:
            for known, device in itertools.product(known_of(kernel), DEVICES):
                check_defaults(kernel, known, device)


def check_defaults(kernel, known, device):
    names = scaled(kernel, known)
    for sizes in itertools.product(*(LIMITED.get(each, SIZES) for each in names)):
        asked = known | dict(zip(names, sizes, strict=True))
        config = kernel.config_for(device, **{size: asked[size] for size in kernel.sizes})
        kernel.space.check_values(config, kernel.__name__)
        broken = conditions_broken(kernel.space, asked | config | {"device": device})
        assert not broken, f"{kernel.__name__}: the default {config} breaks {broken}; {device.name}, {asked}"


def conditions_broken(space, known):
    """The names of the conditions that do not hold."""
    return [
        condition.__name__
        for condition, needs in space.conditions
        if all(each in known for each in needs) and not condition(**{each: known[each] for each in needs})
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_of_one_bucket_allow_the_same_configs(name):
    draw = random.Random(name)
    for kernel in OURS:
        if family(kernel) == name:
            known = next(iter(known_of(kernel))) | {"device": generation(90)}
            for low, high in ((17, 24), (33, 48), (513, 768), (769, 1024), (1025, 1536)):
                names = [each for each in scaled(kernel, known) if each not in LIMITED]
                sizes = [known | {each: draw.choice((low, high)) for each in names} for _ in range(4)]
                for _ in range(100):
                    config = {knob: values.random(draw) for knob, values in kernel.space.knobs.items()}
                    answers = {kernel.space.allows(config, **each) for each in sizes}
                    assert len(answers) == 1, f"{kernel.__name__}: {config} hangs on where in a bucket sizes are"


def usual_problems(dtype):
    for name, op in TABLE.items():
        if op.sized is not None:
            yield OpProblem.sized(name, dtype)
        if name.startswith("convolution"):
            yield from (OpProblem.sized(name, dtype, sizes) for sizes in LAYERS)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_search_covers_the_space_of_a_usual_problem(dtype, device):
    counts = {}
    for problem in usual_problems(dtype):
        for asked in asked_by(problem, device):
            if len(asked.kernel.space) > MOST_CONFIGS and (asked.kernel, asked.key) not in counts:
                configs = asked.kernel.space.configs(**asked.known, device=device)
                counts[asked.kernel, asked.key] = sum(1 for _ in configs)
    assert counts
    wide = [
        f"{kernel.__name__} has {count} configs: {describe_key(key)}"
        for (kernel, key), count in counts.items()
        if count > MOST_CONFIGS
    ]
    assert not wide, "\n".join(wide)
