"""The optimizers whose step is a formula of single elements, each against that formula written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from optimizing import parameters, run
from tolerances import tolerance

import tritorch as torch
from tritorch.optim import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop


def moments(state, gradient, beta1, beta2):
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * gradient
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * gradient**2
    return state["m"], state["v"]


def nadam(lr, beta1=0.9, beta2=0.99, weight_decay=0.0, momentum_decay=4e-3):
    def formula(value, gradient, state, step):
        gradient = gradient + weight_decay * value
        m, v = moments(state, gradient, beta1, beta2)
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (at * momentum_decay)) for at in (step, step + 1))
        product = state["product"] = state.get("product", 1) * mu
        mean = following * m / (1 - product * following) + (1 - mu) * gradient / (1 - product)
        return value - lr * mean / (np.sqrt(v / (1 - beta2**step)) + 1e-8)

    return formula


def radam(lr, beta1=0.9, beta2=0.8):
    def formula(value, gradient, state, step):
        m, v = moments(state, gradient, beta1, beta2)
        mean, longest = m / (1 - beta1**step), 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / (1 - beta2**step)
        if length <= 5:
            return value - lr * mean
        r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        return value - lr * r * mean * math.sqrt(1 - beta2**step) / (np.sqrt(v) + 1e-8)

    return formula


def adamax(lr, beta1=0.9, beta2=0.99, weight_decay=0.0):
    def formula(value, gradient, state, step):
        gradient = gradient + weight_decay * value
        m, _ = moments(state, gradient, beta1, beta2)
        u = state["u"] = np.maximum(beta2 * state.get("u", 0), np.abs(gradient) + 1e-8)
        return value - lr / (1 - beta1**step) * m / u

    return formula


def adagrad(lr, lr_decay=0.0, initial=0.0):
    def formula(value, gradient, state, step):
        total = state["sum"] = state.get("sum", initial) + gradient**2
        return value - lr / (1 + (step - 1) * lr_decay) * gradient / (np.sqrt(total) + 1e-10)

    return formula


def adadelta(lr, rho=0.9, eps=1e-6):
    def formula(value, gradient, state, step):
        v = state["v"] = rho * state.get("v", 0) + (1 - rho) * gradient**2
        change = np.sqrt(state.get("u", 0) + eps) / np.sqrt(v + eps) * gradient
        state["u"] = rho * state.get("u", 0) + (1 - rho) * change**2
        return value - lr * change

    return formula


def rprop(lr, low=0.5, high=1.2, least=1e-6, most=50.0):
    def formula(value, gradient, state, step):
        same = gradient * state.get("before", 0)
        size = state.get("size", np.full(np.shape(value), lr)) * np.where(same > 0, high, np.where(same < 0, low, 1))
        size = state["size"] = np.clip(size, least, most)
        gradient = state["before"] = np.where(same < 0, 0, gradient)
        return value - np.sign(gradient) * size

    return formula


def asgd(lr, lambd=1e-2, alpha=0.75, t0=2):
    def formula(value, gradient, state, step):
        eta = lr if step == 1 else lr / (1 + lambd * lr * (step - 1)) ** alpha
        value = value * (1 - lambd * eta) - eta * gradient
        mu = 1 / max(1, step - 1 - t0)
        state["ax"] = state.get("ax", 0) + mu * (value - state.get("ax", 0))
        return value

    return formula


CASES = [
    (lambda p: NAdam(p, 0.01, (0.9, 0.99)), nadam(0.01)),
    (lambda p: NAdam(p, 0.01, (0.9, 0.99), weight_decay=0.1, momentum_decay=0.1), nadam(0.01, 0.9, 0.99, 0.1, 0.1)),
    (lambda p: RAdam(p, 0.01, (0.9, 0.8)), radam(0.01)),
    (lambda p: RAdam(p, 0.01, (0.9, 0.9)), radam(0.01, beta2=0.9)),
    (lambda p: Adamax(p, 0.01, (0.9, 0.99), weight_decay=0.1), adamax(0.01, weight_decay=0.1)),
    (lambda p: Adagrad(p, 0.1, 0.2, initial_accumulator_value=0.3), adagrad(0.1, 0.2, 0.3)),
    (lambda p: Adadelta(p, 0.5), adadelta(0.5)),
    (lambda p: Rprop(p, 0.1), rprop(0.1)),
    (lambda p: Rprop(p, 0.1, step_sizes=(0.08, 0.11)), rprop(0.1, least=0.08, most=0.11)),
    (lambda p: ASGD(p, 0.1, lambd=1e-2, t0=2), asgd(0.1)),
]


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
@pytest.mark.parametrize("make, formula", CASES)
def test_steps(make, formula, device):
    run(make, formula, device, steps=7)


@pytest.mark.parametrize("make, formula", CASES[:8:2])
def test_steps_in_float64(make, formula):
    run(make, formula, dtype=torch.float64, steps=7)


def test_the_average_of_asgd():
    param = torch.zeros(1, requires_grad=True)
    optimizer, values = ASGD([param], 1.0, lambd=0.0, t0=1), []
    for gradient in (1.0, 2.0, 3.0, 4.0, 5.0):
        param.grad = torch.tensor([gradient])
        optimizer.step()
        values.append(param.item())
    relative, absolute = tolerance(torch.float32)  # mu is 1 until the step after the next of t0
    np.testing.assert_allclose(optimizer.state[param]["ax"].item(), np.mean(values[2:]), rtol=relative, atol=absolute)


EVERY = [
    lambda p, **o: SGD(p, 0.1, momentum=0.9, dampening=0.3, weight_decay=0.1, **o),
    lambda p, **o: Adam(p, 0.1, amsgrad=True, weight_decay=0.1, **o),
    lambda p, **o: AdamW(p, 0.1, **o),
    lambda p, **o: NAdam(p, 0.1, decoupled_weight_decay=True, weight_decay=0.1, **o),
    lambda p, **o: RAdam(p, 0.1, decoupled_weight_decay=True, weight_decay=0.1, **o),
    lambda p, **o: RMSprop(p, 0.1, centered=True, momentum=0.5, **o),
    lambda p, **o: Adamax(p, 0.1, **o),
    lambda p, **o: Adagrad(p, 0.1, **o),
    lambda p, **o: Adadelta(p, 0.1, **o),
    lambda p, **o: Rprop(p, 0.1, **o),
    lambda p, **o: ASGD(p, 0.1, **o),
]


def steps_of(optimizer, params, count=3, sign=1.0):
    random = np.random.default_rng(1)
    for _ in range(count):
        for each in params:
            each.grad = torch.tensor(sign * random.standard_normal(each.shape), dtype=each.dtype)
        optimizer.step()
    return [each.detach().numpy().copy() for each in params]


@pytest.mark.parametrize("make", EVERY)
def test_maximizing_is_minimizing_the_negative(make):
    found = [
        steps_of(make(params, maximize=maximize), params, sign=-1.0 if maximize else 1.0)
        for maximize in (False, True)
        for params in [parameters()[1]]
    ]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", EVERY)
def test_a_recorded_step_is_the_same_step_with_a_gradient(make):
    """differentiable=True: the values agree with the fused step, and gradients reach what the values came from."""
    plain = parameters(dtype=torch.float64)[1]
    expected = steps_of(make(plain), plain, 4)
    leaves = parameters(dtype=torch.float64)[1]
    params = [each * 1.0 for each in leaves]
    found = steps_of(make(params, differentiable=True), params, 4)
    relative, absolute = tolerance(torch.float64)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=relative, atol=absolute)
    sum(each.sum() for each in params).backward()
    assert all(leaf.grad is not None and np.isfinite(leaf.grad.numpy()).all() for leaf in leaves)


def test_gradients_pass_through_steps_to_the_rate_and_the_gradient():
    rate = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    param = torch.ones(1, dtype=torch.float64) * 1.0
    optimizer = SGD([param], rate, differentiable=True)
    param.grad = scale * torch.ones(1, dtype=torch.float64)
    optimizer.step()
    param.sum().backward()
    assert rate.grad.item() == -3.0 and scale.grad.item() == -0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", EVERY)
def test_half_precision_is_computed_wide_and_kept_narrow(make, dtype):
    wide = parameters()[1]
    expected = steps_of(make(wide), wide, 2)
    narrow = parameters(dtype=dtype)[1]
    optimizer = make(narrow)
    relative, absolute = tolerance(dtype, length=16)
    for a, b in zip(steps_of(optimizer, narrow, 2), expected, strict=True):
        np.testing.assert_allclose(a.astype(np.float64), b, rtol=relative, atol=absolute)
    state = optimizer.state[narrow[0]]
    names = [name for name in optimizer.buffers(optimizer.param_groups[0]) if name is not None]
    assert all(state[name].dtype == dtype for name in names)


def test_groups_differ_in_their_options():
    plain, moving = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    optimizer = SGD([{"params": [plain]}, {"params": [moving], "momentum": 0.5, "lr": 2.0}], lr=1.0)
    for _ in range(2):
        plain.grad, moving.grad = torch.ones(2), torch.ones(2)
        optimizer.step()
    assert plain.tolist() == [-2, -2] and moving.tolist() == [-5, -5]
    assert "momentum_buffer" not in optimizer.state[plain]
