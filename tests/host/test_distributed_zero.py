"""ZeroRedundancyOptimizer on several ranks: what the optimizer alone does, to the bit, with a part of its state."""

from __future__ import annotations

import pytest
from ranks import run_ranks

from tritorch.distributed.optim import ZeroRedundancyOptimizer

START = """
import tritorch as torch
import tritorch.distributed as dist
from tritorch import nn
from tritorch.distributed.optim import ZeroRedundancyOptimizer

dist.init_process_group("mpi")
rank, size = dist.get_rank(), dist.get_world_size()

def model_of(dtype=torch.float32, seed=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 17), nn.ReLU(), nn.Linear(17, 5), nn.ReLU(), nn.Linear(5, 3)).to(dtype)

def groups_of(model, lr):
    parameters = list(model.parameters())
    return [{"params": parameters[:3]}, {"params": parameters[3:], "lr": lr / 2}]

def gradients(model, step, scale=1):
    torch.manual_seed(step)
    inputs = torch.randn(4, 6).to(next(model.parameters()).dtype)
    (model(inputs).square().sum() * scale).backward()

def assert_same(one, other, what):
    for (name, own), its in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(own, its), (what, name)

def assert_same_state(found, expected):
    assert found["param_groups"] == expected["param_groups"]
    assert list(found["state"]) == list(expected["state"])
    for number, own in expected["state"].items():
        assert list(found["state"][number]) == list(own)
        for name, value in own.items():
            its = found["state"][number][name]
            assert torch.equal(its, value) if isinstance(value, torch.Tensor) else its == value, (number, name)
"""

STEPS = """
half = {"dtype": torch.bfloat16}
cases = [
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.2}, {}),
    (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}, {}),
    (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}, {}),
    (torch.optim.AdamW, {"lr": 0.01, "master_weights": True}, half),
    (torch.optim.Adafactor, {"lr": 0.01}, {}),
]
for kind, options, net in cases:
    for as_views in (False, True):
        alone, shared = model_of(**net), model_of(**net)
        plain = kind(groups_of(alone, options["lr"]), **options)
        zero = ZeroRedundancyOptimizer(
            groups_of(shared, options["lr"]), kind, parameters_as_bucket_view=as_views, **options
        )
        pairs = [(alone, plain), (shared, zero)]
        schedulers = [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5) for _, optimizer in pairs]
        for step in range(6):
            for (model, optimizer), scheduler in zip(pairs, schedulers, strict=True):
                optimizer.zero_grad()
                gradients(model, step)
                if step > 3:
                    model.extra.grad = torch.full((4, 4), 0.25).to(model.extra.dtype)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
            assert_same(alone, shared, (kind, as_views, step))
            if step == 2:
                zero.consolidate_state_dict(to=size - 1)
                if rank == size - 1:
                    assert_same_state(zero.state_dict(), plain.state_dict())
                    plain.load_state_dict(zero.state_dict())
                zero.load_state_dict(plain.state_dict())
            if step == 3:
                extra = [nn.Parameter(torch.ones(4, 4).to(alone[0].weight.dtype)) for _ in pairs]
                for (model, optimizer), own in zip(pairs, extra, strict=True):
                    model.register_parameter("extra", own)
                    optimizer.add_param_group({"params": [own], "lr": 0.5})
        assert len(zero.gathered_state()) == len(plain.state)
"""

REST = """
# Each optimizer that updates parameters one by one, more ranks than some have parameters.
kinds = [each for each in vars(torch.optim).values() if isinstance(each, type) and each.__name__ != "Optimizer"]
kinds = [each for each in kinds if issubclass(each, torch.optim.Optimizer)]
kinds = [each for each in kinds if each not in (torch.optim.LBFGS, torch.optim.SparseAdam)]
assert len(kinds) > 10
for kind in kinds:
    nets = []
    for make in (kind, lambda params, **options: ZeroRedundancyOptimizer(params, kind, **options)):
        torch.manual_seed(5)
        net = nn.Sequential(nn.Linear(5, 7, bias=False), nn.Linear(7, 3, bias=False))
        optimizer = make(net.parameters(), lr=0.01)
        for step in range(3):
            optimizer.zero_grad()
            torch.manual_seed(step)
            net(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
        nets.append(net)
    assert_same(*nets, kind)

# The state of a rank is its part, and parameters travel together.
torch.manual_seed(0)
net = nn.Sequential(*[nn.Linear(40, 40) for _ in range(8)])
zero = ZeroRedundancyOptimizer(net.parameters(), torch.optim.Adam)
net(torch.randn(2, 40)).sum().backward()
sent, broadcast = [], dist.broadcast
dist.broadcast = lambda *args, **options: sent.append(args[0].numel()) or broadcast(*args, **options)
zero.step()
dist.broadcast = broadcast
assert len(sent) == min(size, 16) and sum(sent) == 8 * 41 * 40, sent
held = sum(each.numel() * each.element_size() for own in zero.state.values() for each in own.values())
whole = 2 * 4 * sum(each.numel() for each in net.parameters())
assert held <= whole / size * 1.05 + 100, (held, whole)

# A step that overflows is skipped by all.
alone, shared = model_of(), model_of()
plain = torch.optim.Adam(alone.parameters())
zero = ZeroRedundancyOptimizer(shared.parameters(), torch.optim.Adam)
for model, optimizer in ((alone, plain), (shared, zero)):
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(4):
        optimizer.zero_grad()
        gradients(model, step, scaler.scale(torch.tensor(float("inf") if step == 1 else 1.0)))
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
assert_same(alone, shared, "GradScaler")

# A parameter that is frozen later, and a module that moves away from its buckets.
model = model_of()
zero = ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, lr=0.1, parameters_as_bucket_view=True)
model[0].weight.requires_grad_(False)
model[2].weight.data = model[2].weight.data.clone()
gradients(model, 0)
zero.step()
total = sum(each.detach().double().sum() for each in model.parameters())
low, high = total.clone(), total.clone()
dist.all_reduce(low, op=dist.ReduceOp.MIN)
dist.all_reduce(high, op=dist.ReduceOp.MAX)
assert low.item() == high.item()

# Ranks with fewer steps take part in those of the others.
from tritorch.distributed.algorithms.join import Join

alone, shared = model_of(), model_of()
plain = torch.optim.Adam(alone.parameters())
joined = ZeroRedundancyOptimizer(shared.parameters(), torch.optim.Adam)
gradients(alone, 0)
gradients(shared, 0)
for _ in range(size + 1):
    plain.step()
with Join([joined]):
    for _ in range(rank + 2):
        joined.step()
assert_same(alone, shared, "Join")
try:
    with Join([joined], throw_on_early_termination=True):
        for _ in range(rank + 2):
            joined.step()
except RuntimeError as error:
    assert "exhausted" in str(error)
else:
    raise AssertionError("Join did not raise")

# A closure, and what is refused.
assert zero.step(lambda: torch.tensor(2.5)).item() == 2.5
for wrong, message in (
    (lambda: zero.state_dict(), f"consolidate_state_dict(to={rank})"),
    (lambda: ZeroRedundancyOptimizer([], torch.optim.SGD), "got an empty parameter list"),
    (lambda: ZeroRedundancyOptimizer(torch.ones(1), torch.optim.SGD), "should be an iterable of Tensors, but got"),
    (lambda: ZeroRedundancyOptimizer(model.parameters(), torch.optim.LBFGS), "LBFGS needs all parameters at once"),
    (lambda: ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, overlap_with_ddp=True), "not supported"),
):
    try:
        wrong()
    except (RuntimeError, ValueError, TypeError) as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
"""

DATA_PARALLEL = """
from tritorch.nn.parallel import DistributedDataParallel

nets = []
for make in (torch.optim.AdamW, lambda params, **o: ZeroRedundancyOptimizer(params, torch.optim.AdamW, **o)):
    net = DistributedDataParallel(model_of(seed=rank))  # rank 0's weights are everybody's
    optimizer = make(net.parameters(), lr=0.01)
    for step in range(4):
        optimizer.zero_grad()
        gradients(net, 10 * step + rank)
        optimizer.step()
    nets.append(net)
assert_same(*nets, "DistributedDataParallel")
"""

END = """
dist.barrier()
print("passed", flush=True)
dist.destroy_process_group()
"""


def check(n, body):
    found = run_ranks(n, START + body + END, timeout=120)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("passed") == n


@pytest.mark.parametrize("n", [1, 2, 4])
def test_steps_are_those_of_the_optimizer_alone(n):
    check(n, STEPS)


@pytest.mark.parametrize("n", [2, 4])
def test_optimizers_state_scaling_and_refusals(n):
    check(n, REST)


def test_with_data_parallel():
    check(2, DATA_PARALLEL)


def test_without_a_group_it_says_so():
    with pytest.raises(ValueError, match="init_process_group"):
        ZeroRedundancyOptimizer([], None)
