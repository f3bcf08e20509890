"""Sharded checkpoints of tensors on a GPU: written from it, read into it, copied before a save that goes on beside."""

from __future__ import annotations

import pytest

import tritorch as torch
import tritorch.distributed.checkpoint as dcp
from tritorch.distributed.shards import Shard, ShardedTensor
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@pytest.fixture(autouse=True)
def everywhere(interpreted):
    """Kernels make the values."""


def state_of(value, device="cuda"):
    turned = torch.arange(12).to(torch.float32).reshape(3, 4).to(device).T * value
    part = ShardedTensor(torch.full((5,), value, device=device), Shard((5,), 0))
    return {"turned": turned, "half": torch.full((7,), value, device=device).to(torch.bfloat16), "part": part}


def check(state, value):
    expected = state_of(value, "cpu")
    for name in ("turned", "half"):
        assert torch.equal(state[name].cpu(), expected[name]), name
    assert torch.equal(state["part"].local.cpu(), expected["part"].local)


def test_from_a_gpu_and_into_it(tmp_path):
    dcp.save(state_of(2.0), checkpoint_id=tmp_path / "c")
    for device in ("cuda", "cpu"):
        state = state_of(0.0, device)
        dcp.load(state, checkpoint_id=tmp_path / "c")
        check(state, 2.0)
        assert state["turned"].device.type == device


def test_async_save_copies_first(tmp_path):
    state = state_of(2.0)
    future = dcp.async_save(state, checkpoint_id=tmp_path / "c")
    for each in (state["turned"], state["half"], state["part"].local):
        each.zero_()
    future.result()
    state = state_of(0.0)
    dcp.load(state, checkpoint_id=tmp_path / "c")
    check(state, 2.0)
