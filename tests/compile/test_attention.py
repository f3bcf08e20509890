"""Decoding and packed sequences at the sizes of the benchmark: within shared memory and registers, by tensor cores."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import noting_configs, pretending
from tritorch.ops.base import TABLE
from tritorch.runtime import precision, transfer
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import compile_values, resources, spilled
from tritorch.runtime.kernel import materialise, recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

DEVICES = [generation(each) for each in (80, 90, 100)]
PRODUCTS = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma"}


@pytest.fixture(autouse=True)
def _results(monkeypatch):
    monkeypatch.setattr(transfer, "empty_on_host", np.zeros)
    materialise()


def zeros(*shape):
    return np.zeros(shape, ml_dtypes.bfloat16)


def compiled(launches, device):
    """What launches compile to, by the names of their kernels, held against what the device has."""
    found = {}
    for launch in launches:
        made = compile_values(
            launch.kernel, *binder_of(launch.kernel)(*launch.args, **launch.keywords), device.capability
        )
        used, name = resources(made), launch.kernel.__name__
        assert used.shared_memory <= device.shared_memory, f"{name}: {used.shared_memory} bytes of shared memory"
        lost = spilled(used.registers, used.spills, used.num_warps)
        assert not lost, f"{name}, sm_{device.capability}: spills {lost} bytes at {used.registers} registers"
        found[name] = made.asm["ptx"]
    return found


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_decoding(device):
    """Loads of keys are in flight while others are used, whatever the number of queries."""
    for heads, masked in ((32, False), (8, True)):
        mask = np.zeros((1, heads, 1, 16384), bool) if masked else None
        with pretending(device), noting_configs() as asked, recording_launches(run=False) as launches:
            TABLE["attention"]().forward(
                zeros(1, heads, 1, 128), *(zeros(1, 8, 16384, 128) for _ in range(2)), mask, 0.0, False, 0.1, 0, 0
            )
        text = compiled(launches, device)["split_kernel"]
        assert "mma.sync" in text and "cp.async.cg" in text
        (parts,) = {each.config["PARTS"] for each in asked if "PARTS" in each.config}
        assert device.sms < parts * 8 <= 4 * device.sms  # programs for all of the GPU, in about one wave


@pytest.mark.parametrize("exactness", ["highest", "high"])
@pytest.mark.parametrize("device", DEVICES[:2], ids=lambda device: device.name)
def test_float32_is_rounded_where_that_is_allowed(device, exactness, monkeypatch):
    """In both directions, decoding and packed sequences: tensor cores by tf32, or no tensor cores at all."""
    monkeypatch.setattr(precision, "_chosen", exactness)
    x, sums, starts = np.zeros((1, 2, 256, 64), np.float32), np.zeros((1, 2, 256), np.float32), np.arange(3) * 128
    settings, packed = (0.0, True, 0.125, 0, 0), (x[0].swapaxes(0, 1).copy(),) * 3
    windows = *[starts.astype(np.int32)] * 2, 128, 128, -1, 0, 0.125
    with pretending(device), recording_launches(run=False) as launches:
        TABLE["attention"]().forward(x, x, x, None, *settings)
        TABLE["attention_backward"]().forward(x, None, x, x, x, None, x, sums, *settings)
        TABLE["attention"]().forward(x[:, :, :1], x, x, None, 0.0, False, *settings[2:])
        output, log_sum = TABLE["varlen_attention"]().forward(*packed, *windows)
        TABLE["varlen_attention_backward"]().forward(
            packed[0], None, *packed, *windows[:2], output, log_sum, *windows[2:]
        )
    found = compiled(launches, device)
    joining = {"join_kernel"} & found.keys()  # adds what parts of the keys gave
    assert len(found) - len(joining) == 7
    for name in found.keys() - joining:
        rounds = "tf32" in found[name] and "mma" in found[name]
        assert rounds == (exactness == "high"), name


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_packed_sequences(device):
    starts = np.arange(5, dtype=np.int32) * 1024
    query, keys = zeros(4096, 8, 128), [zeros(4096, 2, 128) for _ in range(2)]
    packed, settings = (query, *keys, starts, starts), (1024, 1024, -1, 0, 0.1)
    with pretending(device), recording_launches(run=False) as launches:
        output, log_sum = TABLE["varlen_attention"]().forward(*packed, *settings)
        TABLE["varlen_attention_backward"]().forward(query, None, *packed, output, log_sum, *settings)
    found = compiled(launches, device)
    assert len(found) == 3
    for name, text in found.items():
        assert PRODUCTS[device.capability] in text, name
