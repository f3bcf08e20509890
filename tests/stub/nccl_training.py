"""What check_nccl.py runs on every rank through the public names: collectives, objects, groups, training."""

from __future__ import annotations

import copy
import ctypes
import os

import bridge

import tritorch as torch
from tritorch import distributed as dist
from tritorch import nn
from tritorch.nn.functional import cross_entropy
from tritorch.nn.parallel import DistributedDataParallel

ctypes.CDLL(os.environ["STUB_NCCL"], ctypes.RTLD_GLOBAL)  # before a library of the package index is found
bridge.install()
dist.init_process_group("nccl")
rank, size = dist.get_rank(), dist.get_world_size()
assert dist.get_backend() == "nccl" and dist.is_nccl_available()

value = torch.full((5,), float(rank + 1), device="cuda")
dist.all_reduce(value)
assert value.tolist() == [size * (size + 1) / 2] * 5
dist.broadcast(value.fill_(rank), size - 1)
assert value.tolist() == [size - 1] * 5
gathered = torch.empty(2 * size, device="cuda")
dist.all_gather_into_tensor(gathered, torch.tensor([rank, -rank], dtype=torch.float32, device="cuda"))
assert gathered.tolist() == [sign * each for each in range(size) for sign in (1, -1)]
part = torch.empty(2, device="cuda")
dist.reduce_scatter_tensor(part, torch.arange(2.0 * size, device="cuda"))
assert part.tolist() == [size * 2.0 * rank, size * (2.0 * rank + 1)]
dist.barrier()
found = [None] * size
dist.all_gather_object(found, {"rank": rank})
assert found == [{"rank": each} for each in range(size)]
alone = dist.new_group([0])
if rank == 0:
    dist.all_reduce(value, group=alone)
    assert value.tolist() == [size - 1] * 5

torch.manual_seed(0)
start = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).cuda()
inputs, targets = torch.randn(4 * size, 5, device="cuda"), torch.randint(0, 3, (4 * size,), device="cuda")
mine = slice(4 * rank, 4 * rank + 4)
for options in ({}, {"bucket_cap_mb": 1e-5}, {"gradient_as_bucket_view": True}):
    whole, own = copy.deepcopy(start), copy.deepcopy(start)
    if rank:
        for each in own.parameters():
            each.data.fill_(1)
    ranked = DistributedDataParallel(own, device_ids=[torch.cuda.current_device()], **options)
    optimizers = [torch.optim.AdamW(each.parameters(), 0.01) for each in (whole, ranked)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        cross_entropy(whole(inputs), targets).backward()
        cross_entropy(ranked(inputs[mine]), targets[mine]).backward()
        for expected, given in zip(whole.parameters(), ranked.parameters(), strict=True):
            assert (expected.grad - given.grad).abs().max() <= 1e-6 * max(1, expected.grad.abs().max()), options
        for optimizer in optimizers:
            optimizer.step()
dist.destroy_process_group()
