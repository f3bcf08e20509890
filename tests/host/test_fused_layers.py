"""Linear layers with what follows as one op: where that happens, where it must not, and that nobody can tell."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch import nn
from tritorch.autograd.intercept import Interceptor
from tritorch.func import functional_call, grad, jvp, vmap
from tritorch.nn import functional as F
from tritorch.nn.utils import parametrizations, parametrize
from tritorch.ops.base import TABLE
from tritorch.utils.checkpoint import checkpoint

LAYERS = {
    "relu": nn.ReLU, "relu in place": lambda: nn.ReLU(inplace=True), "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"), "silu": nn.SiLU, "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}  # fmt: skip
OTHERS = ("linear_cross_entropy", "convolution_input_gradient", "convolution_weight_gradient")


@pytest.fixture
def called(monkeypatch):
    """The names of the fused ops that were called."""
    found = []
    for op in TABLE.values():
        if op.op_name.startswith(("linear_", "convolution_")) and op.op_name not in OTHERS:
            run = op.host
            monkeypatch.setattr(op, "host", lambda *args, _op=op, _run=run: (found.append(_op.op_name), _run(*args))[1])
    return found


def pair(activation, width=5, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, width, bias=bias), activation())


def apart(net, x):
    """The modules of a sequence called one by one."""
    for module in net:
        x = module(x)
    return x


def gradients(run, net, x):
    """The result, and the gradients by input and parameters of a scalar that reads its square."""
    net = copy.deepcopy(net)
    x = x.detach().clone().requires_grad_(x.is_floating_point())
    y = run(net, x)
    (y * y).sum().backward()
    return [each.detach() for each in (y, x.grad, *[p.grad for p in net.parameters()])]


def agree(mine, true):
    for a, b in zip(mine, true, strict=True):
        assert a.dtype == b.dtype
        relative, absolute = tolerance(str(a.dtype).split(".")[1], gradient=True)
        np.testing.assert_allclose(a.double().numpy(), b.double().numpy(), relative, absolute)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(4, 7), (7,), (2, 3, 7), (0, 7)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_same_numbers_and_gradients(name, shape, dtype, called):
    net, x = pair(LAYERS[name]).to(dtype), torch.randn(shape, dtype=dtype)
    mine = gradients(nn.Sequential.forward, net, x)
    assert len(called) == 1
    agree(mine, gradients(apart, net, x))
    assert len(called) == 1
    with torch.no_grad():
        agree([net(x)], [apart(net, x)])
    assert called[1] == f"linear_{name.split()[0]}"  # what a gradient would need is not written


def test_long_sequences(called):
    net = nn.Sequential(nn.Linear(7, 6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.GELU(),
                        nn.ReLU(), nn.Linear(4, 3))  # fmt: skip
    x = torch.randn(4, 7)
    agree(gradients(nn.Sequential.forward, net, x), gradients(apart, net, x))
    assert called == ["linear_relu", "linear_gelu_kept"]


class Twice(nn.Linear):
    def forward(self, input):
        return super().forward(input) * 2


def _hooked(net, where, register):
    seen = []
    getattr(net[where], register)(lambda *args: seen.append(1))
    return seen


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook",
                                      "register_full_backward_hook", "register_full_backward_pre_hook"])  # fmt: skip
def test_hooks_see_both_layers(register, where, called):
    net = pair(nn.GELU)
    seen = _hooked(net, where, register)
    net(torch.randn(4, 7, requires_grad=True)).sum().backward()
    assert len(seen) == 1
    assert called == []


def test_hooks_of_all_modules(called):
    net, seen = pair(nn.ReLU), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module)))
    try:
        net(torch.randn(4, 7))
    finally:
        handle.remove()
    assert seen == [nn.Linear, nn.ReLU, nn.Sequential]
    assert called == []
    net(torch.randn(4, 7))
    assert called == ["linear_relu"]


def replaced_forward(net):
    net[0].forward = lambda input: F.linear(input, net[0].weight) * 2


def subclass(net):
    net[0].__class__ = Twice


def parametrised(net):
    class Doubled(nn.Module):
        def forward(self, weight):
            return weight * 2

    parametrize.register_parametrization(net[0], "weight", Doubled())


def normed(net):
    parametrizations.weight_norm(net[0])


def other_bias(net):
    bias = net[0].bias.detach() * 2
    del net[0].bias
    net[0].bias = bias


def followed_by_another(net):
    net[1] = nn.Mish()


@pytest.mark.parametrize("change", [replaced_forward, subclass, parametrised, normed, other_bias, followed_by_another])
def test_layers_that_are_not_ours_are_called_one_by_one(change, called):
    net, x = pair(nn.ReLU), torch.randn(4, 7)
    change(net)
    agree([net(x).detach()], [apart(net, x).detach()])
    assert called == []


@pytest.mark.parametrize("name", ["linear", "gelu"])
def test_a_function_put_in_the_place_of_ours_is_called(name, called, monkeypatch):
    net, seen, ours = pair(nn.GELU), [], getattr(F, name)
    monkeypatch.setattr(F, name, lambda *args, **kwargs: (seen.append(1), ours(*args, **kwargs))[1])
    net(torch.randn(4, 7))
    assert seen == [1]
    assert called == []


class Watch(Interceptor):
    def __init__(self):
        self.seen = []

    def intercept(self, cls, args):
        self.seen.append(cls.op_name)
        return cls.apply(*args)


def test_interceptors_see_the_ops_of_both_layers(called):
    net, x = pair(nn.SiLU), torch.randn(4, 7)
    with Watch() as watch:
        net(x)
    assert watch.seen == ["linear", "silu"]
    with torch.profiler.profile() as profile:
        net(x)
    assert {"linear", "silu"} <= {each.key for each in profile.key_averages()}
    assert called == []
    with Watch() as watch:
        watch.transparent = True
        net(x)
    assert watch.seen == called == ["linear_silu_kept"]


def test_anomaly_mode(called):
    net = pair(nn.GELU)
    with torch.autograd.set_detect_anomaly(True):
        net(torch.randn(4, 7)).sum().backward()
    assert called == []


def test_vmap_and_transforms(called):
    net, x = pair(nn.GELU), torch.randn(3, 4, 7)
    agree([vmap(net)(x).detach()], [apart(net, x).detach()])
    assert called == []
    parameters = dict(net.named_parameters())

    def loss(run):
        return lambda parameters, x: (functional_call(run, parameters, (x,)) ** 2).sum()

    class Apart(nn.Sequential):
        def forward(self, input):
            return apart(self, input)

    other = Apart(*net)
    mine, true = (grad(loss(each))(parameters, x) for each in (net, other))
    agree([each.detach() for each in mine.values()], [each.detach() for each in true.values()])
    mine, true = (jvp(each, (x,), (torch.ones_like(x),)) for each in (net, other))
    agree([each.detach() for each in mine], [each.detach() for each in true])
    examples, expected = (vmap(grad(loss(each)), (None, 0))(parameters, x) for each in (net, other))
    agree([each.detach() for each in examples.values()], [each.detach() for each in expected.values()])


@pytest.mark.parametrize("name", LAYERS)
def test_second_derivatives(name):
    net = pair(LAYERS[name]).double()
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w, b: functional_call(net, {"0.weight": w, "0.bias": b}, (x,)),
                                        (x, *[p.detach().requires_grad_() for p in net.parameters()]))  # fmt: skip


def test_autocast(called):
    net, x = pair(nn.GELU), torch.randn(4, 7)

    def lowered(run):
        def inside(net, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = run(net, x)
            assert y.dtype == torch.bfloat16
            return y.float()

        return inside

    mine, true = (gradients(lowered(run), net, x) for run in (nn.Sequential.forward, apart))
    assert called == ["linear_gelu_kept"]
    for a, b in zip(mine, true, strict=True):
        assert a.dtype == b.dtype == torch.float32
        np.testing.assert_allclose(a.numpy(), b.numpy(), *tolerance("bfloat16", gradient=True))


def test_checkpoints_and_what_is_saved():
    net, x = pair(nn.GELU), torch.randn(4, 7)
    plain = gradients(apart, net, x)
    for reentrant in (False, True):
        agree(gradients(lambda net, x: checkpoint(net, x, use_reentrant=reentrant), net, x), plain)  # noqa: B023
    y = net(x)
    with torch.no_grad():
        net[0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = net(x)
    y.mul_(2)  # a gelu does not need its result
    y.sum().backward()
    y = pair(nn.ReLU)(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="output 0 of Relu, is at version 1"):
        y.sum().backward()


def test_errors_and_names_are_those_of_the_layers():
    net = pair(nn.GELU)
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(4x8 and 7x5\)"):
        net(torch.randn(4, 8))
    with pytest.raises(RuntimeError, match="mat1 and mat2 must have the same dtype, but got Double and Float"):
        net(torch.randn(4, 7, dtype=torch.float64))
    assert net(torch.randn(4, 7)).grad_fn.name() == "GeluBackward0"
    assert not net(torch.randn(4, 7)).detach().requires_grad


class Own(nn.TransformerEncoderLayer):
    def _ff_block(self, x):
        return super()._ff_block(x) * 2


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(
    "activation", ["relu", F.gelu, nn.GELU(), lambda x: x * 2], ids=["relu", "gelu", "GELU", "own"]
)
@pytest.mark.parametrize("kind", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, Own])
def test_feed_forward_of_a_transformer(kind, activation, norm_first, called):
    torch.manual_seed(0)
    layer = kind(8, 2, 12, dropout=0.1, activation=activation, norm_first=norm_first, batch_first=True)
    memory = [torch.randn(2, 5, 8)] if kind is nn.TransformerDecoderLayer else []
    x = torch.randn(2, 4, 8)
    hook = layer.linear1, layer.linear2
    found = []
    for hooked in (False, True):
        handles = [each.register_forward_hook(lambda *_: None) for each in hook if hooked]
        layer.eval()
        found.append(gradients(lambda net, x: net(x, *memory), layer, x))
        layer.train()
        torch.manual_seed(1)
        found.append(gradients(lambda net, x: net(x, *memory), layer, x))
        if not hooked:
            first = [] if isinstance(activation, type(lambda: 0)) and activation.__name__ == "<lambda>" else [
                "linear_relu" if activation == "relu" else "linear_gelu_kept"
            ]  # fmt: skip
            assert called == [*first, *([] if kind is Own else ["linear_add"]), *first]
            called.clear()
        for handle in handles:
            handle.remove()
    assert called == []
    agree(found[0], found[2])
    agree(found[1], found[3])


CONVOLUTIONS = {
    "one dimension": (lambda: nn.Conv1d(3, 4, 3, padding=1), (2, 3, 7)),
    "strided": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=(1, 0)), (2, 3, 7, 8)),
    "no bias": (lambda: nn.Conv2d(4, 4, 3, dilation=2, groups=2, bias=False), (2, 4, 7, 8)),
    "same": (lambda: nn.Conv2d(3, 4, (3, 2), padding="same"), (2, 3, 5, 6)),
    "one image": (lambda: nn.Conv2d(3, 4, 3), (3, 5, 6)),
    "no image": (lambda: nn.Conv2d(3, 4, 3), (0, 3, 5, 6)),
    "three dimensions": (lambda: nn.Conv3d(2, 3, 2), (2, 2, 3, 4, 3)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("activation", ["relu", "relu in place", "sigmoid", "tanh"])
def test_a_convolution_and_its_activation(activation, name, called):
    torch.manual_seed(0)
    make, shape = CONVOLUTIONS[name]
    net = nn.Sequential(make(), LAYERS[activation]())
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        mine, x = net.to(dtype), torch.randn(shape, dtype=dtype)
        with torch.no_grad():
            agree([mine(x)], [apart(mine, x)])
    assert called == [f"convolution_{activation.split()[0]}"] * 3
    assert mine(x).requires_grad and len(called) == 3  # a step of training would hold more memory
    assert not mine.requires_grad_(False)(x).requires_grad and len(called) == 4


def test_convolutions_that_stay_by_themselves(called):
    x = torch.randn(2, 3, 6, 6)
    hooked = nn.Conv2d(3, 4, 3)
    seen = []
    hooked.register_forward_hook(lambda *_: seen.append(1))
    for layer, after in (
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.ReLU()), (nn.Conv2d(3, 4, 3), nn.GELU()),
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (nn.ConvTranspose2d(3, 4, 3), nn.ReLU()), (hooked, nn.ReLU()),
    ):  # fmt: skip
        net = nn.Sequential(layer, after)
        assert torch.equal(net(x), apart(net, x))
    assert called == [] and seen == [1, 1]


def test_convolutions_under_autocast(called):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Tanh())
    x = torch.randn(2, 3, 6, 6)

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        agree([net(x)], [apart(net, x)])
        assert net(x).dtype == torch.bfloat16
    assert called == ["convolution_relu", "convolution_tanh"] * 2


def test_errors_of_a_convolution_are_the_functions(called):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    for wrong in (torch.randn(2, 5, 6, 6), torch.randn(2, 6), torch.randn(2, 3, 2, 2)):
        with pytest.raises(RuntimeError) as mine, torch.no_grad():
            net(wrong)
        with pytest.raises(RuntimeError) as true:
            apart(net, wrong)
        assert str(mine.value) == str(true.value)
    assert called == []
