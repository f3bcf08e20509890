"""Checkpoints between different numbers of ranks, with sharded tensors and a sharded optimizer's state."""

from __future__ import annotations

import json

from ranks import run_ranks

import tritorch as torch
import tritorch.distributed.checkpoint as dcp

# What both the ranks and this process run: a state of `size` ranks, of which this is `rank`.
COMMON = """
import sys

import tritorch as torch
import tritorch.distributed as dist
import tritorch.distributed.checkpoint as dcp
from tritorch import nn
from tritorch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, get_state_dict
from tritorch.distributed.checkpoint.state_dict import set_optimizer_state_dict, set_state_dict
from tritorch.distributed.shards import Shard, ShardedTensor

def net_of(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 17), nn.ReLU(), nn.Linear(17, 5))

def train(model, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        torch.manual_seed(step)
        model(torch.randn(4, 6)).square().sum().backward()
        optimizer.step()

rows, flat = torch.arange(77).to(torch.float32).reshape(11, 7), torch.arange(30).reshape(2, 15)

def parts_of(rank, size, scale=1):
    count = -(-11 // size)
    low, high = min(rank * count, 11), min((rank + 1) * count, 11)
    start, end = 30 * rank // size, 30 * (rank + 1) // size
    return {
        "rows": ShardedTensor(rows[low:high] * scale, Shard((11, 7), 7 * low)),
        "flat": ShardedTensor(flat.reshape(-1)[start:end] * scale, Shard((2, 15), start)),
    }

def state_of(model, optimizer, parts, epoch):
    weights, state = get_state_dict(model, optimizer)
    copies = {str(number): torch.full((500,), float(epoch)) for number in range(8)}
    return {"model": weights, "optimizer": state, "parts": parts, "copies": copies, "epoch": epoch}

def check_loaded(folder, rank, size, optimizer_of):
    expected = net_of(1)
    alone = torch.optim.Adam(expected.parameters(), lr=0.01)
    train(expected, alone, 3)
    model = net_of(2)
    optimizer = optimizer_of(model.parameters())
    state = state_of(model, optimizer, parts_of(rank, size, 0), 0)
    dcp.load(state, checkpoint_id=folder)
    for name, part in parts_of(rank, size).items():
        assert torch.equal(state["parts"][name].local, part.local), name
    assert state["epoch"] == 3 and all(each.sum().item() == 1500 for each in state["copies"].values())
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    for steps in (0, 2):
        train(model, optimizer, steps)
        train(expected, alone, steps)
        for own, its in zip(model.parameters(), expected.parameters(), strict=True):
            assert torch.equal(own, its), steps
    return model, optimizer, expected, alone, state
"""

RANKS = """
from tritorch.distributed.optim import ZeroRedundancyOptimizer

dist.init_process_group("mpi")
rank, size, folder = dist.get_rank(), dist.get_world_size(), FOLDER
sharded = lambda params: ZeroRedundancyOptimizer(params, torch.optim.Adam, lr=0.01)
"""

SAVE = """
model = net_of(1)
optimizer = sharded(model.parameters())
train(model, optimizer, 3)
state = state_of(model, optimizer, parts_of(rank, size), 3)
dcp.save(state, checkpoint_id=folder)

# A rank that cannot write: all say so, and what was there stays.
from tritorch.distributed.checkpoint import filesystem
write = filesystem.container.write
def full(*args):
    raise OSError(28, "No space left on device")
filesystem.container.write = full if rank == size - 1 else write
try:
    dcp.save({"epoch": 4}, checkpoint_id=folder)
except dcp.CheckpointException as error:
    assert list(error.failures) == [size - 1] and "No space left" in str(error), error
else:
    raise AssertionError("the save did not fail")
filesystem.container.write = write

# In a thread, over what was there.
future = dcp.async_save(state, checkpoint_id=folder)
for value in (model[0].weight.detach(), state["parts"]["rows"].local):
    value.zero_()
future.result()

# Ranks that do not agree on a shape.
try:
    dcp.save({"w": torch.ones(2 + rank)}, checkpoint_id=folder + ".other")
except ValueError as error:
    assert "'w' is not the same on all ranks" in str(error), error
else:
    raise AssertionError("shapes differ and were saved")
"""

LOAD = """
model, optimizer, expected, alone, state = check_loaded(folder, rank, size, sharded)
assert torch.equal(state["parts"]["rows"].full_tensor(), rows)
assert torch.equal(state["parts"]["flat"].full_tensor(), flat)

# All of the state on every rank, into a plain optimizer.
everything = get_optimizer_state_dict(model, optimizer, options=StateDictOptions(full_state_dict=True))
assert len(everything["state"]) == 4
plain = torch.optim.Adam(model.parameters(), lr=1.0)
set_optimizer_state_dict(model, plain, everything)
train(model, plain, 2)
train(expected, alone, 2)
for own, its in zip(model.parameters(), expected.parameters(), strict=True):
    assert torch.equal(own, its)
"""

END = """
dist.barrier()
print("passed", flush=True)
dist.destroy_process_group()
"""


def on_ranks(n, folder, body):
    found = run_ranks(n, COMMON + RANKS.replace("FOLDER", repr(str(folder))) + body + END, timeout=120)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("passed") == n


def here():
    names: dict = {}
    exec(compile(COMMON, "common", "exec"), names)
    return names


def test_four_ranks_save_and_two_and_one_load(tmp_path):
    on_ranks(4, tmp_path / "c", SAVE)
    found = json.loads((tmp_path / "c" / "metadata.json").read_text())
    assert sorted(found["files"]) == [f"rank{n}.safetensors" for n in range(4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
    copies = [chunk["file"] for n in range(8) for chunk in found["state_dict_metadata"][f"copies.{n}"]["chunks"]]
    assert len(copies) == 8 and len(set(copies)) == 4, "copies are written once, by several ranks"
    here()["check_loaded"](tmp_path / "c", 0, 1, lambda params: torch.optim.Adam(params, lr=0.01))
    on_ranks(2, tmp_path / "c", LOAD)


def test_one_process_saves_and_four_ranks_load(tmp_path):
    names = here()
    model = names["net_of"](1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    names["train"](model, optimizer, 3)
    dcp.save(names["state_of"](model, optimizer, names["parts_of"](0, 1), 3), checkpoint_id=tmp_path / "c")
    on_ranks(4, tmp_path / "c", LOAD)
