"""Products on device="cuda": by descriptors or in parts, bound, packed and interpreted, and replayed from plans."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tritorch.ops.matrix import launch
from tritorch.ops.matrix.descriptor_kernel import descriptor_kernel
from tritorch.ops.matrix.epilogue import sum_parts_kernel
from tritorch.runtime import launcher
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


def on_gpu(*shape):
    return torch.tensor(np.random.default_rng(sum(shape)).standard_normal(shape), dtype=torch.float16, device="cuda")


CASES = {
    "whole": (descriptor_kernel, lambda: (on_gpu(200, 64), on_gpu(64, 136))),
    "transposed": (descriptor_kernel, lambda: (on_gpu(64, 200).T, on_gpu(136, 64).T)),
    "batched": (descriptor_kernel, lambda: (on_gpu(3, 72, 64), on_gpu(3, 64, 88))),
    "parts": (sum_parts_kernel, lambda: (on_gpu(8, 8192), on_gpu(8192, 24))),
}


@pytest.mark.parametrize("case", CASES)
def test_three_calls_agree(case, compiled_once, interpreted, monkeypatch):
    monkeypatch.setattr(launch, "WORTH_DESCRIBING", 0)
    kernel, operands = CASES[case]
    for _ in range(3):  # the second is noted, the third replayed
        a, b = operands()
        expected = a.cpu().numpy().astype(np.float32) @ b.cpu().numpy().astype(np.float32)
        np.testing.assert_allclose((a @ b).cpu().numpy(), expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    entries = launcher.entries(kernel)
    assert entries
    assert bool(entries[0].metadata.global_scratch_size) == (kernel is descriptor_kernel)


def test_a_scaled_sum_is_one_launch(compiled_once, interpreted, monkeypatch):
    monkeypatch.setattr(launch, "WORTH_DESCRIBING", 0)
    x, a, b = on_gpu(200, 136), on_gpu(200, 64), on_gpu(64, 136)
    with recording_launches() as launches:
        found = torch.addmm(x, a, b, beta=2, alpha=0.5)
    assert [each.kernel for each in launches] == [descriptor_kernel]
    x, a, b = (each.cpu().numpy().astype(np.float32) for each in (x, a, b))
    np.testing.assert_allclose(found.cpu().numpy(), 2 * x + 0.5 * (a @ b), rtol=2e-3, atol=0.1)
