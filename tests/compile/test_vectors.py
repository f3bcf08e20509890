"""Compile tier: memory is read and written 16 bytes at a time, in as few launches as promised, without divisions."""

from __future__ import annotations

import re
from math import prod

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending
from tritorch.ops.base import TABLE
from tritorch.runtime import transfer
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import compile_values
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import materialise, recording_launches
from tritorch.runtime.language import triton_missing
from tritorch.validation import call_on

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

FLOAT, HALF = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)


def empty(shape, dtype):
    """An array that nothing is read from, at an address that loads of 16 bytes are aligned to."""
    whole = np.empty(prod(shape) * np.dtype(dtype).itemsize + 16, np.uint8)
    start = -whole.ctypes.data % 16
    return whole[start : start + len(whole) - 16].view(dtype).reshape(shape)


@pytest.fixture(autouse=True)
def _aligned(monkeypatch):
    monkeypatch.setattr(transfer, "empty_on_host", empty)
    materialise()


def programs_of(op, *args):
    """The PTX of each launch that a call makes on an H200."""
    with pretending(generation(90)), recording_launches(run=False) as launches:
        call_on(TABLE[op], args, INTERPRETER)
    return [compile_values(each.kernel, *binder_of(each.kernel)(*each.args, **each.keywords), 90).asm["ptx"]
            for each in launches]  # fmt: skip


def widths(ptx, kind):
    """How many bits each load ("ld") or store ("st") of global memory moves."""
    found = re.findall(rf"{kind}\.global(?:\.[\w:]+)*?(?:\.v(\d))?\.[bsuf](\d+)", ptx)
    return {int(count or 1) * int(bits) for count, bits in found}


def divisions(ptx):
    return len(re.findall(r"\b(?:div|rem)\.[su]\d+", ptx))


CASES = {
    "same": ("add", lambda kind: (empty((1 << 20,), kind), empty((1 << 20,), kind)), {128}, 0),
    "bias": ("add", lambda kind: (empty((1024, 1024), kind), empty((1, 1024), kind)), None, 2),
    "channels": ("relu", lambda kind: (empty((64, 2, 3136), kind)[:, 0],), {128}, 2),
    "turned": ("add", lambda kind: (empty((1024, 1024), kind), empty((1024, 1024), kind).T), {128}, 2),
    "copied": ("clone", lambda kind: (empty((1024, 1024), kind).T, (1024, 1)), {128}, 2),
    "small rows": ("relu", lambda kind: (empty((4096, 128), kind)[:, :64],), {128}, 2),
}


@pytest.mark.parametrize("kind", [FLOAT, HALF], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_pointwise_walks(name, kind):
    op, make, loads, most = CASES[name]
    (ptx,) = programs_of(op, *make(kind))
    assert widths(ptx, "st") == {128}
    assert 128 in widths(ptx, "ld") and (loads is None or widths(ptx, "ld") == loads)
    assert divisions(ptx) <= most  # of the number of a tile, not of an element


def test_bytes_are_moved_by_16_and_an_odd_count_too():
    (ptx,) = programs_of("logical_not", empty((1 << 22,), np.bool_))
    assert widths(ptx, "ld") == widths(ptx, "st") == {128}
    (ptx,) = programs_of("relu", empty(((1 << 20) + 1,), FLOAT))
    assert widths(ptx, "ld") == widths(ptx, "st") == {32, 128}  # all blocks but the last


ROWS = {  # launches of a reduction or scan, by shape and dimension
    "sum": {((1 << 24,), None): 2, ((4096, 4096), 1): 1, ((4096, 4096), 0): 2, ((1 << 18, 64), 0): 2},
    "linalg_vector_norm": {((1 << 22,), None): 2},
    "var_mean": {((1 << 22,), None): 2, ((4096, 4096), 1): 1},
    "log_sum_exp": {((4096, 4096), 1): 1},
    "cumsum": {((1 << 22,), 0): 3, ((4096, 4096), 1): 1},
}
REST = {
    "sum": lambda dim: (dim, False, None), "linalg_vector_norm": lambda dim: (2.0, dim, False),
    "var_mean": lambda dim: (dim, False, 1.0), "log_sum_exp": lambda dim: (dim, False),
    "cumsum": lambda dim: (dim, None, False),
}  # fmt: skip


@pytest.mark.parametrize("kind", [FLOAT, HALF], ids=str)
@pytest.mark.parametrize(("op", "shape", "dim"), [(op, *case) for op, cases in ROWS.items() for case in cases])
def test_rows_are_read_by_16_bytes_in_few_launches(op, shape, dim, kind):
    programs = programs_of(op, empty(shape, kind), *REST[op](dim))
    assert len(programs) == ROWS[op][shape, dim]
    assert 128 in widths(programs[0], "ld")
    assert max(widths(programs[0], "ld")) == min(widths(programs[0], "ld"))
