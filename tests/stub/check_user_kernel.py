"""A user's own kernel on device="cuda": Tensors, arrays of other libraries, and configs by alignment and device."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import tritorch
from tritorch import autotune
from tritorch.autotune.tunable import noting_configs, using
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


def blocks(meta):
    return (autotune.cdiv(meta["n"], meta["BLOCK"]),)


@autotune.kernel(
    space={"BLOCK": autotune.powers(64, 1024), "num_warps": (1, 4)}, key=("n",), grid=blocks,
    default=lambda device, n: {"BLOCK": 128 if device.kind == "cuda" else 1024, "num_warps": 4},
    inputs=lambda draw, n=1000: (draw(n), draw(n), np.empty(n, draw.dtype), n),
    reference=lambda x, y: {"out": x + y},
)  # fmt: skip
def add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < n) + tl.load(y + at, mask=at < n), mask=at < n)


def tensors(n=1000):
    return tritorch.ones(n, device="cuda"), tritorch.zeros(n, device="cuda")


def test_tensors_are_launched_where_they_are(interpreted):
    x, out = tensors()
    with recording_launches() as launches:
        add[blocks](x, x, out, 1000)
        add[blocks](x, out, out, 1000, BLOCK=64)
    assert out.sum().item() == 3000
    assert [launch.grid for launch in launches] == [(8,), (16,)]


def test_arrays_of_other_libraries_stand_for_their_memory(interpreted):
    x, out = tensors()
    described = {"shape": (1000,), "typestr": "<f4", "data": (out.data_ptr(), False), "version": 3, "strides": None}
    add[blocks](x, x, SimpleNamespace(__cuda_array_interface__=described), 1000)
    assert out.sum().item() == 2000


def test_alignment_is_in_the_key(interpreted):
    x, out = tensors()
    with noting_configs() as asked:
        add[blocks](x, x, out, 900)
        add[blocks](x[1:], x, out, 900)
    assert [each.key.arrays for each in asked] == [("float32",) * 3, ("float32 unaligned", "float32", "float32")]
    with using(add, asked[1].key, {"BLOCK": 512, "num_warps": 1}), recording_launches() as launches:
        for _ in range(2):  # the second time without asking
            add[blocks](x, x, out, 900)
            add[blocks](x[1:], x, out, 900)
    assert [launch.keywords["BLOCK"] for launch in launches] == [128, 512] * 2


def test_the_same_kernel_runs_on_the_host_in_between(interpreted):
    x, out = np.ones(1000, np.float32), np.zeros(1000, np.float32)
    there = *tensors(), tensors()[1]
    with recording_launches() as launches:
        add[blocks](x, x, out, 1000)
        add[blocks](*there, 1000)
    assert out.sum() == 2000
    assert [launch.grid for launch in launches] == [(1,), (8,)]
