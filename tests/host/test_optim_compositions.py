"""LBFGS, Adafactor, Muon, and averages of weights: what takes a step by several ops."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch.optim import LBFGS, SGD, Adafactor, Muon
from tritorch.optim._muon import orthogonal
from tritorch.optim.line_search import Point, StrongWolfe
from tritorch.optim.swa_utils import (
    SWALR,
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
    update_bn,
)


def close(found, expected, dtype=torch.float64, length=1):
    relative, absolute = tolerance(dtype, length=length)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=relative, atol=absolute)


# ---------------------------------------------------------------- LBFGS


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def minimized(function, start, steps, **options):
    """The point after some steps, and the losses of all calls."""
    param = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer, losses = LBFGS([param], **options), []

    def closure():
        optimizer.zero_grad()
        loss = function(param)
        loss.backward()
        losses.append(loss.item())
        return loss

    first = [optimizer.step(closure).item() for _ in range(steps)]
    return param, optimizer, losses, first


def test_lbfgs_finds_the_bottom_of_a_valley():
    param, optimizer, losses, first = minimized(rosenbrock, [-1.5, 2.0], 5, line_search_fn="strong_wolfe")
    close(param.tolist(), [1.0, 1.0], torch.float32)
    assert first[0] == losses[0] and first == sorted(first, reverse=True)
    state = optimizer.state[param]
    assert state["func_evals"] == len(losses) and state["n_iter"] <= state["func_evals"]


def test_lbfgs_without_a_line_search_is_newtons_method_on_a_square():
    scales = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    param, _, losses, _ = minimized(lambda x: (scales * x * x).sum(), [1.0, 1.0, 1.0], 4, max_iter=10)
    assert losses[-1] < 1e-12 * losses[0] and param.abs().max().item() < 1e-6


def test_lbfgs_stops_by_its_limits():
    _, optimizer, losses, _ = minimized(rosenbrock, [-1.5, 2.0], 1, max_iter=3)
    assert optimizer.param_groups[0]["max_eval"] == 3 and len(losses) == 3
    _, _, losses, _ = minimized(lambda x: x.sum() * 0, [1.0, 2.0], 2)
    assert len(losses) == 2  # no gradient: one call a step
    _, optimizer, _, _ = minimized(rosenbrock, [-1.5, 2.0], 1, history_size=2, line_search_fn="strong_wolfe")
    assert len(optimizer.state[optimizer._params[0]]["ro"]) == 2


def test_lbfgs_resumes_and_copies():
    def objective(x):
        return ((x - 3) ** 4).sum()

    straight, *_ = minimized(objective, [0.0, 1.0], 3, max_iter=2, line_search_fn="strong_wolfe")
    param, optimizer, *_ = minimized(objective, [0.0, 1.0], 1, max_iter=2, line_search_fn="strong_wolfe")
    other = copy.deepcopy(optimizer)
    fresh = LBFGS([param], max_iter=2, line_search_fn="strong_wolfe")
    fresh.load_state_dict(optimizer.state_dict())
    for each in (fresh, other):
        own = each.param_groups[0]["params"][0]

        def closure(each=each, own=own):
            each.zero_grad()
            loss = objective(own)
            loss.backward()
            return loss

        for _ in range(2):
            each.step(closure)
        assert own.tolist() == straight.tolist()


def test_lbfgs_takes_several_parameters_some_without_gradient():
    used, unused = torch.ones(2, 2, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = LBFGS([used, unused], lr=torch.tensor(1.0))

    def closure():
        optimizer.zero_grad()
        loss = (used**2).sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert used.abs().max().item() < 1e-3 and unused.tolist() == [1, 1, 1]


def test_errors_of_lbfgs():
    groups = [{"params": [torch.ones(1, requires_grad=True)]} for _ in range(2)]
    with pytest.raises(ValueError, match="LBFGS doesn't support per-parameter options"):
        LBFGS(groups)
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        minimized(rosenbrock, [0.0, 0.0], 1, line_search_fn="armijo")


@pytest.mark.parametrize("first", [1e-3, 0.5, 3.0, 40.0])
def test_a_line_search_ends_where_the_conditions_hold(first):
    def function(t):
        return Point(t, (t - 2) ** 2 * (t + 3) + math.sin(3 * t), None, 3 * t * t - 2 * t - 8 + 3 * math.cos(3 * t))

    start = function(0.0)
    found, evaluations = StrongWolfe(function, start, size=1.0, tolerance=1e-9, most=25).search(first)
    assert found.value <= start.value + 1e-4 * found.step * start.slope
    assert abs(found.slope) <= -0.9 * start.slope and evaluations <= 26


def test_a_line_search_takes_a_first_step_that_is_good():
    def function(t):
        return Point(t, (t - 2) ** 2, None, 2 * (t - 2))

    found, evaluations = StrongWolfe(function, function(0.0), size=1.0, tolerance=1e-9, most=25).search(1.5)
    assert found.step == 1.5 and evaluations == 1


# ---------------------------------------------------------------- Adafactor


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4), (6,), ()])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "eps": (1e-6, 1e-2), "d": 1.5}])
def test_adafactor(shape, options):
    lr, decay, (eps1, eps2) = 0.05, options.get("weight_decay", 0), options.get("eps", (None, 1e-3))
    eps1 = np.finfo(np.float64).eps if eps1 is None else eps1
    random = np.random.default_rng(0)
    value = random.standard_normal(shape)
    param = torch.tensor(value, requires_grad=True)
    optimizer, rows, columns, squares = Adafactor([param], lr, **options), 0, 0, 0
    for step in range(1, 5):
        g = random.standard_normal(shape)
        param.grad = torch.tensor(g)
        optimizer.step()
        share, rate = step**-0.8, min(lr, 1 / math.sqrt(step))
        rate = max(eps2, math.sqrt(np.mean(np.square(value)))) * rate
        value = value * (1 - lr * decay)
        if len(shape) > 1:
            rows = rows + share * (np.mean(g * g, -1, keepdims=True) - rows)
            columns = columns + share * (np.mean(g * g, -2, keepdims=True) - columns)
            v = rows * columns / np.maximum(np.mean(rows, -2, keepdims=True), eps1)
        else:
            squares = squares + share * (g * g - squares)
            v = squares
        u = g / np.sqrt(np.maximum(v, eps1**2))
        value = value - rate * u / max(1.0, math.sqrt(np.mean(u * u)) / options.get("d", 1.0))
    close(param.detach(), value, length=16)


def test_errors_of_adafactor():
    param = torch.ones(2, requires_grad=True)
    for options, text in [
        ({"lr": -1}, "Learning rate should be >= 0 but is: -1"),
        ({"beta2_decay": 1}, "beta2_decay should be <= 0 but is: 1"),
        ({"eps": (-1, 0)}, "epsilon1 should be >= 0 but is: -1"),
        ({"eps": (None, -1)}, "epsilon2 should be >= 0 but is: -1"),
        ({"d": 0.5}, "Clipping threshold d should be >= 1 but is: 0.5"),
        ({"weight_decay": -1}, "weight_decay should be >= 0 but is: -1"),
    ]:
        with pytest.raises(ValueError, match=text):
            Adafactor([param], **options)


# ---------------------------------------------------------------- Muon


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5)])
def test_orthogonal_matrices_have_singular_values_around_one(shape):
    matrix = torch.tensor(np.random.default_rng(0).standard_normal(shape), dtype=torch.float32)
    found = orthogonal(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    x = matrix.numpy() / np.linalg.norm(matrix.numpy())
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    close(found, x, torch.bfloat16, length=4)
    values = np.linalg.svd(found.numpy(), compute_uv=False)
    assert found.shape == shape and values.min() > 0.3 and values.max() < 1.3
    left, _, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    assert np.sum(found.numpy() * (left @ right)) > 0.7 * min(shape)  # near the orthogonal matrix that is nearest


@pytest.mark.parametrize("adjust, ratio", [(None, math.sqrt(3)), ("match_rms_adamw", 0.2 * math.sqrt(12))])
def test_muon(adjust, ratio):
    start = torch.tensor(np.random.default_rng(1).standard_normal((12, 4)), dtype=torch.float32)
    param = start.clone().requires_grad_()
    gradient = torch.tensor(np.random.default_rng(2).standard_normal((12, 4)), dtype=torch.float32)
    param.grad = gradient.clone()
    optimizer = Muon([param], lr=0.1, weight_decay=0.5, momentum=0.9, adjust_lr_fn=adjust)
    optimizer.step()
    close(optimizer.state[param]["momentum_buffer"], 0.1 * gradient.numpy(), torch.float32)
    change = orthogonal(gradient.lerp(0.1 * gradient, 0.9), (3.4445, -4.775, 2.0315), 5, 1e-7)
    close(param.detach(), 0.95 * start.numpy() - 0.1 * ratio * change.numpy(), torch.float32)
    assert torch.get_float32_matmul_precision() == "highest"


def test_errors_of_muon():
    matrix = torch.ones(2, 2, requires_grad=True)
    for call, text in [
        (lambda: Muon([torch.ones(2, requires_grad=True)]), r"parameter with size: torch.Size\(\[2\]\)"),
        (lambda: Muon([matrix], adjust_lr_fn="x"), "Adjust learning rate function x is not supported"),
        (lambda: Muon([matrix], momentum=-1), "momentum should be >= 0 but is: -1"),
        (lambda: orthogonal(matrix, (1, 2), 5, 1e-7), "Coefficients must be a tuple of exactly 3 values"),
        (lambda: orthogonal(matrix, (1, 2, 3), 100, 1e-7), "Number of steps must be less than 100"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()


# ---------------------------------------------------------------- averages of weights


def averaged(values, **options):
    """An AveragedModel of a layer whose weight goes through `values`."""
    layer = torch.nn.Linear(1, 1)
    model = AveragedModel(layer, **options)
    for value in values:
        with torch.no_grad():
            layer.weight.fill_(value)
        model.update_parameters(layer)
    return model


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, 4.0),
        ({"avg_fn": get_swa_avg_fn()}, 4.0),
        ({"multi_avg_fn": get_swa_multi_avg_fn()}, 4.0),
        ({"avg_fn": get_ema_avg_fn(0.75)}, 0.75 * (0.75 * 1 + 0.25 * 3) + 0.25 * 8),
        ({"multi_avg_fn": get_ema_multi_avg_fn(0.75)}, 0.75 * (0.75 * 1 + 0.25 * 3) + 0.25 * 8),
        ({"avg_fn": lambda average, value, count: count + value}, 10.0),
    ],
)
def test_averages_of_weights(options, expected):
    model = averaged([1.0, 3.0, 8.0], **options)
    close(model.module.weight.item(), expected, torch.float32)
    assert model.n_averaged.item() == 3 and list(model.state_dict()) == ["n_averaged", "module.weight", "module.bias"]
    x = torch.ones(2, 1)
    assert torch.equal(model(x), model.module(x))


def test_the_count_of_averages_may_be_loaded_and_written():
    """The host remembers it only as long as nobody else writes to it."""
    layer, model = torch.nn.Linear(1, 1), averaged([1.0, 3.0, 8.0])
    state = copy.deepcopy(model.state_dict())
    copied, loaded = copy.deepcopy(model), averaged([5.0])
    loaded.load_state_dict(state)
    with torch.no_grad():
        layer.weight.fill_(16.0)
    for each in (model, copied, loaded):
        each.update_parameters(layer)
        close(each.module.weight.item(), 7.0, torch.float32)
        assert each.n_averaged.item() == 4
    model.n_averaged.zero_()
    model.update_parameters(layer)
    close(model.module.weight.item(), 16.0, torch.float32)


@pytest.mark.parametrize("use_buffers", [False, True])
def test_buffers_are_copied_or_averaged(use_buffers):
    norm = torch.nn.BatchNorm1d(1)
    model = AveragedModel(norm, use_buffers=use_buffers)
    for value in (1.0, 5.0):
        norm.running_mean.fill_(value)
        norm.num_batches_tracked.fill_(int(value))
        model.update_parameters(norm)
    assert model.module.running_mean.item() == (3.0 if use_buffers else 5.0)


def test_statistics_of_batch_norms_computed_anew():
    data = torch.tensor(np.random.default_rng(0).standard_normal((12, 3)) * 2 + 1, dtype=torch.float32)
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3, momentum=0.3), torch.nn.Linear(3, 1)).eval()
    model[0].running_mean.fill_(100)
    update_bn([(batch, None) for batch in data.split(4)], model)
    close(model[0].running_mean, data.numpy().mean(0), torch.float32, length=12)
    assert model[0].momentum == 0.3 and not model.training and model[0].num_batches_tracked.item() == 3
    update_bn([data], torch.nn.Linear(3, 1))  # without a norm nothing is done


def test_swalr_goes_to_its_rate_and_stays():
    def rates(**options):
        optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        scheduler, found = SWALR(optimizer, swa_lr=0.2, **options), []
        for _ in range(6):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    close(rates(anneal_epochs=4, anneal_strategy="linear"), [1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    close(rates(anneal_epochs=2), [1.0, 0.6, 0.2, 0.2, 0.2, 0.2])
    close(rates(anneal_epochs=0)[1:], [0.2] * 5)


def test_errors_of_averages():
    sgd = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    layer = torch.nn.Linear(1, 1)
    for call, error, text in [
        (lambda: get_ema_avg_fn(2), ValueError, "Invalid decay value 2 provided"),
        (lambda: get_ema_multi_avg_fn(-1), ValueError, "Invalid decay value -1 provided"),
        (lambda: AveragedModel(layer, None, max, max), AssertionError, "Only one of avg_fn and multi_avg_fn"),
        (lambda: SWALR(sgd, 0.1, anneal_strategy="x"), ValueError, "must be one of 'cos' or 'linear', instead got x"),
        (lambda: SWALR(sgd, 0.1, anneal_epochs=-1), ValueError, "must be equal or greater than 0, got -1"),
        (lambda: SWALR(sgd, [0.1, 0.2]), ValueError, "swa_lr must have the same length as optimizer.param_groups"),
    ]:
        with pytest.raises(error, match=text):
            call()
