"""Optimizers: their steps against the formulas written out in float64, state dicts, groups and errors."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from optimizing import parameters, run

import tritorch as torch
from tritorch.optim import SGD, Adam, AdamW, Optimizer


def sgd(lr=0.1, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    def formula(value, gradient, state, step):
        d = (-gradient if maximize else gradient) + weight_decay * value
        if momentum:
            state["v"] = d if step == 1 else momentum * state["v"] + (1 - dampening) * d
            d = d + momentum * state["v"] if nesterov else state["v"]
        return value - lr * d

    return formula


def adam(lr=0.01, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0, decoupled=False, amsgrad=False):
    def formula(value, gradient, state, step):
        if decoupled:
            value = value * (1 - lr * weight_decay)
        else:
            gradient = gradient + weight_decay * value
        m = state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * gradient
        v = state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * gradient**2
        if amsgrad:
            v = state["most"] = np.maximum(state.get("most", 0), v)
        return value - lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)

    return formula


SGD_SETTINGS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.5, "maximize": True},
]


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
@pytest.mark.parametrize("settings", SGD_SETTINGS)
def test_sgd(settings, device):
    run(lambda params: SGD(params, lr=0.1, **settings), sgd(**settings), device)


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_sgd_dtypes(dtype, device):
    run(lambda params: SGD(params, lr=0.1, momentum=0.9), sgd(momentum=0.9), device, dtype)


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"amsgrad": True}])
def test_adam(settings, device):
    run(lambda params: Adam(params, lr=0.01, betas=[0.9, 0.99], **settings), adam(**settings), device)


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
def test_adamw(device):
    run(lambda params: AdamW(params, lr=0.01, betas=(0.9, 0.99)), adam(weight_decay=0.01, decoupled=True), device)


def rmsprop(lr=0.01, alpha=0.9, eps=1e-8, weight_decay=0, momentum=0, centered=False):
    def formula(value, gradient, state, step):
        gradient = gradient + weight_decay * value
        v = state["v"] = alpha * state.get("v", 0) + (1 - alpha) * gradient**2
        if centered:
            state["mean"] = alpha * state.get("mean", 0) + (1 - alpha) * gradient
            v = v - state["mean"] ** 2
        change = state["b"] = momentum * state.get("b", 0) + gradient / (np.sqrt(v) + eps)
        return value - lr * change

    return formula


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "momentum": 0.5}, {"centered": True}])
def test_rmsprop(settings, device):
    run(lambda params: torch.optim.RMSprop(params, lr=0.01, alpha=0.9, **settings), rmsprop(**settings), device)


def test_large_and_strided_parameters_are_updated_where_they_lie():
    base = torch.zeros(300, 400)
    for param in (base.t().requires_grad_(), torch.zeros(70001, requires_grad=True)):
        param.grad = torch.ones(param.shape)
        SGD([param], lr=0.5, momentum=0.9).step()
        assert (param.detach().numpy() == -0.5).all()
    assert (base.numpy() == -0.5).all()


def test_a_step_raises_the_version_and_spares_parameters_without_gradient():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    before = used._version
    used.grad = torch.ones(2)
    SGD([used, unused], lr=1).step()
    assert used._version > before and used.tolist() == [0, 0] and unused.tolist() == [1, 1]


def test_a_parameter_that_joins_later_starts_its_own_velocity():
    first, late = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = SGD([first, late], lr=1, momentum=0.5, dampening=0.5)
    first.grad = torch.ones(1)
    optimizer.step()
    late.grad = torch.ones(1)
    optimizer.step()
    assert first.tolist() == [-2.0] and late.tolist() == [-1.0]


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, momentum=0.9), lambda p: Adam(p, 0.1, amsgrad=True)])
def test_state_dict_resumes_bit_by_bit(make):
    def steps(params, optimizer, count, random):
        for _ in range(count):
            for param in params:
                param.grad = torch.tensor(random.standard_normal(param.shape), dtype=torch.float32)
            optimizer.step()

    _, straight = parameters()
    steps(straight, make(straight), 6, np.random.default_rng(1))
    _, params = parameters()
    random, optimizer = np.random.default_rng(1), make(params)
    steps(params, optimizer, 3, random)
    saved = copy.deepcopy(optimizer.state_dict())
    resumed = make(params)
    resumed.load_state_dict(saved)
    steps(params, resumed, 3, random)
    for a, b in zip(straight, params, strict=True):
        assert torch.equal(a, b)


def test_the_format_of_the_state_dict():
    _, params = parameters()
    optimizer = run(lambda ps: Adam(ps, lr=0.01, betas=(0.9, 0.99)), adam())
    saved = optimizer.state_dict()
    assert list(saved) == ["state", "param_groups"] and list(saved["state"]) == [0, 1, 2]
    assert list(saved["state"][0]) == ["step", "exp_avg", "exp_avg_sq"] and saved["state"][0]["step"].item() == 4
    assert saved["param_groups"][0]["params"] == [0, 1, 2] and saved["param_groups"][0]["lr"] == 0.01
    plain = SGD(params, 0.1).state_dict()["param_groups"][0]
    assert list(plain) == ["lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "foreach",
                           "differentiable", "fused", "params"]  # fmt: skip


def test_groups_closures_hooks_and_repr():
    one, other = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = SGD([{"params": [one]}, {"params": other, "lr": 2.0}], lr=1.0)
    optimizer.param_groups[0]["lr"] = 3.0
    called = []
    optimizer.register_step_pre_hook(lambda *args: called.append("before"))
    optimizer.register_step_post_hook(lambda *args: called.append("after")).remove()

    def closure():
        optimizer.zero_grad()
        loss = (one + other).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 0 and called == ["before"]
    assert one.tolist() == [-3.0] and other.tolist() == [-2.0]
    optimizer.zero_grad(set_to_none=False)
    assert one.grad.tolist() == [0.0]
    optimizer.zero_grad()
    assert one.grad is None
    assert repr(SGD([one], 0.1)) == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n    foreach: None\n    fused: None\n"
        "    lr: 0.1\n    maximize: False\n    momentum: 0\n    nesterov: False\n    weight_decay: 0\n)"
    )


class Whole(Optimizer):
    """An optimizer as people write them: with a step of its own."""

    def __init__(self, params):
        super().__init__(params, {"lr": 1.0})

    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                param.data.add_(param.grad, alpha=-group["lr"])


def test_a_subclass_with_its_own_step():
    param = torch.ones(2, requires_grad=True)
    param.grad = torch.ones(2)
    Whole([param]).step()
    assert param.tolist() == [0, 0]


def leaf():
    return torch.ones(3, requires_grad=True)


SHARED, TENSORS = leaf(), (torch.tensor(0.9), torch.tensor(0.99))


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: SGD([], 1), ValueError, "optimizer got an empty parameter list"),
        (lambda: SGD(leaf(), 1), TypeError, "should be an iterable of Tensors or dicts, but got torch.FloatTensor"),
        (lambda: SGD([leaf()], -1), ValueError, "Invalid learning rate: -1"),
        (lambda: SGD([leaf()], 1, momentum=-1), ValueError, "Invalid momentum value: -1"),
        (lambda: SGD([leaf()], 1, weight_decay=-1), ValueError, "Invalid weight_decay value: -1"),
        (lambda: SGD([leaf()], 1, nesterov=True), ValueError, "Nesterov momentum requires a momentum"),
        (lambda: SGD([3], 1), TypeError, "can only optimize Tensors, but one of the params is int"),
        (lambda: SGD([leaf() * 2], 1), ValueError, "can't optimize a non-leaf Tensor"),
        (lambda: SGD([{"params": [SHARED]}, {"params": [SHARED]}], 1), ValueError, "more than one parameter group"),
        (lambda: SGD([leaf()], 1).add_param_group(3), TypeError, "param_group must be a dict, but got <class 'int'>"),
        (lambda: Adam([leaf()], betas=(1, 0)), ValueError, "Invalid beta parameter at index 0: 1"),
        (lambda: Adam([leaf()], betas=(0, 0.9)), ValueError, "betas must be either both floats or both Tensors"),
        (lambda: Adam([leaf()], betas=(torch.ones(2), 0.9)), ValueError, "Tensor betas[0] must be 1-element"),
        (lambda: Adam([leaf()], torch.ones(2)), ValueError, "Tensor lr must be 1-element"),
        (lambda: Adam([leaf()], torch.tensor(0.1), foreach=True), ValueError, "lr as a Tensor is not supported"),
        (lambda: Adam([leaf()], betas=TENSORS, foreach=True), ValueError, "betas[0] as a Tensor is not supported"),
        (lambda: SGD([leaf()], torch.ones(2)), ValueError, "Tensor lr must be 1-element"),
        (lambda: SGD([leaf()], 1, foreach=True, fused=True), RuntimeError, "`fused` and `foreach` cannot be `True`"),
        (lambda: SGD([("a", leaf()), leaf()], 1), ValueError, "Some param names are missing"),
        (lambda: SGD([leaf()], 1).add_param_group({"params": [("a", leaf())]}), ValueError, "group with names to"),
        (lambda: Adam([leaf()], eps=-1), ValueError, "Invalid epsilon value: -1"),
        (lambda: SGD([leaf()], 1).load_state_dict(SGD([leaf(), leaf()], 1).state_dict()), ValueError, "doesn't match"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
