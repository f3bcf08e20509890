"""Compile tier: every kernel of every op builds for three GPU generations, fits their shared memory and does not spill.

Ops run on the interpreter device with their launches noted instead of carried out, and with configs chosen as for a
GPU: what is compiled is what that GPU would be asked to run.
"""

from __future__ import annotations

import functools
import itertools

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import KERNELS, noting_configs, pretending
from tritorch.ops.base import TABLE
from tritorch.runtime import precision, transfer
from tritorch.runtime.binding import binder_of, checked_grid
from tritorch.runtime.compile import compile_values, resources, spilled
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import Kernel, materialise, recording_launches
from tritorch.runtime.language import triton_missing
from tritorch.runtime.launch_key import class_of, tag_of
from tritorch.validation import call_on, samples_of

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

A100, H200, B200 = map(generation, (80, 90, 100))
# What to compile: each formula once for each dtype and GPU; each way of addressing (rank, alignment), which depends on
# no formula, for one dtype and GPU.
MATRIX = (
    (H200, np.float32, True),
    (H200, ml_dtypes.bfloat16, False),
    (H200, np.float64, False),
    (A100, np.float32, False),
    (B200, np.float32, False),
)
SIZES = (48, 1000, 1 << 14, 1 << 24)  # what default configs are asked for beyond the samples
MOST_CONFIGS = 6  # built of those that a kernel's default gives for these sizes, evenly taken


@pytest.fixture(autouse=True)
def _zeros(monkeypatch):
    """Results of launches that do not happen are zeros."""
    monkeypatch.setattr(transfer, "empty_on_host", np.zeros)
    materialise()


def launches_of(op, dtype):
    """(sample number, Launch) for all that an op would launch for its samples."""
    for number, sample in enumerate(samples_of(op, dtype)):
        with recording_launches(run=False) as launches:
            call_on(op, sample if isinstance(sample, tuple) else (sample,), INTERPRETER)
        for launch in launches:
            yield number, launch


def bound(launch):
    """The values of a launch in the order of its kernel's parameters, and its options."""
    return binder_of(launch.kernel)(*launch.args, **launch.keywords)


def keys_of(launch, device, every):
    """What a launch is worth compiling for: its formulas with the dtypes, and with `every`, how it addresses."""
    values, options = bound(launch)
    pairs = list(zip(launch.kernel.params, values, strict=True))
    formulas = tuple(id(value) for _, value in pairs if isinstance(value, Kernel))
    yield launch.kernel, device.capability, formulas, frozenset(dtypes_of(values))
    if every:
        rest = [(value, tag_of(value)) if parameter.is_constexpr else specialised(value)
                for parameter, value in pairs if not isinstance(value, Kernel)]  # fmt: skip
        yield launch.kernel, device.capability, *rest, *options.values()


def dtypes_of(values):
    """The dtypes of all arrays, also in tuples."""
    for value in values:
        if isinstance(value, tuple):
            yield from dtypes_of(value)
        elif isinstance(value, np.ndarray):
            yield value.dtype


def specialised(value):
    """What the compiler is told of an argument."""
    if isinstance(value, tuple):
        return tuple(map(specialised, value))
    if isinstance(value, np.ndarray):
        return value.dtype, value.ctypes.data % 16 == 0
    # Whether an integer divides by 16 changes how much is loaded at once, not whether it can be; 1 is a constant.
    return min(class_of(value), 2) if type(value) is int else class_of(value)


def build(launch, device, what):
    """Compile a launch for `device` and hold its resources against what the device has."""
    values, options = bound(launch)
    checked_grid(launch.kernel, launch.grid if isinstance(launch.grid, tuple) else (launch.grid,))
    try:
        used = resources(compile_values(launch.kernel, values, options, device.capability))
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__}: {error}\n" + "\n".join(getattr(error, "__notes__", ())))
    assert used.shared_memory <= device.shared_memory, f"{what}: {used.shared_memory} bytes of shared memory"
    lost = spilled(used.registers, used.spills, used.num_warps)
    assert not lost, f"{what}: spills {lost} bytes, at {used.registers} registers"


built: set = set()  # in this process; others find the same kernels in Triton's own cache


@pytest.mark.parametrize("name", sorted(TABLE))
def test_kernels_build(name):
    for device, dtype, every in MATRIX:
        with pretending(device):
            launches = list(launches_of(TABLE[name], dtype))
        for number, launch in launches:
            keys = {*keys_of(launch, device, every)}
            if not keys <= built:
                built.update(keys)
                kind = np.dtype(dtype).name
                build(
                    launch, device, f"{name}, {kind}, sample {number}, sm_{device.capability}, {launch.kernel.__name__}"
                )


@functools.cache
def launches_in_use(dtype, exactness):
    """The first launch of each kernel by the samples of all ops, with what was first asked of its default by then."""
    found, before = {}, precision.get_float32_matmul_precision()
    precision.set_float32_matmul_precision(exactness)
    try:
        with pretending(H200), noting_configs() as asked:
            for op in TABLE.values():
                for _, launch in launches_of(op, dtype):
                    if launch.kernel not in found:
                        known = next((each.known for each in asked if each.kernel is launch.kernel), None)
                        found[launch.kernel] = launch, known
    finally:
        precision.set_float32_matmul_precision(before)
    return found


def launch_in_use(kernel, dtype):
    """Some launch of a kernel that an op makes, if need be where tensor cores may round float32, and what was asked."""
    for exactness in ("highest", "high"):
        if kernel in (found := launches_in_use(dtype, exactness)):
            return found[kernel]
    return None, None


def configs_of(kernel, device, sizes):
    """The different configs of the kernel's default over products of SIZES, itemsize and switches as they were."""
    scaled = [name for name, value in sizes.items() if type(value) is int and name != "itemsize"]
    configs = []
    for chosen in itertools.product(SIZES, repeat=len(scaled)):
        config = kernel.config_for(device, **(sizes | dict(zip(scaled, chosen, strict=True))))
        kernel.space.check(config, kernel.__name__)
        if config not in configs:
            configs.append(config)
    return configs


TUNABLE = {name: kernel for name, kernel in KERNELS.items() if name.startswith("tritorch.ops.")}


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16], ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("name", sorted(TUNABLE))
def test_default_configs_build(name, dtype):
    kernel = TUNABLE[name]
    launch, known = launch_in_use(kernel, dtype)
    if launch is None and dtype is np.float32:
        return  # a kernel of half precision alone: the other dtype has a launch of it, or fails
    assert launch, f"no op launches {name}"
    sizes = {name: known[name] for name in kernel.sizes} if known else {}
    configs = configs_of(kernel, H200, sizes) if known else []  # else it shares another kernel's
    for config in configs[:: len(configs) // MOST_CONFIGS + 1]:
        what = f"{name}, {np.dtype(dtype).name}, sm_90, {config}"
        knobs = {knob: value for knob, value in config.items() if knob in launch.keywords}  # others set the grid
        build(launch._replace(keywords=launch.keywords | knobs), H200, what)
