"""Attention at the sizes of the benchmark: its instructions on Hopper, that it fits and that nothing spills."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending
from tritorch.ops.base import TABLE
from tritorch.runtime import transfer
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import compile_values, resources, spilled
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import materialise, recording_launches
from tritorch.runtime.language import triton_missing
from tritorch.validation import call_on

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

HOPPER = generation(90)
STORING = ["flash_begin_kernel", "flash_key_kernel", "flash_product_kernel"]


def launches(device, width, length, causal, group=1):
    """What both directions would launch on a GPU for bfloat16."""

    def zeros(heads):
        return np.zeros((1, heads, length, width), ml_dtypes.bfloat16)

    query, key, settings = zeros(2 * group), zeros(2), (0.0, causal, width**-0.5, 0, 0)
    sums = np.zeros(query.shape[:3], np.float32)
    with pretending(device), recording_launches(run=False) as found:
        call_on(TABLE["attention"], (query, key, key, None, *settings), INTERPRETER)
        call_on(TABLE["attention_backward"], (query, None, query, key, key, None, query, sums, *settings), INTERPRETER)
    return found


@pytest.fixture(autouse=True)
def _results(monkeypatch):
    monkeypatch.setattr(transfer, "empty_on_host", np.zeros)
    materialise()


def compiled(launch, device):
    """The PTX of a launch, held against what the device has."""
    values, options = binder_of(launch.kernel)(*launch.args, **launch.keywords)
    made = compile_values(launch.kernel, values, options, device.capability)
    used = resources(made)
    what = f"{launch.kernel.__name__}, {device.name}: {used}"
    assert used.shared_memory <= device.shared_memory, what
    assert not spilled(used.registers, used.spills, used.num_warps), what
    assert launch.keywords.get("maxnreg") is None or not used.spills, what
    return made.asm["ptx"]


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize(("width", "length", "group"), [(64, 2048, 1), (128, 2048, 1), (128, 2048, 4), (128, 500, 4)])
def test_tensor_cores_and_bulk_copies_without_spills(width, length, group, causal):
    found = launches(HOPPER, width, length, causal, group)
    backward = STORING if length >= 512 else ["flash_query_kernel", "flash_key_kernel"]
    assert [each.kernel.__name__ for each in found] == ["flash_kernel", *backward]
    first = found[0]
    specialized = {"ROWS": 128, "COLUMNS": 128, "num_warps": 4, "maxnreg": None, "SPECIALIZED": True}
    for launch in (*found, first._replace(keywords=first.keywords | specialized | {"EVEN": length % 128 == 0})):
        text, name = compiled(launch, HOPPER), launch.kernel.__name__
        if name != "flash_begin_kernel":
            assert "wgmma.mma_async" in text and "cp.async.bulk.tensor" in text, name
        else:
            assert "ld.global.v4" in text
        if name == "flash_key_kernel" and length >= 512:
            assert "cp.async.bulk.tensor.2d.global.shared" in text  # slopes leave by the copy engine


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("device", [generation(80), generation(100)], ids=lambda device: device.name)
def test_stored_slopes_elsewhere(device, width, causal):
    found = launches(device, width, 2048, causal)
    assert [each.kernel.__name__ for each in found[1:]] == STORING
    for launch in found[1:]:
        compiled(launch, device)
