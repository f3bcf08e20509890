"""Steps of training on device="cuda" wait for nothing, upload nothing, and use the memory of the steps before again.

Launches are noted by the stub and not carried out: what counts is what the host asks the driver for.
"""

from __future__ import annotations

import gc

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn import functional
from tritorch.ops.optimizer.family import step_kernel
from tritorch.optim import swa_utils
from tritorch.runtime.cuda import memory
from tritorch.runtime.cuda.graph import Graph
from tritorch.runtime.cuda.pinned import PinnedBlock
from tritorch.runtime.language import triton_missing
from tritorch.runtime.launcher import set_launch_hook

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("compiled_once")


class Counts:
    """What was asked of the driver since it was made."""

    NAMES = ("synchronizations", "downloads", "uploads", "allocations")

    def __init__(self, stub):
        self.stub, self.before = stub, {name: stub.count(name) for name in self.NAMES}

    def found(self):
        return {name: self.stub.count(name) - self.before[name] for name in self.NAMES}


NOTHING = dict.fromkeys(Counts.NAMES, 0)


def steady(stub, step, warm=8, steps=4):
    """What `step()` asks the driver for, all steps after the first ones together; memory stays as it is."""
    for _ in range(warm):
        step()
    gc.collect()
    held, counts = [memory.memory_allocated()], Counts(stub)
    memory.reset_peak_memory_stats()
    peaks = set()
    for _ in range(steps):
        step()
        held.append(memory.memory_allocated())
        peaks.add(memory.max_memory_allocated())
    assert len(set(held)) == 1 and len(peaks) == 1, (held, peaks)
    return counts.found()


def multilayer():
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.25),
        nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(8, 4),
    )  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(12, 8, 2, batch_first=True, dropout=0.1), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(30, 16), nn.Embedding(8, 16)
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True), 2)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 30, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        return self.head(self.norm(self.blocks(x, mask=mask, is_causal=True))).flatten(0, 1)


NETS = {
    "multilayer": (multilayer, (6, 12), 4, 6), "convolutional": (convolutional, (6, 1, 8, 8), 4, 6),
    "recurrent": (Recurrent, (6, 5, 12), 4, 6), "transformer": (Transformer, None, 30, 48),
}  # fmt: skip


def prepared(name):
    """A net on the GPU, an input and labels."""
    make, shape, classes, count = NETS[name]
    x = torch.randint(0, 30, (6, 8), device="cuda") if shape is None else torch.randn(*shape, device="cuda")
    return make().to("cuda"), x, torch.randint(0, classes, (count,), device="cuda")


@pytest.mark.parametrize("name", NETS)
def test_a_step_waits_for_nothing(name, stub):
    net, x, labels = prepared(name)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    total = torch.zeros((), device="cuda")

    def step():
        optimizer.zero_grad(set_to_none=False)  # so that gradients stay where they are
        loss = functional.cross_entropy(net(x), labels, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total.add_(loss.detach())

    assert steady(stub, step) == NOTHING


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NETS)
def test_a_step_of_mixed_precision_waits_for_nothing(name, dtype, stub):
    net, x, labels = prepared(name)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=100)
    scaler = torch.amp.GradScaler("cuda")

    def step():
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cuda", dtype=dtype):
            loss = functional.cross_entropy(net(x), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()

    assert steady(stub, step) == NOTHING


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "dampened sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "plain sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "adam": lambda p: torch.optim.Adam(p, amsgrad=True), "adamw": torch.optim.AdamW,
    "capturable adam": lambda p: torch.optim.Adam(p, capturable=True),
    "adagrad": torch.optim.Adagrad, "adadelta": torch.optim.Adadelta, "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam, "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop, "asgd": torch.optim.ASGD,
    "muon": lambda p: torch.optim.Muon([each for each in p if each.ndim == 2]),
    "adafactor": torch.optim.Adafactor,
}  # fmt: skip


def test_every_optimizer_is_looked_at():
    """But LBFGS, whose closure a scaler refuses, and SparseAdam, which takes sparse gradients alone."""
    classes = {each for each in vars(torch.optim).values() if isinstance(each, type)}
    every = {each for each in classes if issubclass(each, torch.optim.Optimizer)}
    made = {type(make([torch.zeros(2, 2, requires_grad=True)])) for make in OPTIMIZERS.values()}
    assert made == every - {torch.optim.Optimizer, torch.optim.LBFGS, torch.optim.SparseAdam}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_waits(name, scaled, stub):
    net, x, labels = prepared("multilayer")
    optimizer, scaler = OPTIMIZERS[name](net.parameters()), torch.amp.GradScaler("cuda", enabled=scaled)

    def step():
        optimizer.zero_grad(set_to_none=False)
        scaler.scale(functional.cross_entropy(net(x), labels)).backward()
        scaler.step(optimizer)
        scaler.update()

    found = steady(stub, step)
    assert found == NOTHING


AVERAGES = {
    "equal": {}, "equal lists": {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()},
    "exponential": {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    "one by one": {"avg_fn": swa_utils.get_swa_avg_fn()},
}  # fmt: skip


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_of_weights_wait_for_nothing(name, stub):
    net, x, labels = prepared("multilayer")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    average = swa_utils.AveragedModel(net, device="cuda", **AVERAGES[name])
    schedule = swa_utils.SWALR(optimizer, 0.05, anneal_epochs=20)

    def step():
        optimizer.zero_grad(set_to_none=False)
        functional.cross_entropy(net(x), labels).backward()
        nn.utils.clip_grad_value_(net.parameters(), 0.5)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0, norm_type=3, error_if_nonfinite=False)
        optimizer.step()
        schedule.step()
        average.update_parameters(net)

    assert steady(stub, step) == NOTHING


def test_gradients_may_lie_elsewhere_at_each_step(stub):
    """Then the tables of addresses are uploaded anew, one for clipping and one for the step, and nothing waits."""
    net, x, labels = prepared("convolutional")
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        functional.cross_entropy(net(x), labels).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    found = steady(stub, step)
    assert found.pop("uploads") <= 4 * 2 and not any(found.values())


def test_waiting_is_seen(stub):
    """A script that asks for numbers waits for them: what the other tests count is counted."""
    x = torch.ones(3, device="cuda")

    def step():
        x.sum().item()
        x.add_(torch.tensor([1.0, 2.0, 3.0], device="cuda"))

    found = steady(stub, step)
    assert found["synchronizations"] == found["downloads"] == found["uploads"] == 4


def test_a_group_is_one_launch(stub):
    params = [torch.zeros(7 + at % 3, device="cuda").requires_grad_() for at in range(200)]
    optimizer = torch.optim.AdamW(params)
    launches = []
    for _ in range(4):
        for each in params:
            each.grad = torch.zeros_like(each)
        before = stub.count("launches")
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        middle = stub.count("launches")
        optimizer.step()
        launches.append((middle - before, stub.count("launches") - middle))
    assert launches == [(2, 1)] * 4 or launches[1:] == [(2, 1)] * 3  # the first step makes the moments


def test_a_graph_keeps_its_tables(stub):
    """What a captured step reads at each replay is its own: steps of before and after do not write over it."""
    params = [torch.zeros(7, device="cuda").requires_grad_() for _ in range(3)]
    for each in params:
        each.grad = torch.zeros_like(each)
    optimizer, launched = torch.optim.Adam(params, capturable=True), []

    def step():
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()

    for _ in range(4):
        step()
    copies = stub.count("uploads")
    before = set_launch_hook(lambda kernel, grid, args, constants, options: launched.append((kernel, args)))
    try:
        graph = Graph(step)
        kept = {each.pointer for each in graph._memory}
        tables = [args[at].pointer for kernel, args in launched for at in (0, 1) if kernel is step_kernel]
        assert len(tables) == 2 and set(tables) <= kept
        assert stub.count("uploads") - copies == 5  # addresses twice, and three tables of spans
        assert sum(isinstance(each, PinnedBlock) for each in graph._memory) == 5
        launched.clear()
        step()
        assert not {args[0].pointer for kernel, args in launched if kernel is step_kernel} & kept
    finally:
        set_launch_hook(before)
