"""torch.func's transforms: their values by formulas, how they nest, and that they leave everything else alone."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch
from tritorch import nn
from tritorch.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)
from tritorch.nn import functional


def _of(*shape, seed=0):
    return tritorch.tensor(np.random.default_rng(seed).standard_normal(shape))


def test_grad_of_grad():
    x = _of()
    a = x.numpy()
    close(grad(lambda x: x.sin())(x), np.cos(a), gradient=True)
    close(grad(grad(lambda x: x.sin()))(x), -np.sin(a), gradient=True)
    close(grad(grad(grad(lambda x: x.sin() * x)))(x), -3 * np.sin(a) - a * np.cos(a), gradient=True)


def test_arguments_and_aux():
    x, y = _of(3), _of(3, seed=1)
    by_y = grad(lambda x, y: (x * y).sum(), argnums=1)(x, y)
    close(by_y, x.numpy())
    both = grad(lambda x, y: (x * y * y).sum(), argnums=(0, -1))(x, y)
    close(both[1], 2 * (x * y).numpy())
    found, (value, aux) = grad_and_value(lambda d: (d["x"].exp().sum(), d["x"] * 2), has_aux=True)({"x": x})
    close(found["x"], x.exp().numpy())
    close(value, x.exp().sum().numpy())
    close(aux, 2 * x.numpy())
    assert not value.requires_grad
    assert not aux.requires_grad
    unused = grad(lambda x, y: y.sum(), argnums=(0, 1))(x, y)
    close(unused[0], np.zeros(3))


def test_nothing_else_is_touched():
    w, x = _of(3, seed=1).requires_grad_(), _of(3)
    found = grad(lambda x: (x * w).pow(3).sum())(x)
    assert w.grad is None
    assert x.grad is None
    assert not x.requires_grad
    found.sum().backward()  # the result depends on w, and says so
    close(w.grad, (9 * (x * w).pow(2)).detach().numpy(), gradient=True)
    assert not grad(lambda x: x.pow(2).sum())(x).requires_grad
    leaf = x.clone().requires_grad_()
    slope = grad(lambda x: x.pow(3).sum())(leaf)
    close(tritorch.autograd.grad(slope.sum(), leaf)[0], 6 * x.numpy(), gradient=True)


def test_under_no_grad():
    x, w = _of(3), _of(3, seed=1).requires_grad_()
    with tritorch.no_grad():
        found = grad(lambda x: (x * w).pow(2).sum())(x)
    close(found, (2 * x * w * w).detach().numpy(), gradient=True)
    assert not found.requires_grad

    def partly(x):
        with tritorch.no_grad():
            constant = x**2
        return (x - constant).sum()

    close(grad(partly)(x), np.ones(3))


def test_vjp_and_jvp():
    x, y, u, v = (_of(4, seed=seed) for seed in range(4))
    a, b = x.numpy(), y.numpy()
    value, pull = vjp(lambda x, y: (x * y, x.sum() * y), x, y)
    close(value[0], a * b)
    by_x, by_y = pull((u, v))
    close(by_x, u.numpy() * b + (v.numpy() * b).sum(), gradient=True)
    close(by_y, u.numpy() * a + v.numpy() * a.sum(), gradient=True)
    value, tangent = jvp(lambda x, y: (x * y, x.sum() * y), (x, y), (u, v))
    close(tangent[0], u.numpy() * b + a * v.numpy(), gradient=True)
    close(tangent[1], u.numpy().sum() * b + a.sum() * v.numpy(), gradient=True)
    _, push = linearize(lambda x: x.cumsum(0).sin(), x)
    for move in (u, v):
        close(push(move), np.cos(a.cumsum()) * move.numpy().cumsum(), gradient=True)
    _, curvature = jvp(grad(lambda x: x.exp().sum()), (x,), (u,))
    close(curvature, np.exp(a) * u.numpy(), gradient=True)
    close(jvp(lambda x: tritorch.ones(2), (x,), (u,))[1], np.zeros(2))
    close(vmap(pull)((_of(5, 4), _of(5, 4)))[1], (_of(5, 4) * x + _of(5, 4) * x.sum()).numpy(), gradient=True)


@pytest.mark.parametrize("jacobian", [jacrev, jacfwd])
def test_jacobians(jacobian):
    x, y = _of(4), _of(4, seed=1)
    a, b = x.numpy(), y.numpy()
    close(jacobian(lambda x: x.sin())(x), np.diag(np.cos(a)), gradient=True)
    found = jacobian(lambda d, y: {"a": d["x"] * y, "b": (d["x"].sum() * y[:2],)}, argnums=(0, 1))({"x": x}, y)
    close(found["a"][0]["x"], np.diag(b), gradient=True)
    close(found["b"][0][1], a.sum() * np.eye(2, 4), gradient=True)
    found, aux = jacobian(lambda x: (x.prod(), x * 2), has_aux=True)(x)
    close(found, a.prod() / a, gradient=True)
    close(aux, 2 * a)
    weights = _of(3, 4, seed=2)
    rows = vmap(jacobian(lambda x: (weights @ x).exp()))(_of(5, 4, seed=3))
    scale = np.exp(_of(5, 4, seed=3).numpy() @ weights.numpy().T)
    close(rows, scale[..., None] * weights.numpy(), gradient=True)


def test_hessians():
    x, y = _of(3), _of(3, seed=1)
    a, b = x.numpy(), y.numpy()
    for of in (hessian, lambda f: jacfwd(jacrev(f)), lambda f: jacrev(jacfwd(f)), lambda f: jacfwd(jacfwd(f))):
        close(of(lambda x: x.sin().sum() * x[0])(x), _hessian_of_sines(a), gradient=True)
    found = hessian(lambda x, y: (x * x * y).sum(), argnums=(0, 1))(x, y)
    close(found[0][0], np.diag(2 * b), gradient=True)
    close(found[0][1], np.diag(2 * a), gradient=True)
    close(found[1][1], np.zeros((3, 3)))
    many = vmap(hessian(lambda x: x.exp().sum()))(_of(5, 3))
    close(many, np.exp(_of(5, 3).numpy())[..., None] * np.eye(3), gradient=True)


def _hessian_of_sines(a):
    found = np.diag(-np.sin(a) * a[0])
    found[0] += np.cos(a)
    found[:, 0] += np.cos(a)
    return found


def test_a_jacobian_in_chunks_repeats_its_random_numbers():
    x = tritorch.ones(6)
    tritorch.manual_seed(0)
    whole = jacrev(lambda x: functional.dropout(x * x, 0.5))(x)
    tritorch.manual_seed(0)
    kept = functional.dropout(x, 0.5).numpy()
    close(whole, np.diag(2 * kept), gradient=True)
    tritorch.manual_seed(0)
    close(jacrev(lambda x: functional.dropout(x * x, 0.5), chunk_size=4)(x), np.diag(2 * kept), gradient=True)


def _network():
    tritorch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3)
    )  # fmt: skip


def test_gradients_of_each_sample():
    model, x, y = _network(), _of(5, 2, 4, 4).float(), tritorch.tensor([0, 1, 2, 1, 0])
    parameters = dict(model.named_parameters())

    def loss(parameters, x, y):
        return functional.cross_entropy(functional_call(model, parameters, (x.unsqueeze(0),)), y.unsqueeze(0))

    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    for number in range(5):
        functional.cross_entropy(model(x[number : number + 1]), y[number : number + 1]).backward()
        for name, parameter in parameters.items():
            close(found[name][number], parameter.grad.numpy(), gradient=True)
            parameter.grad = None


def test_an_ensemble():
    models = [_network() for _ in range(3)]
    for number, model in enumerate(models):
        for parameter in model.parameters():
            parameter.data.mul_(1 + number / 4)
    x = _of(2, 2, 4, 4).float()
    parameters, buffers = stack_module_state(models)
    out = vmap(lambda p, b: functional_call(models[0], (p, b), (x,)))(parameters, buffers)
    out.pow(2).sum().backward()
    for number, model in enumerate(models):
        own = model(x)
        close(out[number], own.detach().numpy())
        own.pow(2).sum().backward()
        for name, parameter in model.named_parameters():
            close(parameters[name].grad[number], parameter.grad.numpy(), gradient=True)


def test_learning_to_learn():
    """MAML (Finn, Abbeel and Levine 2017) on scalar problems, where both steps have formulas."""
    w = tritorch.tensor(0.5, dtype=tritorch.float64, requires_grad=True)
    targets = _of(6)

    def after_one_step(target):
        inner = w - 0.1 * grad(lambda w: (w - target).pow(2))(w)
        return (inner - target).pow(2)

    loss = vmap(after_one_step)(targets).mean()
    loss.backward()
    close(loss.detach(), (0.64 * (0.5 - targets.numpy()) ** 2).mean(), gradient=True)
    close(w.grad, (1.28 * (0.5 - targets.numpy())).mean(), gradient=True)


def test_functional_call_replaces_what_is_given():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    own = model[0].weight
    x = _of(4, 2).float()
    given = {"0.weight": tritorch.zeros(2, 2), "0.bias": tritorch.ones(2), "1.running_mean": tritorch.zeros(2)}
    functional_call(model, given, x)
    close(given["1.running_mean"], np.full(2, 0.1))  # written as the module's own would be
    assert model[0].weight is own
    close(model[1].running_mean, np.zeros(2))
    tied = nn.Module()
    tied.a = nn.Linear(2, 2, bias=False)
    tied.b = nn.Linear(2, 2, bias=False)
    tied.b.weight = tied.a.weight
    tied.forward = lambda x: tied.b(tied.a(x))
    close(functional_call(tied, {"a.weight": 2 * tritorch.eye(2)}, x), 4 * x.numpy())
    untied = functional_call(tied, {"a.weight": 2 * tritorch.eye(2)}, x, tie_weights=False)
    close(untied, 2 * (x @ tied.a.weight.T).detach().numpy())
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\): 'weigt'.\n\tMissing key\(s\): 'bias', 'weight'."):
        functional_call(nn.Linear(2, 2), {"weigt": x}, x, strict=True)
    with pytest.raises(ValueError, match=r"\['bias'\] appeared in multiple dictionaries"):
        functional_call(nn.Linear(2, 2), ({"bias": x}, {"bias": x}), x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: grad(lambda x: x)(x), "return a scalar Tensor, got tensor with 1 dims"),
        (lambda x: grad(lambda x: 1.0)(x), "to return a Tensor, got <class 'float'>"),
        (lambda x: grad(lambda x: x.sum(), has_aux=True)(x), r"should be a tuple: \(output, aux\)"),
        (lambda x: grad(lambda x: x.sum(), argnums=1)(x), "Got argnum=1, but only 1 positional inputs"),
        (lambda x: grad(lambda x: x.sum(), argnums="a")(x), "argnums must be int or Tuple"),
        (lambda x: grad(lambda x, y: x.sum(), argnums=(0, 0))(x, x), "argnums elements must be unique"),
        (lambda x: grad(lambda x: x.sum())(x.long()), "only Tensors of floating point dtype can require gradients"),
        (lambda x: vjp(lambda x: x, x)[1](x[:2]), "Mismatch in shape: grad_output"),
        (lambda x: vjp(lambda x: (x, x), x)[1](x), r"cotangents: \*, primal output: \(\*, \*\)"),
        (lambda x: vjp(lambda x: 1, x), "expected f.* to return only tensors, got unsupported type <class 'int'>"),
        (lambda x: jvp(lambda x: x, x, x), "Expected primals to be a tuple"),
        (lambda x: jvp(lambda x: x, (x,), (x[:2],)), "forward gradient that has a different size"),
        (lambda x: jvp(lambda x: x, (), ()), "Expected primals to contain at least one Tensor"),
        (lambda x: grad(lambda x: (x.sum().backward(), x.sum())[1])(x), r"backward\(\) called inside a functorch"),
        (lambda x: stack_module_state([]), "Expected at least one model, got 0"),
        (lambda x: stack_module_state([nn.ReLU(), nn.Tanh()]), "all models to be of the same class"),
    ],
)
def test_calls_that_are_wrong(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(_of(3))


class _Exp(tritorch.autograd.Function):
    """exp(x) times a number, and the sum of x, with a rule for vmap made from these."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, factor):
        return x.exp() * factor, x.sum()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output[0])

    @staticmethod
    def backward(ctx, grad, grad_sum):
        (out,) = ctx.saved_tensors
        return grad * out + grad_sum, None


class _Times(tritorch.autograd.Function):
    """x times y, with a rule of its own."""

    @staticmethod
    def forward(x, y):
        return x * y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * y, grad * x

    @staticmethod
    def vmap(info, in_dims, x, y):
        assert info.batch_size == 3
        x, y = (each if dim is not None else each.unsqueeze(0) for each, dim in zip((x, y), in_dims, strict=True))
        return _Times.apply(x, y.expand(x.shape)), 0


class _Without(tritorch.autograd.Function):
    """A function without a rule."""

    forward = staticmethod(lambda x: x * 2)
    setup_context = staticmethod(lambda ctx, inputs, output: None)
    backward = staticmethod(lambda ctx, grad: grad * 2)


def test_functions_of_users():
    x = _of(3, 4)
    a = x.numpy()
    close(vmap(lambda x: _Exp.apply(x, 2.0)[0])(x), 2 * np.exp(a))
    close(vmap(grad(lambda x: _Exp.apply(x, 2.0)[0].sum() + 3 * _Exp.apply(x, 2.0)[1]))(x), 2 * np.exp(a) + 3)
    second = vmap(grad(lambda x: grad(lambda x: _Exp.apply(x, 2.0)[0].sum())(x).sum()))(x)
    close(second, 2 * np.exp(a), gradient=True)
    close(jacrev(lambda x: _Exp.apply(x, 2.0)[0])(x[0]), np.diag(2 * np.exp(a[0])), gradient=True)
    close(vmap(_Times.apply, in_dims=(0, None))(x, x[0]), a * a[0])
    by_both = vmap(grad(lambda x, y: _Times.apply(x, y).sum(), argnums=(0, 1)), in_dims=(0, None))(x, x[0])
    close(by_both[1], a)
    close(grad(lambda x: _Without.apply(x).sum())(x), np.full((3, 4), 2.0))
    with pytest.raises(RuntimeError, match="vmap over _Without, but it does not have vmap support"):
        vmap(_Without.apply)(x)


def test_forward_mode():
    from tritorch.autograd import forward_ad

    x, move = _of(3), _of(3, seed=1)
    a, v = x.numpy(), move.numpy()
    with tritorch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(x, move)
        out = forward_ad.unpack_dual(dual.sin() * dual.sum())
        close(out.primal, np.sin(a) * a.sum())
        close(out.tangent, np.cos(a) * v * a.sum() + np.sin(a) * v.sum(), gradient=True)
        close(forward_ad.unpack_dual(dual).tangent, v)
        assert forward_ad.unpack_dual(x * 2).tangent is None
    leaf = x.clone().requires_grad_()
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(forward_ad.make_dual(leaf, move).pow(3).sum()).tangent
    close(tritorch.autograd.grad(tangent, leaf)[0], 6 * a * v, gradient=True)
    with pytest.raises(RuntimeError, match="no level exists, make sure to enter_dual_level"):
        forward_ad.make_dual(x, move)
    with forward_ad.dual_level(), pytest.raises(ValueError, match="Expected primal to be floating point"):
        forward_ad.make_dual(x.long(), move)


def test_autograd_grad_inside_transforms():
    x, w = _of(3, 4), _of(4, seed=1).requires_grad_()

    def inner(row):
        return tritorch.autograd.grad(row.pow(3).sum(), row, create_graph=True)[0].sum()

    close(vmap(grad(inner))(x), 6 * x.numpy(), gradient=True)
    close(grad(inner)(x[0]), 6 * x[0].numpy(), gradient=True)
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad"):
        vmap(lambda row: tritorch.autograd.grad((row * w).sum(), w))(x)
