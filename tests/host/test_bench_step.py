"""`tritorch bench step`: nets that start alike, losses that are compared, what a row says, and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_peer import Stand, install, stand_in

import tritorch
from tritorch.autotune.trial import Timing
from tritorch.bench import measure as measuring
from tritorch.bench import peer as peers
from tritorch.bench import stopwatch, training
from tritorch.bench.case import Input
from tritorch.bench.measure import drawn, measure
from tritorch.bench.nets import nets
from tritorch.bench.suites import step as suite
from tritorch.bench.training import Steps, Training, training_case
from tritorch.cli.main import FAILED, GOOD, USAGE, main
from tritorch.runtime.device import CPU


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few and short rounds."""
    for name, value in (("ROUNDS", 2), ("WARM_CALLS", 1), ("STEP_ROUND_SECONDS", 1e-5)):
        monkeypatch.setattr(stopwatch, name, value)


@pytest.fixture
def torch(monkeypatch):
    """A library in torch's place."""
    return install(monkeypatch, stand_in())


class Line(tritorch.nn.Module):
    """A linear layer with dropout after it."""

    def __init__(self):
        super().__init__()
        self.linear, self.drop = tritorch.nn.Linear(6, 3), tritorch.nn.Dropout(0.5)

    def forward(self, x, classes):
        return tritorch.nn.functional.cross_entropy(self.drop(self.linear(x)), classes)


def line(**settings):
    """How it is trained."""
    chosen = {"sizes": "of 6", "net": lambda lib: Line(), "inputs": (Input((8, 6)), Input((8,), below=3)), "count": 8,
              "optimizer": lambda lib, parameters: lib.optim.SGD(parameters, lr=0.1), "unit": "images/s",
              "flops": 800, "terms": 6}  # fmt: skip
    return Training(**{**chosen, **settings})


def steps_of(case):
    return case.step(tritorch, *drawn(case, CPU))


def ran(*arguments):
    return main(["bench", "step", *arguments, "--device", "cpu"])


def test_the_nets_that_people_ask_for():
    assert set(nets()) >= {"mnist-cnn", "resnet18", "lstm", "gpt2", "vit"}
    full = list(suite.cases(suite.DTYPES, False, False))
    assert len(full) == len(nets()) * len(suite.DTYPES)
    for name in nets():
        usual = {case.dtype for case in full if case.line == name and case.usual}
        assert usual and all(case.name.endswith("autocast") == (case.dtype == "bfloat16") for case in full)
    assert {case.unit for case in full} == {"images/s", "tokens/s"}


@pytest.mark.parametrize("name", nets())
def test_operations_and_weights_are_counted(name):
    """Of the small net: six operations for each weight and element that meets it are less than what is said twice."""
    small = nets()[name].training(True, True)
    net = small.net(tritorch)
    weights = sum(each.numel() for each in net.parameters() if each.ndim > 1)
    assert 0 < small.flops and small.count >= 2 and weights > 0
    if small.unit == "tokens/s":
        assert 0.5 < small.flops / (6 * weights * small.count) < 2


def test_nets_start_alike_whatever_was_drawn_before():
    first = steps_of(training_case("line", "float32", line()))
    tritorch.rand(3)
    second = steps_of(training_case("line", "float32", line()))
    for one, other in zip(first.net.parameters(), second.net.parameters(), strict=True):
        np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())
    assert not first.net.linear.bias.detach().numpy().any() and first.net.linear.weight.detach().numpy().std() > 0.2


def test_a_step_trains_and_dropout_comes_back():
    step = steps_of(training_case("line", "float32", line()))
    losses = [float(each) for each in step.first_losses()]
    assert len(losses) == training.COMPARED and losses == sorted(losses, reverse=True)
    assert step.net.drop.p == 0.5
    again = steps_of(training_case("line", "float32", line()))
    assert [float(each) for each in again.first_losses()] == losses  # nothing was drawn
    assert not step().requires_grad


def test_slopes_are_clipped():
    free, bound = (steps_of(training_case("line", "float32", line(clip=clip))) for clip in (None, 1e-3))
    for each in (free, bound):
        each()
    norms = [float(sum((each.grad**2).sum() for each in found.net.parameters())) ** 0.5 for found in (free, bound)]
    assert norms[0] > 0.01 and norms[1] == pytest.approx(1e-3, rel=1e-3)


def test_what_is_held_is_counted():
    adam = line(optimizer=lambda lib, parameters: lib.optim.Adam(parameters))
    step = steps_of(training_case("line", "float32", adam))
    assert step.held() == 21 * 4
    step()
    assert 21 * 4 * 4 <= step.held() <= 21 * 4 * 4 + 16  # slopes, two states, and the counts of steps


def test_losses_that_differ_are_said(torch, capsys, monkeypatch):
    monkeypatch.setattr(training, "COMPARED", 2)
    torch.optim = Stand(tritorch.optim, AdamW=lambda parameters, lr, **more: tritorch.optim.SGD(parameters, lr=1.0))
    assert ran("--net", "gpt2", "--quick", "--against", "torch") == FAILED
    output = capsys.readouterr()
    assert "results differ: result 1: largest difference" in output.err and "NO" in output.out


def test_a_row_of_a_step(torch, tmp_path):
    file = tmp_path / "rows.json"
    assert ran("--net", "gpt2", "--quick", "--against", "torch", "--json", str(file)) == GOOD
    [row] = json.loads(file.read_text())["rows"]
    assert row["case"].startswith("gpt2 2x16") and row["unit"] == "tokens/s" and row["agree"] is True
    assert row["ours"] == pytest.approx(32 / row["step_ms"] * 1e3, rel=2e-3)
    assert "launches" not in row and "compiled" not in row


def test_the_compiled_side_is_a_net_of_its_own(torch, monkeypatch):
    made = []
    monkeypatch.setattr(peers.Torch, "compiled", lambda self, module: made.append(module) or module)
    timings = [Timing(each, each, each, 3) for each in (1.0, 3.0, 0.5)]
    watch = SimpleNamespace(turns=lambda functions: timings[: len(functions)])
    monkeypatch.setattr(measuring, "stopwatch_for", lambda device, on_host, is_whole: watch)
    row, _ = measure(training_case("line", "float32", line()), CPU, peers.Torch(CPU), compiled=True)
    assert len(made) == 1 and isinstance(made[0], Line)
    assert (row.ours, row.theirs, row.ratio) == (8.0, 2.667, 3.0)
    assert row.more == {"compiled": 16.0, "over_compiled": 0.5, "step_ms": 1000.0}


def test_torchs_compiler_is_told(monkeypatch):
    told = {}
    lib = stand_in(
        _dynamo=SimpleNamespace(reset=lambda: told.update(reset=True)),
        compile=lambda function, **how: told.update(how) or function,
    )
    config = SimpleNamespace(donated_buffer=True)
    names = {"torch": lib, "torch.nn.attention": lib, "torch._functorch.config": config}
    monkeypatch.setattr(peers, "importlib", SimpleNamespace(import_module=names.__getitem__))
    assert peers.Torch(CPU).compiled(len) is len
    assert told == {"reset": True, "dynamic": False} and config.donated_buffer is False


def test_torchs_launches_are_counted_by_its_profiler(monkeypatch):
    names = [("Memcpy DtoD", 1), ("gemm", 1), ("Memset (Device)", 1), ("aten::mm", 0), ("softmax", 1), ("## step", 1)]
    events = [SimpleNamespace(name=name, device_type=kind, is_user_annotation="##" in name) for name, kind in names]
    lib = profiled(events)
    install(monkeypatch, lib)
    assert peers.Torch(CPU).launches(lambda: lib.done.append("step")) == 2
    assert lib.done == ["step", "waited"]
    del events[:]
    assert peers.Torch(CPU).launches(lambda: None) is None


def profiled(events):
    """A library whose profiler has seen these events."""
    done = []

    class Profile:
        def __init__(self, activities):
            assert activities == ["gpu"]

        def __enter__(self):
            return SimpleNamespace(events=lambda: events)

        def __exit__(self, *error):
            return None

    return stand_in(
        done=done,
        profiler=SimpleNamespace(profile=Profile, ProfilerActivity=SimpleNamespace(CUDA="gpu")),
        cuda=SimpleNamespace(synchronize=lambda: done.append("waited")),
        autograd=SimpleNamespace(DeviceType=SimpleNamespace(CUDA=1)),
    )


def test_a_round_of_steps_ends_when_the_gpu_has_done_them(monkeypatch):
    order = []
    monkeypatch.setattr(stopwatch.StepStopwatch, "_wait", lambda self: order.append("waited"))
    clock = iter(range(0, 100, 4))
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: order.append("clock") or float(next(clock)))
    assert stopwatch.StepStopwatch(CPU)._round(lambda: order.append("step"), 2) == 2.0
    assert order == ["clock", "step", "step", "waited", "clock"]
    assert isinstance(stopwatch.stopwatch_for(CPU, False, True), stopwatch.StepStopwatch)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--amp", "bf16"], "--amp bf16: only on a GPU; a processor has no products of bfloat16"),
        (["--dtype", "bfloat16"], "--dtype bfloat16: only on a GPU"),
        (["--amp", "bf16", "--dtype", "float32"], "--amp bf16 with --dtype float32: say one of them"),
        (["softmax", "--net", "gpt2"], "--net is of the suite step, not of step, softmax"),
        (["softmax", "--amp", "bf16"], "--amp is of the suite step, not of step, softmax"),
        (["--compile"], "--compile is about the other library's compiler: say which with --against"),
    ],
)
def test_options_that_do_not_fit(arguments, text, capsys):
    assert ran(*arguments) == USAGE
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--net", "alexnet"], ["--amp", "fp4"], ["nothing"]])
def test_unknown_names(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        ran(*arguments)
    assert error.value.code == USAGE
    text = capsys.readouterr().err
    assert "invalid choice" in text or "there is no suite 'nothing'; there are attention, conv" in text


def test_a_net_alone_is_a_step(capsys):
    assert main(["bench", "--net", "vit", "--quick", "--device", "cpu"]) == GOOD
    assert "step on cpu" in capsys.readouterr().out


def test_half_precision_is_compared_as_such():
    case = training_case("line", "bfloat16", line())
    step = Steps(case.training, True, tritorch, drawn(case, CPU))
    assert {each.dtype for each in step.first_losses()} == {tritorch.bfloat16}
    assert case.needs_gpu and case.stored.name == "float32" and not training_case("line", "float32", line()).needs_gpu
