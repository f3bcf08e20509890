"""GPU tier: the same samples on the device; memory, streams. Skipped without a GPU, with the reason."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import tritorch
from tritorch.ops.base import TABLE
from tritorch.runtime import dtypes
from tritorch.runtime.cuda import driver
from tritorch.validation import check_op, depends_on_dtype

pytestmark = pytest.mark.skipif(not driver.is_available(), reason=f"no GPU: {driver.why_not()}")


def report(findings):
    wrong = [str(finding) for finding in findings if not finding.ok]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_kernel_against_reference(name):
    report(check_op(name, "cuda", np.float32))


@pytest.mark.parametrize("kind", [dtypes.bfloat16.numpy, dtypes.float16.numpy, dtypes.float64.numpy], ids=str)
@pytest.mark.parametrize("name", sorted(filter(lambda name: depends_on_dtype(TABLE[name]), TABLE)))
def test_kernel_in_other_dtypes(name, kind):
    report(check_op(name, "cuda", kind, gradients=False))


def test_memory_is_reused_and_counted():
    tritorch.cuda.reset_peak_memory_stats()
    before = tritorch.cuda.memory_allocated()
    x = tritorch.zeros(1 << 20, device="cuda")
    assert tritorch.cuda.memory_allocated() >= before + (4 << 20)
    place = x.data_ptr()
    del x
    assert tritorch.cuda.memory_allocated() == before
    assert tritorch.zeros(1 << 20, device="cuda").data_ptr() == place


def test_streams_and_events_order_work():
    start, end = tritorch.cuda.Event(enable_timing=True), tritorch.cuda.Event(enable_timing=True)
    start.record()
    with tritorch.cuda.stream(tritorch.cuda.Stream()):
        y = tritorch.ones(1024, device="cuda") * 2
    tritorch.cuda.synchronize()
    end.record()
    end.synchronize()
    assert start.elapsed_time(end) >= 0
    assert y.sum().item() == 2048


def test_an_index_out_of_range_stops_the_kernel_when_debugging():
    code = (
        "import tritorch as torch; x = torch.arange(4.0, device='cuda')\n"
        "x.gather(0, torch.tensor([0, 9], device='cuda')); torch.cuda.synchronize()"
    )
    for debug, fails in (("1", True), ("0", False)):
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False,
            env={**os.environ, "TRITORCH_DEBUG": debug},
        )  # fmt: skip
        assert (found.returncode != 0) == fails, found.stderr
        assert ("assert" in found.stderr) == fails
