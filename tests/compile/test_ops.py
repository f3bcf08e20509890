"""Compile tier: every kernel of every op builds for three GPU generations, fits their shared memory and does not spill.

Ops run on the interpreter device with their launches noted instead of carried out, and with configs chosen as for a GPU:
what is compiled is what that GPU would be asked to run.
"""

from __future__ import annotations

import dataclasses
import itertools

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import DeviceInfo, TunableKernel
from tritorch.ops.base import TABLE
from tritorch.runtime import transfer
from tritorch.runtime.binding import OPTIONS, binder_of, checked_grid
from tritorch.runtime.compile import SHARED_MEMORY, compile_values, resources
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import materialise, recording_launches
from tritorch.runtime.language import triton_missing
from tritorch.runtime.launcher import class_of, tag_of
from tritorch.validation import call_on, samples_of

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

A100 = DeviceInfo("cuda", 108, SHARED_MEMORY[80], 80)
H200 = DeviceInfo("cuda", 132, SHARED_MEMORY[90], 90)
B200 = DeviceInfo("cuda", 148, SHARED_MEMORY[100], 100)
# Every sample of an op in float32 for one GPU; elsewhere one launch for each set of constants: alignment and
# divisibility of sizes change addressing, which does not depend on the dtype or the GPU.
MATRIX = (
    (H200, np.float32, True),
    (H200, ml_dtypes.bfloat16, False),
    (H200, np.float64, False),
    (A100, np.float32, False),
    (B200, np.float32, False),
)
SIZES = (1, 48, 1000, 4096, 1 << 17, 1 << 24)  # what defaults are asked for beyond the samples


@pytest.fixture
def pretend(monkeypatch):
    """Gives a function that makes configs be chosen as for a GPU; results of launches that do not happen are zeros."""
    monkeypatch.setattr(transfer, "empty_on_host", np.zeros)
    materialise()

    def choose(device):
        monkeypatch.setattr(TunableKernel, "config", lambda kernel, array, **sizes: kernel.config_for(device, **sizes))

    return choose


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


def key_of(launch, device, every):
    """What tells launches apart that have to be compiled separately; without `every`, types and constants only."""
    values, options = bound(launch)
    parts = [(each, tag_of(each)) if parameter.is_constexpr else dtypes_in(each) if not every else specialised(each)
             for parameter, each in zip(launch.kernel.params, values, strict=True)]  # fmt: skip
    return id(launch.kernel), device.capability, *parts, *options.values()


def dtypes_in(value):
    """The types of an argument, whatever its value."""
    if isinstance(value, tuple):
        return tuple(map(dtypes_in, value))
    return value.dtype if isinstance(value, np.ndarray) else type(value)


def specialised(value):
    """What the compiler is told of an argument."""
    if isinstance(value, tuple):
        return tuple(map(specialised, value))
    return (value.dtype, value.ctypes.data % 16 == 0) if isinstance(value, np.ndarray) else class_of(value)


def build(launch, device, what):
    """Compile a launch for `device` and hold its resources against what the device has."""
    values, options = bound(launch)
    checked_grid(launch.kernel, launch.grid if isinstance(launch.grid, tuple) else (launch.grid,))
    try:
        used = resources(compile_values(launch.kernel, values, options, device.capability))
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__}: {error}\n" + "\n".join(getattr(error, "__notes__", ())))
    assert used.shared_memory <= device.shared_memory, f"{what}: {used.shared_memory} bytes of shared memory"
    assert not used.spills, f"{what}: spills {used.spills} bytes, at {used.registers} registers"


built: set = set()  # in this process; others find the same kernels in Triton's own cache


@pytest.mark.parametrize("name", sorted(TABLE))
def test_kernels_build(name, pretend):
    for device, dtype, every in MATRIX:
        pretend(device)
        for number, launch in launches_of(TABLE[name], dtype):
            key = key_of(launch, device, every)
            if key not in built:
                built.add(key)
                kind = np.dtype(dtype).name
                what = f"{name}, {kind}, sample {number}, sm_{device.capability}, {launch.kernel.__name__}"
                build(launch, device, what)
