"""Modules: what is in them, how they print, save, load, convert and call hooks; how layers start."""

from __future__ import annotations

import copy
import math
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import tritorch as torch
import tritorch.nn as nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(3, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)

    def forward(self, x):
        return self.head(self.body(x)) * self.scale


def test_what_is_registered():
    net = Net()
    names = ["scale", "body.0.weight", "body.0.bias", "head.weight"]
    assert [name for name, _ in net.named_parameters()] == names
    assert [name for name, _ in net.named_buffers()] == ["count", "scratch"]
    assert [name for name, _ in net.named_modules()] == ["", "body", "body.0", "body.1", "body.2", "head"]
    assert [name for name, _ in net.named_children()] == ["body", "head"]
    assert list(net.state_dict()) == ["scale", "count", "body.0.weight", "body.0.bias", "head.weight"]
    assert net.get_submodule("body.0") is net.body[0] and net.get_parameter("head.weight") is net.head.weight
    assert {"scale", "body", "count"} <= set(dir(net))
    net.body = nn.Identity()
    assert len(list(net.parameters())) == 2
    del net.head
    assert not hasattr(net, "head")


def test_tied_parameters_count_once_and_stay_tied():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 3 and len(list(net.named_parameters(remove_duplicate=False))) == 4
    net[0].weight.grad = torch.ones(2, 2)
    twin = copy.deepcopy(net)
    assert twin[1].weight is twin[0].weight and twin[0].weight is not net[0].weight and twin[0].weight.grad is None
    assert isinstance(pickle.loads(pickle.dumps(net))[0].weight, nn.Parameter)


def test_repr():
    assert repr(Net()) == (
        "Net(\n  (body): Sequential(\n    (0): Linear(in_features=2, out_features=3, bias=True)\n    (1): ReLU()\n"
        "    (2): Dropout(p=0.2, inplace=False)\n  )\n  (head): Linear(in_features=3, out_features=1, bias=False)\n)"
    )
    assert repr(nn.Parameter(torch.ones(2))) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    layers = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])
    assert repr(layers) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"


@pytest.mark.parametrize(
    "module, text",
    [
        (nn.Conv2d(1, 2, 3), "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))"),
        (
            nn.Conv2d(2, 4, 3, 2, 1, 2, 2, False),
            "Conv2d(2, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), groups=2, bias=False)",
        ),
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
        (nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"),
        (nn.Identity(3, a=4), "Identity()"),
        (nn.LeakyReLU(0.1, True), "LeakyReLU(negative_slope=0.1, inplace=True)"),
        (nn.GELU("tanh"), "GELU(approximate='tanh')"),
        (nn.LogSoftmax(1), "LogSoftmax(dim=1)"),
        (nn.Embedding(3, 4, padding_idx=0), "Embedding(3, 4, padding_idx=0)"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
        (nn.ModuleDict({"a": nn.ReLU()}), "ModuleDict(\n  (a): ReLU()\n)"),
        (
            nn.ParameterList([torch.ones(3, 4)]),
            "ParameterList(  (0): Parameter containing: [torch.float32 of size 3x4])",
        ),
    ],
)
def test_repr_of_layers(module, text):
    assert repr(module) == text


def test_loading_is_strict_and_all_or_nothing():
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = OrderedDict((name, value + 1) for name, value in net.state_dict().items())
    state["extra"] = state.pop("count")
    state["head.weight"] = torch.zeros(4)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Net:\n"
        '\tMissing key(s) in state_dict: "count". \n'
        '\tUnexpected key(s) in state_dict: "extra". \n'
        "\tsize mismatch for head.weight: copying a param with shape torch.Size([4]) from checkpoint, "
        "the shape in current model is torch.Size([1, 3])."
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(RuntimeError, match="size mismatch"):
        net.load_state_dict(state, strict=False)
    del state["head.weight"]
    keys = net.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["count", "head.weight"] and keys.unexpected_keys == ["extra"]
    assert torch.equal(net.scale, before["scale"] + 1)
    assert str(net.load_state_dict(before)) == "<All keys matched successfully>"
    assert torch.equal(net.scale, before["scale"]) and net.scale.requires_grad


def test_state_dict_shares_memory_and_carries_versions():
    net = Net()
    state = net.state_dict()
    state["scale"].fill_(7)
    assert net.scale.item() == 7 and state._metadata["body.0"] == {"version": 1}
    assert net.state_dict(keep_vars=True)["scale"] is net.scale
    assert list(net.head.state_dict(prefix="x.")) == ["x.weight"]
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like, got <class 'int'>"):
        net.load_state_dict(3)


def test_conversions_keep_the_parameters():
    net = Net()
    scale = net.scale
    assert net.double() is net and net.scale is scale and scale.dtype is torch.float64
    assert net.count.dtype is torch.int64
    net.to("interpreter", torch.float32)
    assert scale.device == torch.device("interpreter") and scale.dtype is torch.float32 and scale.is_leaf
    with pytest.raises(TypeError, match=r"nn.Module.to only accepts floating point .* dtype=torch.int64"):
        net.to(torch.int64)
    assert not net.eval().body[2].training and net.train().body[2].training
    net.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    visited = []
    net.apply(lambda module: visited.append(type(module).__name__))
    assert visited == ["Linear", "ReLU", "Dropout", "Sequential", "Linear", "Net"]


def test_gradients_are_forgotten():
    layer = nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0, 0]]
    layer.zero_grad()
    assert layer.weight.grad is None


def test_forward_hooks():
    layer, seen = nn.Linear(2, 2), []
    before = layer.register_forward_pre_hook(lambda module, args: (args[0] * 0,))
    after = layer.register_forward_hook(lambda module, args, output: seen.append(args[0].sum().item()) or output + 1)
    assert torch.equal(layer(torch.ones(2)), layer.bias + 1) and seen == [0]
    before.remove()
    after.remove()
    assert torch.allclose(layer(torch.ones(2)), layer.weight.sum(1) + layer.bias)


def test_backward_hooks():
    layer, seen = nn.Linear(2, 2), []
    layer.register_full_backward_pre_hook(lambda module, grads: (grads[0] * 2,))
    layer.register_full_backward_hook(lambda module, inputs, outputs: seen.append((inputs, outputs)))
    x = torch.ones(2, requires_grad=True)
    layer(x).sum().backward()
    ((grad_input,), (grad_output,)) = seen[0]
    assert grad_output.tolist() == [2, 2] and torch.equal(grad_input, x.grad)
    assert torch.allclose(x.grad, 2 * layer.weight.sum(0))


def test_containers():
    layers = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 3))
    assert len(layers[1:]) == 2 and isinstance(layers[1:], nn.Sequential) and layers[-1] is layers[2]
    layers.append(nn.Tanh()).insert(0, nn.Identity())
    assert [type(layer).__name__ for layer in layers] == ["Identity", "Linear", "ReLU", "Linear", "Tanh"]
    del layers[1:3]
    assert list(layers._modules) == ["0", "1", "2"] and len(layers.extend([nn.ReLU()])) == 4
    with pytest.raises(IndexError, match="index 9 is out of range"):
        layers[9]
    named = nn.Sequential(OrderedDict([("a", nn.Linear(1, 2))]))
    assert list(named.state_dict()) == ["a.weight", "a.bias"]
    assert len(nn.ModuleList([nn.ReLU()]) + nn.ModuleList([nn.Tanh()])) == 2
    values = nn.ParameterList([torch.ones(2), nn.Parameter(torch.ones(3))])
    assert [len(each) for each in values] == [2, 3] and len(list(values.parameters())) == 2
    table = nn.ModuleDict({"x": nn.ReLU()})
    table["y"] = nn.Tanh()
    assert list(table.keys()) == ["x", "y"] and "y" in table


def test_how_layers_start():
    torch.manual_seed(3)
    layer = nn.Linear(400, 300)
    bound = 1 / math.sqrt(400)
    weight = layer.weight.detach().numpy()
    assert np.abs(weight).max() < bound and abs(weight.std() - bound / math.sqrt(3)) < 1e-3 * bound * 10
    assert np.abs(layer.bias.detach().numpy()).max() < bound
    conv = nn.Conv2d(4, 100, 5, groups=2)
    assert 0.9 / math.sqrt(50) < conv.weight.abs().max().item() < 1 / math.sqrt(50)
    table = nn.Embedding(1000, 20, padding_idx=-1).weight.detach().numpy()
    assert abs(table[:-1].std() - 1) < 0.03 and not table[-1].any()


def test_prelu_keeps_the_shape_of_a_scalar():
    x = torch.tensor(-2.0, requires_grad=True)
    layer = nn.PReLU()
    layer(x).backward()
    assert layer(x).shape == () and x.grad.item() == 0.25 and layer.weight.grad.tolist() == [-2.0]


def test_initialisers():
    tensor = torch.empty(200, 100)
    for fill, deviation in (
        (nn.init.xavier_uniform_, math.sqrt(2 / 300)),
        (nn.init.xavier_normal_, math.sqrt(2 / 300)),
        (nn.init.kaiming_normal_, math.sqrt(2 / 100)),
        (lambda t: nn.init.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 200)),
    ):
        assert fill(tensor) is tensor and abs(tensor.numpy().std() / deviation - 1) < 0.03
    # The deviation of a standard normal cut off at two deviations is 0.8796.
    assert nn.init.trunc_normal_(tensor) is tensor and abs(tensor.numpy().std() / 0.8796 - 1) < 0.03
    assert np.abs(tensor.numpy()).max() <= 2 and abs(tensor.numpy().mean()) < 0.03
    half = nn.init.trunc_normal_(torch.empty(100, 100, dtype=torch.float16), mean=1, std=0.02).numpy()
    assert half.dtype == np.float16 and abs((half - 1).astype(np.float32).std() / 0.02 - 1) < 0.03
    assert nn.init.constant_(tensor, 3).numpy().min() == 3 and nn.init.eye_(tensor).sum().item() == 100
    assert nn.init.calculate_gain("leaky_relu", 1) == 1 and nn.init.calculate_gain("tanh") == 5 / 3
    with pytest.warns(FutureWarning, match="deprecated in favor of `nn.init.uniform_`"):
        nn.init.uniform(tensor)
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_normal_(torch.empty(3))


def test_clipping_and_vectors():
    layer = nn.Linear(2, 2)
    for parameter in layer.parameters():
        parameter.grad = torch.full(parameter.shape, 3.0)
    norm = nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
    assert abs(norm.item() - math.sqrt(54)) < 1e-4
    assert abs(nn.utils.get_total_norm([p.grad for p in layer.parameters()]).item() - 1) < 1e-4
    nn.utils.clip_grad_value_(layer.parameters(), 0.1)
    assert layer.weight.grad.max().item() == np.float32(0.1)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    nn.utils.vector_to_parameters(torch.zeros(6), layer.parameters())
    assert vector.shape == (6,) and not layer.weight.any()


class Uncalled(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(1, 1)


def set_weight(value):
    nn.Linear(1, 1).weight = value


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: set_weight(torch.ones(1)), TypeError, "cannot assign 'torch.FloatTensor' as parameter 'weight'"),
        (lambda: set_weight(3), TypeError, "'int' as parameter 'weight' (torch.nn.Parameter or None expected)"),
        (Uncalled, AttributeError, "cannot assign module before Module.__init__() call"),
        (lambda: nn.Module()(3), NotImplementedError, 'Module [Module] is missing the required "forward" function'),
        (lambda: nn.Linear(1, 1).foo, AttributeError, "'Linear' object has no attribute 'foo'"),
        (lambda: nn.Module().register_parameter("a.b", None), KeyError, 'contain "."'),
        (lambda: nn.Module().register_buffer("forward", None), KeyError, "attribute 'forward' already exists"),
        (lambda: nn.Sequential(3), TypeError, "int is not a Module subclass"),
        (lambda: nn.Module().train(3), ValueError, "training mode is expected to be boolean"),
        (lambda: nn.Dropout(2), ValueError, "dropout probability has to be between 0 and 1, but got 2"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible by groups"),
        (lambda: nn.HuberLoss(delta=1j), TypeError, "delta must be a float or int, got: <class 'complex'>"),
        (lambda: nn.Parameter(torch.tensor([1])), RuntimeError, "Only Tensors of floating point"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
