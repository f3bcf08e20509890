"""What a step holds at once on device="cuda" of the stub, against what PyTorch's step of the same net holds."""

from __future__ import annotations

import gc

import peak_nets
import pytest

import tritorch as torch
from tritorch.runtime.cuda import memory
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(autouse=True)
def more_memory(monkeypatch):
    monkeypatch.setenv("STUB_MEMORY", str(1 << 30))


@pytest.mark.parametrize("case", peak_nets.PEAKS, ids="-".join)
def test_a_step_holds_no_more_than_pytorchs(case):
    gc.collect()
    step = peak_nets.step_of(torch, *case, "cuda")
    for _ in range(3):
        step()
    gc.collect()
    before = memory.memory_allocated()
    memory.reset_peak_memory_stats()
    step()
    peak = memory.max_memory_allocated() - before
    assert 0.2 * peak_nets.PEAKS[case] < peak <= 1.1 * peak_nets.PEAKS[case]
    assert memory.memory_allocated() == before
