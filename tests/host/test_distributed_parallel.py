"""DistributedDataParallel over MPI ranks: the gradients of the whole batch, whatever is asked of it."""

from __future__ import annotations

import pytest
from ranks import run_ranks

START = """
import copy
import tritorch as torch
import tritorch.distributed as dist
from tritorch import nn
from tritorch.nn.functional import cross_entropy
from tritorch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 3)).double()

torch.manual_seed(1)
inputs, targets = torch.randn(8 * size, 5).double(), torch.randint(0, 3, (8 * size,))
mine = slice(8 * rank, 8 * rank + 8)

def near(one, other):
    for own, its in zip(one.parameters(), other.parameters(), strict=True):
        assert (own.grad is None) == (its.grad is None)
        if own.grad is not None:
            assert (own.grad - its.grad).abs().max() <= 1e-6 * its.grad.abs().max(), (own.grad, its.grad)

def same_everywhere(model):
    for value in model.parameters():
        low, high = value.detach().clone(), value.detach().clone()
        dist.all_reduce(low, dist.ReduceOp.MIN)
        dist.all_reduce(high, dist.ReduceOp.MAX)
        assert torch.equal(low, high), "ranks differ"

def raises(kind, words, call):
    try:
        call()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__}: {words}")
"""

SETTINGS = """
for options in (
    {}, {"gradient_as_bucket_view": True}, {"find_unused_parameters": True}, {"static_graph": True},
    {"bucket_cap_mb": 1e-5}, {"bucket_cap_mb": 1e-5, "gradient_as_bucket_view": True, "static_graph": True},
):
    whole, own = net(), net()
    if rank:
        for value in own.parameters():
            value.data.normal_()
    ranked = DistributedDataParallel(own, **options)
    optimizers = [torch.optim.SGD(each.parameters(), 0.1, momentum=0.9) for each in (whole, ranked)]
    for step in range(4):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=step % 2 == 0)
        cross_entropy(whole(inputs), targets).backward()
        cross_entropy(ranked(inputs[mine]), targets[mine]).backward()
        near(ranked, whole)
        for optimizer in optimizers:
            optimizer.step()
        same_everywhere(ranked)
    assert list(ranked.state_dict()) == [f"module.{name}" for name in whole.state_dict()]
    if size > 1 and "bucket_cap_mb" in options:
        assert len(ranked.reducer.buckets) == 6, ranked.reducer.buckets  # one a parameter
"""

FEATURES = """
from tritorch.distributed.algorithms.ddp_comm_hooks import default_hooks

def both(make, loss=lambda model, x, t: cross_entropy(model(x), t), **options):
    whole, ranked = make(), DistributedDataParallel(make(), **options)
    for _ in range(3):
        for model in (whole, ranked):
            model.zero_grad()
        loss(whole, inputs, targets).backward()
        loss(ranked, inputs[mine], targets[mine]).backward()
        near(ranked, whole)
    return whole, ranked

# gradients add up without a reduction, and the next backward reduces the sum
whole, ranked = net(), DistributedDataParallel(net())
halves = [slice(0, 4), slice(4, 8)]
ranked(inputs[mine])  # a forward without a backward arms nothing that comes later
cross_entropy(whole(inputs), targets).backward()
calls = []
original, dist.all_reduce = dist.all_reduce, lambda *a, **k: calls.append(1) or original(*a, **k)
for number, half in enumerate(halves):
    x, t = inputs[mine][half], targets[mine][half]
    if number == 0:
        with ranked.no_sync():
            (cross_entropy(ranked(x), t) / 2).backward()
        assert not calls
    else:
        (cross_entropy(ranked(x), t) / 2).backward()
dist.all_reduce = original
assert len(calls) == 1
near(ranked, whole)

# a parameter used twice, frozen parameters, outputs in a dict, two forwards before one backward
class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.frozen, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.frozen.requires_grad_(False)
    def forward(self, x):
        return {"scores": self.last(self.frozen(self.inner(torch.tanh(self.inner(x))))), "nothing": None}

def twice():
    torch.manual_seed(3)
    return Twice().double()

both(twice, lambda model, x, t: cross_entropy(model(x)["scores"], t))
both(twice, lambda model, x, t: cross_entropy(model(x)["scores"] + model(2 * x)["scores"], t))

# activation checkpoints, of both kinds; reentrant ones with a static graph
from tritorch.utils.checkpoint import checkpoint
class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.inner, self.last, self.reentrant = nn.Linear(5, 5), nn.Linear(5, 3), reentrant
    def forward(self, x):
        for _ in range(2):
            x = torch.tanh(checkpoint(self.inner, x, use_reentrant=self.reentrant))
        return self.last(x)

def checkpointed(reentrant):
    def make():
        torch.manual_seed(4)
        return Checkpointed(reentrant).double()
    return make

both(checkpointed(False))
inputs.requires_grad_()
both(checkpointed(True), static_graph=True)
inputs.requires_grad_(False)

# parameters that some or no rank uses
class Choosing(nn.Module):
    def __init__(self):
        super().__init__()
        self.ways, self.never = nn.ModuleList(nn.Linear(5, 3) for _ in range(2)), nn.Linear(5, 3)
    def forward(self, x, way):
        return self.ways[way](x)

def choosing():
    torch.manual_seed(5)
    return Choosing().double()

whole, ranked = choosing(), DistributedDataParallel(choosing(), find_unused_parameters=True)
for _ in range(2):
    whole.zero_grad(), ranked.zero_grad()
    parts = [slice(8 * r, 8 * r + 8) for r in range(size)]
    losses = [cross_entropy(whole(inputs[part], r % 2), targets[part]) for r, part in enumerate(parts)]
    (sum(losses) / size).backward()
    cross_entropy(ranked(inputs[mine], rank % 2), targets[mine]).backward()
    near(ranked, whole)
assert ranked.module.never.weight.grad is None
ranked = DistributedDataParallel(choosing())
cross_entropy(ranked(inputs[mine], 0), targets[mine]).backward()
raises(RuntimeError, "Parameters which did not receive grad for rank", lambda: ranked(inputs[mine], 0))

# hooks: the mean as it is, in 16 bits, and one's own
for hook, allowed in ((default_hooks.allreduce_hook, 1e-12), (default_hooks.fp16_compress_hook, 2e-3),
                      (default_hooks.bf16_compress_hook, 2e-2)):
    whole, ranked = net(), DistributedDataParallel(net())
    ranked.register_comm_hook(None, hook)
    raises(RuntimeError, "can only be called once", lambda: ranked.register_comm_hook(None, hook))
    cross_entropy(whole(inputs), targets).backward()
    cross_entropy(ranked(inputs[mine]), targets[mine]).backward()
    for own, its in zip(ranked.parameters(), whole.parameters()):
        assert (own.grad - its.grad).abs().max() <= allowed * its.grad.abs().max(), hook
    same_everywhere(ranked)

# buffers are those of rank 0 in each forward, and evaluation works alone
ranked = DistributedDataParallel(nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3)).double())
for _ in range(3):
    ranked(inputs[mine] + rank).sum().backward()
ranked.eval()
with torch.no_grad():
    ranked(inputs[mine])
mean = ranked.module[0].running_mean.clone()
dist.broadcast(mean, 0)
assert torch.equal(mean, ranked.module[0].running_mean)

# an infinite gradient of one rank skips the step of all
model = DistributedDataParallel(net())
before = [value.detach().clone() for value in model.parameters()]
optimizer, scaler = torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", enabled=True)
loss = cross_entropy(model(inputs[mine]), targets[mine]) * (float("inf") if rank == size - 1 else 1.0)
scaler.scale(loss).backward()
scaler.step(optimizer)
scaler.update()
assert all(map(torch.equal, before, model.parameters())) and scaler.get_scale() < 65536
single = DistributedDataParallel(net().float())
with torch.autocast("cpu", dtype=torch.bfloat16):
    loss = cross_entropy(single(inputs[mine].float()), targets[mine])
loss.backward()
same_everywhere(single)

# copies work; wrong uses say so
copied = copy.deepcopy(model)
cross_entropy(copied(inputs[mine]), targets[mine]).backward()
same_everywhere(copied)
raises(RuntimeError, "is not needed when a module", lambda: DistributedDataParallel(nn.ReLU()))
raises(RuntimeError, "wrapped already", lambda: DistributedDataParallel(copied))
raises(ValueError, "device_ids are GPUs", lambda: DistributedDataParallel(net(), device_ids=[0]))
raises(ValueError, "single element", lambda: DistributedDataParallel(net(), device_ids=[0, 1]))
raises(RuntimeError, "params[0]", lambda: DistributedDataParallel(nn.Linear(3, 2 + rank)))
raises(RuntimeError, "inconsistent", lambda: DistributedDataParallel(nn.Linear(3, 2, bias=rank == 0)))
"""

STEPS = """
from tritorch.distributed.algorithms.ddp_comm_hooks import default_hooks

# a forward without gradients, between one and its backward, leaves that to be reduced
whole, ranked = net(), DistributedDataParallel(net())
cross_entropy(whole(inputs), targets).backward()
loss = cross_entropy(ranked(inputs[mine]), targets[mine])
with torch.no_grad():
    ranked(inputs[mine])
loss.backward()
near(ranked, whole)

# a buffer that the module replaces is rank 0's in each forward
class Replacing(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)
        self.register_buffer("mean", torch.zeros(3))
    def forward(self, x):
        found = self.inner(x)
        self.seen, self.mean = self.mean, self.mean + found.detach().mean(0)
        return found

ranked = DistributedDataParallel(Replacing())
for _ in range(3):
    ranked(inputs[mine].float()).sum().backward()
seen = ranked.module.seen.clone()
dist.broadcast(seen, 0)
assert seen.abs().sum() > 0 and torch.equal(seen, ranked.module.seen)

# a loss of gradients, whose graph leads to a parameter in two ways
def smooth():
    torch.manual_seed(6)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False)).double()

def penalty(model, x):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return slope.square().sum(1).mean()

for options in ({}, {"gradient_as_bucket_view": True}, {"static_graph": True}):
    whole, ranked = smooth(), DistributedDataParallel(smooth(), **options)
    for _ in range(3):
        whole.zero_grad(), ranked.zero_grad()
        penalty(whole, inputs).backward()
        penalty(ranked, inputs[mine]).backward()
        near(ranked, whole)

# what is not to be trained in common stays so in a copy
left = net()
left._ddp_params_and_buffers_to_ignore = ["0.weight"]
copied = copy.deepcopy(DistributedDataParallel(left))
assert copied.reducer.names == ["0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]

# what some rank uses of a static graph is asked once
ranked = DistributedDataParallel(net(), static_graph=True)
asked, original = [], dist.all_reduce
dist.all_reduce = lambda tensor, *a, **k: asked.append(tensor.dtype) or original(tensor, *a, **k)
for _ in range(3):
    cross_entropy(ranked(inputs[mine]), targets[mine]).backward()
dist.all_reduce = original
assert asked.count(torch.int64) == 1, asked

# ranks that are through: take part by the hook, and without steps of their own; means over those that go on
for options, steps in (
    ({"static_graph": True}, (0, 3)), ({"static_graph": True}, (3, 0)), ({"find_unused_parameters": True}, (0, 3)),
    ({"gradient_as_bucket_view": True}, (3, 1)), ({"hook": default_hooks.fp16_compress_hook}, (1, 3)),
):
    hook = options.pop("hook", None)
    model = DistributedDataParallel(net(), **options)
    if hook:
        model.register_comm_hook(None, hook)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with model.join():
        for _ in range(steps[rank]):
            optimizer.zero_grad()
            cross_entropy(model(inputs[mine]), targets[mine]).backward()
            optimizer.step()
    same_everywhere(model)

whole, model = net(), DistributedDataParallel(net())
cross_entropy(whole(inputs[mine]), targets[mine]).backward()
with model.join(divide_by_initial_world_size=False):
    for _ in range(1 + rank):
        model.zero_grad()
        cross_entropy(model(inputs[mine]), targets[mine]).backward()
    if rank:  # its last step was alone
        near(model, whole)
"""

JOINING = """
model = DistributedDataParallel(net())
optimizer = torch.optim.SGD(model.parameters(), 0.1)
with model.join():
    for _ in range(2 + 2 * rank):
        optimizer.zero_grad()
        cross_entropy(model(inputs[mine]), targets[mine]).backward()
        optimizer.step()
same_everywhere(model)
"""

LOOP = """
from tritorch.utils.data import DataLoader, DistributedSampler, TensorDataset

torch.manual_seed(rank)
model = DistributedDataParallel(nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 10)))
torch.manual_seed(0)
data = TensorDataset(torch.randn(200, 3), torch.randint(0, 10, (200,)))
sampler = DistributedSampler(data)
loader = DataLoader(data, batch_size=16, sampler=sampler, num_workers=2, pin_memory=True)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
losses = []
for epoch in range(3):
    sampler.set_epoch(epoch)
    for x, t in loader:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert len(losses) == (epoch + 1) * -(-200 // size // 16)
same_everywhere(model)
"""


def check(ranks, text):
    # In one write: those of several ranks come between each other.
    done = run_ranks(ranks, START + text + '\nprint(f"ok {rank}\\n", end="", flush=True)\n')
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(done.stdout.split()) == sorted(["ok"] * ranks + list(map(str, range(ranks)))), done.stdout


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_every_setting_gives_the_gradients_of_the_whole_batch(ranks):
    check(ranks, SETTINGS)


def test_what_people_do_with_it():
    check(2, FEATURES)


def test_steps_that_differ_from_a_forward_and_its_backward():
    check(2, STEPS)


def test_ranks_with_fewer_batches():
    check(2, JOINING)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loop_with_a_sampler_and_workers(ranks):
    check(ranks, LOOP)
