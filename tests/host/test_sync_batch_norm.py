"""SyncBatchNorm on ranks with batches of different sizes: BatchNorm on all of them together."""

from __future__ import annotations

from pathlib import Path

import pytest
from ranks import run_ranks

import tritorch as torch
import tritorch.distributed as dist
from tritorch import nn

START = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
"""

CHECKS = """
import numpy as np
import plain_ranks
import tritorch as torch
import tritorch.distributed as dist
from tritorch import nn

plain_ranks.start()
rank, size = dist.get_rank(), dist.get_world_size()
ERROR = {torch.float64: 1e-10, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}

def near(found, expected, dtype, what):
    found, expected = found.detach().cpu().double().numpy(), expected.detach().numpy()
    assert found.shape == expected.shape, what
    off = np.abs(found - expected).max(initial=0) / max(1, np.abs(expected).max(initial=0))
    assert off <= ERROR[dtype], (what, dtype, off)

def draw(shape, seed):
    return torch.tensor(np.random.default_rng(seed).normal(0.5, 1, shape))

def pair(make, channels, dtype, device="cpu", **options):
    '''BatchNorm in float64 and SyncBatchNorm of the same numbers.'''
    plain = make(channels, dtype=torch.float64, **options)
    if plain.affine:
        with torch.no_grad():
            plain.weight.copy_(draw((channels,), 1).to(dtype))
            if plain.bias is not None:
                plain.bias.copy_(draw((channels,), 2).to(dtype))
    sync = nn.SyncBatchNorm(channels, dtype=dtype, device=device, **options)
    sync.load_state_dict(plain.state_dict())
    return plain, sync

def compare(plain, sync, parts, rest, dtype, what, steps=2, lies=lambda x: x, device="cpu", collectives=2):
    '''Train both: this rank has parts[rank] of the examples.'''
    start, own = sum(parts[:rank]), parts[rank]
    parameter_dtype = next((each.dtype for each in sync.parameters()), dtype)
    for step in range(steps):
        whole = draw((sum(parts), *rest), 10 + step).to(dtype).double().requires_grad_()
        weights = draw(whole.shape, 20 + step).to(dtype).double()
        mine = lies(whole.detach()[start : start + own].to(dtype).to(device)).requires_grad_()
        expected = plain(whole)
        (expected * weights).sum().backward()
        before = sum(plain_ranks.COUNTS.values())
        found = sync(mine)
        assert found.dtype is dtype and found.device.type == device, what
        found.backward(weights[start : start + own].to(dtype).to(device))
        assert sum(plain_ranks.COUNTS.values()) == before + collectives, what
        near(found, expected[start : start + own], dtype, (what, "output"))
        near(mine.grad, whole.grad[start : start + own], dtype, (what, "gradient"))
    for (name, its), each in zip(sync.named_parameters(), plain.parameters(), strict=True):
        assert its.grad.dtype is its.dtype, (what, name)
        total = its.grad.detach().double()  # a sum over this rank's examples
        dist.all_reduce(total)
        near(total, each.grad, parameter_dtype, (what, name))
    for (name, its), each in zip(sync.named_buffers(), plain.buffers(), strict=True):
        near(its, each.double(), its.dtype if its.is_floating_point() else torch.float64, (what, name))

shapes = [
    (nn.BatchNorm1d, (4,)), (nn.BatchNorm1d, (3, 5)), (nn.BatchNorm2d, (3, 4, 5)), (nn.BatchNorm3d, (2, 3, 2, 4)),
]
for dtype in (torch.float64, torch.float32):
    for make, rest in shapes:
        compare(*pair(make, rest[0], dtype), (2, 5), rest, dtype, rest)
    for options in (
        {"affine": False}, {"track_running_stats": False}, {"momentum": None}, {"bias": False}, {"eps": 0.1},
        {"affine": False, "track_running_stats": False},
    ):
        compare(*pair(nn.BatchNorm2d, 3, dtype, **options), (4, 1), (3, 4, 5), dtype, options)
    compare(*pair(nn.BatchNorm1d, 4, dtype), (1, 1), (4,), dtype, "one example a rank")
    compare(*pair(nn.BatchNorm1d, 4, dtype), (0, 6), (4, 3), dtype, "nothing on rank 0")
    last = lambda x: x.contiguous(memory_format=torch.channels_last)
    compare(*pair(nn.BatchNorm2d, 3, dtype), (3, 2), (3, 4, 5), dtype, "channels last", lies=last)

for dtype in (torch.float16, torch.bfloat16):
    compare(*pair(nn.BatchNorm2d, 3, torch.float32), (3, 2), (3, 4, 5), dtype, "half input")
    compare(*pair(nn.BatchNorm2d, 3, dtype), (3, 2), (3, 4, 5), dtype, "half parameters")

for parts in ((3, 2), (2, 0)):
    plain, sync = pair(nn.BatchNorm2d, 3, torch.float32, device="interpreter")
    compare(plain, sync, parts, (3, 2, 5), torch.float32, "interpreter", device="interpreter")

# A mean that is large beside the deviation is not lost to cancellation.
x = draw((9, 2), 5) + 3000
plain, sync = nn.BatchNorm1d(2, dtype=torch.float64, momentum=1.0), nn.SyncBatchNorm(2, momentum=1.0)
plain(x.float().double())
sync((x[:4], x[4:])[rank].float())
assert (sync.running_var.double() - plain.running_var).abs().max() < 1e-3  # sums of squares are off by 0.5

# Each rank's parameters and statistics are the same bits.
every = [torch.empty(4) for _ in range(size)]
dist.all_gather(every, torch.cat([sync.running_mean, sync.running_var]))
assert torch.equal(*every)

# What says not to take part does not: evaluation, inputs without a gradient, groups of one rank.
count = sum(plain_ranks.COUNTS.values())
x = draw((3 + rank, 3, 4), 7 + rank)
plain, sync = pair(nn.BatchNorm1d, 3, torch.float64)
assert torch.equal(sync.eval()(x), plain.eval()(x))
alone = [dist.new_group([each]) for each in range(size)]
for group in alone:
    plain, sync = pair(nn.BatchNorm1d, 3, torch.float64)
    sync.process_group = group
    assert torch.equal(sync(x), plain(x)) and torch.equal(sync.running_var, plain.running_var)
assert sum(plain_ranks.COUNTS.values()) == count
both = nn.SyncBatchNorm(3, process_group=dist.new_group([0, 1]), dtype=torch.float64)
both(x).sum().backward()
assert sum(plain_ranks.COUNTS.values()) == count + 1  # the input wants no gradient
both = nn.SyncBatchNorm(3, track_running_stats=False, affine=False, dtype=torch.float64).eval()
assert torch.equal(both(x), nn.BatchNorm1d(3, track_running_stats=False, affine=False)(x))  # as in PyTorch
try:
    nn.SyncBatchNorm(5)(x)
except RuntimeError as error:
    assert "running_mean should contain 3 elements not 5" in str(error), error
else:
    raise AssertionError("took another number of channels")

# A converted network.
torch.manual_seed(3)
plain = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).double()
torch.manual_seed(3)
sync = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).double()
sync = nn.SyncBatchNorm.convert_sync_batchnorm(sync)
compare(plain, sync, (3, 2), (2, 5, 5), torch.float64, "network", collectives=4)

dist.barrier()
print("checked")
dist.destroy_process_group()
"""


def test_two_ranks_with_uneven_batches_are_one_batch():
    found = run_ranks(2, START + CHECKS)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("checked") == 2, found.stdout + found.stderr


def test_conversion_keeps_tensors_settings_and_state():
    group = object()
    made = nn.BatchNorm2d(3, eps=0.5, momentum=None, bias=False)
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Sequential(made), nn.GroupNorm(1, 3)).eval()
    state = net.state_dict()
    found = nn.SyncBatchNorm.convert_sync_batchnorm(net, group)
    norm = found[1][0]
    assert found is net and type(norm) is nn.SyncBatchNorm and type(found[2]) is nn.GroupNorm
    assert norm.process_group is group and not norm.training and norm.bias is None
    assert (norm.num_features, norm.eps, norm.momentum) == (3, 0.5, None)
    assert norm.weight is made.weight and norm.running_mean is made.running_mean
    assert list(found.state_dict()) == list(state)
    untracked = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3, affine=False, track_running_stats=False))
    assert type(untracked) is nn.SyncBatchNorm and not untracked.state_dict() and not list(untracked.parameters())


def test_a_process_without_a_group_has_batch_norm():
    assert not dist.is_initialized()
    plain, sync = nn.BatchNorm1d(3), nn.SyncBatchNorm(3)
    x = torch.randn(4, 3, 5)
    assert torch.equal(plain(x), sync(x)) and torch.equal(plain.running_var, sync.running_var)
    assert torch.equal(plain.eval()(x), sync.eval()(x))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        sync.train()(x[:1, :, 0])


def test_inputs_that_it_refuses():
    norm = nn.SyncBatchNorm(3)
    with pytest.raises(ValueError, match=r"expected at least 2D input \(got 1D input\)"):
        norm(torch.randn(3))
    with pytest.raises(ValueError, match="SyncBatchNorm number of input channels should be non-zero"):
        norm(torch.randn(2, 0))
