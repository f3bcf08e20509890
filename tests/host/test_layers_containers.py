"""Sequential, ModuleList and ModuleDict, ParameterList and ParameterDict, and the tree that modules make."""

from __future__ import annotations

from collections import OrderedDict

import pytest

import tritorch as torch
from tritorch import nn


def names(modules):
    return [type(module).__name__ for module in modules]


def test_sequences_add_multiply_and_change():
    layers = nn.Sequential(nn.ReLU(), nn.Tanh())
    assert names(layers + nn.Sequential(nn.GELU())) == ["ReLU", "Tanh", "GELU"]
    assert names(2 * layers) == names(layers * 2) == ["ReLU", "Tanh"] * 2 and len(layers) == 2
    before = layers
    layers *= 2
    layers += nn.Sequential(nn.Mish())
    assert layers is before and names(layers) == ["ReLU", "Tanh", "ReLU", "Tanh", "Mish"]
    assert names(layers[::2]) == ["ReLU", "ReLU", "Mish"] and list(layers[::2]._modules) == ["0", "2", "4"]
    assert type(layers.pop(-1)) is nn.Mish and type(layers.pop(0)) is nn.ReLU
    layers.insert(-1, nn.SiLU())
    assert names(layers) == ["Tanh", "ReLU", "SiLU", "Tanh"]
    layers[0] = nn.GELU()
    assert type(layers[0]) is nn.GELU


@pytest.mark.parametrize(
    "use, error, text",
    [
        (lambda s: s * 0, ValueError, "Non-positive multiplication factor 0"),
        (lambda s: s * 1.5, TypeError, "unsupported operand type"),
        (lambda s: s + 3, ValueError, "add operator supports only objects of Sequential class"),
        (lambda s: s.insert(9, nn.ReLU()), IndexError, "Index out of range: 9"),
        (lambda s: s.insert(0, 3), AssertionError, "module should be of type"),
        (lambda s: s.append(3), TypeError, "int is not a Module subclass"),
        (lambda s: s[9], IndexError, "index 9 is out of range"),
    ],
)
def test_errors_of_sequences(use, error, text):
    with pytest.raises(error) as caught:
        use(nn.Sequential(nn.ReLU()))
    assert text in str(caught.value)


def test_scripts_may_write_the_dicts():
    net = nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=nn.ReLU()))
    net._modules["b"] = nn.Tanh()
    del net._modules["a"]
    assert repr(net) == "Sequential(\n  (b): Tanh()\n)"
    layer = nn.Linear(2, 2)
    layer._buffers["mean"] = torch.ones(1)
    del layer._parameters["weight"]
    layer.weight = torch.zeros(2, 2)  # a plain tensor, as weight dropping scripts do
    assert list(layer.state_dict()) == ["bias", "mean"] and torch.equal(layer(torch.ones(2)), layer.bias)


def test_parameters_in_a_dict():
    table = nn.ParameterDict({"b": torch.ones(2), "a": nn.Parameter(torch.ones(3)), "c": 5})
    assert list(table.keys()) == ["a", "b", "c"]  # a plain dict is taken in the order of its keys
    assert repr(table) == (
        "ParameterDict(\n    (a): Parameter containing: [torch.FloatTensor of size 3]\n"
        "    (b): Parameter containing: [torch.FloatTensor of size 2]\n    (c): Object of type: int\n)"
    )
    assert isinstance(table["b"], nn.Parameter) and table["c"] == 5 and table.get("z", 1) == 1
    assert list(table.state_dict()) == ["b", "a"] or list(table.state_dict()) == ["a", "b"]
    assert table.setdefault("d", 7) == 7 and table.pop("d") == 7 and table.popitem() == ("c", 5)
    assert list(reversed(table)) == ["b", "a"] and "a" in table and len(table) == 2
    both = table | {"x": torch.zeros(1)}
    both |= OrderedDict(q=torch.zeros(1))
    assert list(both) == ["a", "b", "x", "q"] and both["a"] is table["a"] and list(table.copy()) == ["a", "b"]
    assert [each.shape for each in table.values()] == [(3,), (2,)] and dict(table.items())["b"] is table["b"]
    assert list(table.fromkeys(["u", "v"], torch.ones(1))) == ["u", "v"]
    table.clear()
    assert not len(table) and not list(table.parameters())


@pytest.mark.parametrize(
    "use, error, text",
    [
        (lambda: nn.ParameterDict({1: torch.ones(1)}), TypeError, "cannot be used as a key as it is not a string"),
        (lambda: nn.ParameterDict(5), TypeError, "should be called with an iterable of key/value pairs, but got int"),
        (lambda: nn.ParameterDict([("a", 1, 2)]), ValueError, "update sequence element #0 has length 3; 2 is required"),
        (lambda: nn.ParameterDict({"a.b": torch.ones(1)}), KeyError, "parameter name can\\'t contain"),
        (lambda: nn.ParameterDict()(1), RuntimeError, "ParameterDict should not be called."),
        (lambda: nn.ParameterList()(1), RuntimeError, "ParameterList should not be called."),
        (lambda: nn.ParameterList(torch.ones(2, 2)), TypeError, "should be called with an iterable, but got Tensor"),
        (lambda: nn.ModuleDict({"keys": nn.ReLU()}), KeyError, "attribute 'keys' already exists"),
        (lambda: nn.ModuleDict([5]), TypeError, "update sequence element #0 should be Iterable"),
    ],
)
def test_errors_of_dicts_and_lists(use, error, text):
    with pytest.raises(error) as caught:
        use()
    assert text in str(caught.value)


def test_parameters_in_a_list():
    values = nn.ParameterList([torch.ones(2), 3, nn.Parameter(torch.ones(2, 2))])
    values += [torch.zeros(1)]
    assert len(values[1:]) == 3 and values[-1].shape == (1,) and len(list(values.parameters())) == 3
    assert list(values.state_dict()) == ["0", "2", "3"] and "0" not in dir(values)
    assert repr(values[:2]) == (
        "ParameterList(\n    (0): Parameter containing: [torch.float32 of size 2]\n    (1): Object of type: int\n)"
    )


def test_parts_by_name():
    net = nn.Sequential(OrderedDict(a=nn.Sequential(nn.Linear(2, 2), nn.ReLU()), b=nn.BatchNorm1d(2)))
    net.set_submodule("a.1", nn.Tanh())
    assert type(net.a[1]) is nn.Tanh and net.get_buffer("b.running_mean") is net.b.running_mean
    with pytest.raises(ValueError, match=r"`module` is not an nn.Module, found <class 'int'>"):
        net.set_submodule("a.1", 3)
    with pytest.raises(AttributeError, match=r"`weight` is not an nn.Module"):
        net.set_submodule("b.weight", nn.Tanh())
    with pytest.raises(AttributeError, match=r"`running_mean` is not an nn.Parameter"):
        net.get_parameter("b.running_mean")


def test_modules_that_forget_super():
    class Net(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
        Net()


def test_annotations_and_mixed_in_classes():
    class Mixed:
        def __init__(self, *args, **kwargs):
            self.given = args, kwargs

    class Net(nn.Module, Mixed):
        call_super_init = True
        mean: torch.Tensor

        def __init__(self):
            super().__init__(1, b=2)
            self.register_buffer("mean", torch.ones(1))

    net = Net()
    assert net.given == ((1,), {"b": 2}) and net.mean.item() == 1 and net.compile() is None


def test_wrappers_for_several_devices_run_on_one():
    layer = nn.Linear(2, 3)
    wrapped, x = nn.DataParallel(layer, device_ids=[0, 1]), torch.ones(4, 2)
    assert torch.equal(wrapped(x), layer(x)) and list(wrapped.state_dict()) == ["module.weight", "module.bias"]
    assert torch.equal(nn.parallel.data_parallel(layer, x, [0]), layer(x))
    state = wrapped.state_dict()
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == ["weight", "bias"] and list(state._metadata) == [""]
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        nn.parallel.DistributedDataParallel(layer)


def test_choices_of_attention_are_taken():
    from tritorch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        assert nn.functional.scaled_dot_product_attention(*[torch.ones(1, 2, 3)] * 3).tolist() == [[[1] * 3] * 2]
    with pytest.raises(AssertionError, match="Backend must be an instance of SDPBackend"), sdpa_kernel(3):
        pass
