"""Plans on device="cuda" of the stub: what is replayed gives what the call gave, and what cannot be is not.

Launches are interpreted, also those of plans: with the very pointers and numbers that a plan hands to the driver.
"""

from __future__ import annotations

import os
import zlib
from importlib import import_module

import numpy as np
import pytest

from tritorch.ops.base import TABLE
from tritorch.ops.draw import Draw
from tritorch.runtime import plans, transfer
from tritorch.runtime.device import Device
from tritorch.runtime.language import triton_missing
from tritorch.validation import on_device

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

dispatch = import_module("tritorch.autograd.apply")  # the module, whose name its function has
CUDA = Device("cuda", 0)
SAMPLES = 5  # of each op, at most
part, parts = map(int, os.environ.get("STUB_PART", "0/1").split("/"))  # several processes share the ops


@pytest.fixture(autouse=True)
def on_the_stub(compiled_once, interpreted, monkeypatch):
    """A plan that ends with an error is dropped, and its call runs again: none may need that, unless a test says so."""

    def drop(signature, error):
        raise error

    monkeypatch.setattr(dispatch, "drop", drop)
    plans.invalidate()


class Counted(dict):
    """Plans by signature, which note in `done` what they replay."""

    def __init__(self):
        self.done = []

    def __setitem__(self, signature, plan):
        def counted(*values):
            self.done.append(signature[0].op_name)
            return plan(*values)

        super().__setitem__(signature, counted)


@pytest.fixture
def replayed(monkeypatch):
    """The names of the ops whose calls plans have answered, one for each call."""
    ready = Counted()
    monkeypatch.setattr(plans, "ready", ready)
    monkeypatch.setattr(dispatch, "plans", ready)
    return ready.done


def drawn(op, turn):
    """Samples of an op: the same ones, with other numbers at each turn."""
    return list(op.samples(Draw(np.float32, zlib.crc32(op.op_name.encode()) + turn)))[:SAMPLES]


def on_host(results):
    """Arrays of a GPU, one or several, as NumPy arrays; None stays."""
    results = results if isinstance(results, tuple) else (results,)
    return [each if each is None else transfer.to_host(getattr(each, "array", each)) for each in results]


def by_apply(op, args):
    """Through dispatch, which replays where it can."""
    return on_host(op.apply(*args, CUDA) if op.creates else op.apply(*args))


def by_forward(op, args):
    """The same without dispatch: every launch anew."""
    values = [getattr(each, "array", each) for each in args]
    run = op.reference if op.views else op().forward
    return on_host(run(*values, CUDA) if op.creates else run(*values))


def same(mine, true):
    """Whether two lists of arrays are the same bits."""
    pairs = list(zip(mine, true, strict=True))
    return all(a is b or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()) for a, b in pairs)


@pytest.mark.parametrize("name", sorted(TABLE)[part::parts])
def test_every_op(name, replayed):
    """A call, the one that is noted and a replay, each on other numbers in other memory, bit by bit."""
    op, kept = TABLE[name], []
    for turn in range(3):
        for number, sample in enumerate(drawn(op, turn)):
            sample = [np.asarray(each) if isinstance(each, np.generic) else each for each in sample]
            ours, theirs = ([on_device(each, CUDA) for each in sample] for _ in range(2))
            kept.append(ours)
            assert same(by_apply(op, ours), by_forward(op, theirs)), f"sample {number}, turn {turn}"
