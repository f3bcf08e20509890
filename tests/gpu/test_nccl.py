"""NCCL with one rank on a GPU: every collective, and DistributedDataParallel, against what one process computes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
import tritorch.distributed as dist
from tritorch import nn
from tritorch.distributed.nccl_library import is_nccl_available
from tritorch.runtime.cuda import driver

pytestmark = [
    pytest.mark.skipif(not driver.is_available(), reason=f"no GPU: {driver.why_not()}"),
    pytest.mark.skipif(not is_nccl_available(), reason="no NCCL: pip install 'tritorch[nccl]'"),
]

DTYPES = [
    torch.uint8, torch.int8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.bool,
]  # fmt: skip


RANKS = Path(__file__).parent.parent / "stub" / "nccl_ranks.py"


def test_the_engine_as_on_the_stub(tmp_path):
    """All dtypes and reductions, fp8 too: what tests/stub checks of several ranks, here of one."""
    environment = os.environ | {"RANK": "0", "WORLD_SIZE": "1", "STORE": str(tmp_path)}
    command = [sys.executable, "-W", "error", str(RANKS), "collectives"]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def world():
    dist.init_process_group("nccl", device_id=torch.device("cuda:0"))
    yield
    dist.destroy_process_group()


def numbers(dtype, count=1000):
    return (torch.arange(count) % 5 - 2).to(dtype).to("cuda")


def same(found, expected):
    assert found.dtype is expected.dtype and torch.equal(found.cpu(), expected.cpu())


@pytest.mark.parametrize("op", ["SUM", "PRODUCT", "MIN", "MAX", "AVG"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reductions(dtype, op, world):
    if op == "AVG" and dtype is torch.bool:
        with pytest.raises(ValueError, match=r"Cannot use ReduceOp\.AVG with Boolean inputs"):
            dist.all_reduce(numbers(dtype), dist.ReduceOp.AVG)
        return
    op, x, expected = dist.ReduceOp[op], numbers(dtype), numbers(dtype)
    dist.all_reduce(x, op)
    same(x, expected)
    dist.reduce(x, 0, op)
    same(x, expected)
    out = torch.empty_like(x)
    dist.reduce_scatter_tensor(out, x, op)
    same(out, expected)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.int16], ids=str)
def test_moves(dtype, world):
    x, expected = numbers(dtype), numbers(dtype)
    dist.broadcast(x, 0)
    same(x, expected)
    for call in (
        dist.all_gather_into_tensor,
        lambda out, x: dist.all_gather([out], x),
        lambda out, x: dist.gather(x, [out], 0),
        lambda out, x: dist.scatter(out, [x], 0),
        dist.all_to_all_single,
        lambda out, x: dist.all_to_all([out], [x]),
    ):
        out = torch.zeros_like(x)
        call(out, x)
        same(out, expected)
    dist.barrier()


def test_a_collective_waits_for_the_stream_that_makes_its_tensor_and_is_waited_for(world):
    """A chain of products and sums with no waiting of the host between them, many times over."""
    torch.manual_seed(0)
    x = torch.randn(1024, 1024, device="cuda") / 32
    expected = x.clone()
    for _ in range(20):
        expected = torch.tanh(expected @ x)
    found = x.clone()
    for _ in range(20):
        found = torch.tanh(found @ x)
        work = dist.all_reduce(found, async_op=True)
        filler = torch.zeros(1024, 1024, device="cuda")  # would take memory that is in use, if it was free too early
        work.wait()
        del filler
    assert torch.equal(found, expected)


def test_memory_is_not_reused_while_a_collective_reads_it(world):
    for step in range(50):
        works = [dist.all_reduce(torch.full((1 << 20,), step, device="cuda"), async_op=True) for _ in range(4)]
        outs = [torch.full((1 << 20,), -1.0, device="cuda") for _ in range(4)]
        for work in works:
            work.wait()
        assert all(bool((out == -1).all()) for out in outs)


def test_ddp_trains_as_one_process(world):
    def trained(wrap):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)).to("cuda")
        model = nn.parallel.DistributedDataParallel(model, device_ids=[0]) if wrap else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, labels = torch.randn(16, 32, device="cuda"), torch.arange(16, device="cuda") % 10
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
        return [each.detach().cpu().numpy() for each in model.parameters()]

    for found, expected in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(found, expected, *tolerance("float32"))
