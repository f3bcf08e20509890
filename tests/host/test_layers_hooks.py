"""Hooks of modules, their own and those of all, and what loading does with them."""

from __future__ import annotations

import copy

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn.modules import module as everywhere


@pytest.fixture
def layer():
    made = nn.Linear(2, 2)
    nn.init.ones_(made.weight)
    nn.init.zeros_(made.bias)
    return made


def test_forward_hooks_see_arguments_by_name(layer):
    def before(module, args, kwargs):
        assert args == () and list(kwargs) == ["input"]
        return (torch.zeros(2),), {}

    def after(module, args, kwargs, output):
        assert args[0].tolist() == [0, 0] and not kwargs
        return output + 3

    layer.register_forward_pre_hook(before, with_kwargs=True)
    layer.register_forward_hook(after, with_kwargs=True)
    assert layer(input=torch.ones(2)).tolist() == [3, 3]
    layer.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="forward pre-hook must return None or a tuple of"):
        layer(input=torch.ones(2))


def test_prepended_hooks_are_first(layer):
    seen = []
    layer.register_forward_hook(lambda *_: seen.append("second"))
    handle = layer.register_forward_hook(lambda *_: seen.append("first"), prepend=True)
    layer(torch.ones(2))
    handle.remove()
    layer(torch.ones(2))
    assert seen == ["first", "second", "second"]


def test_hooks_that_are_always_called(layer):
    seen = []
    layer.register_forward_hook(lambda module, args, output: seen.append(output), always_call=True)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer(torch.ones(3))
    assert seen == [None]
    layer.register_forward_hook(lambda *_: 1 / 0, always_call=True)
    with pytest.warns(UserWarning, match="an exception that was silenced"), pytest.raises(RuntimeError):
        layer(torch.ones(3))
    with pytest.raises(ZeroDivisionError):
        layer(torch.ones(2))
    assert [each is None for each in seen] == [True, True, False]  # each hook once a call


def test_backward_hooks_of_modules_without_gradients_of_inputs(layer):
    seen = []
    layer.register_full_backward_hook(lambda module, inputs, outputs: seen.append((inputs, outputs[0].tolist())))
    with pytest.warns(UserWarning, match="Full backward hook is firing"):
        layer(torch.ones(2)).sum().backward()
    assert seen == [((None,), [1, 1])]


def test_backward_hooks_see_all_arguments_and_results():
    class Scale(nn.Module):
        def forward(self, x, factor):
            return x * factor, "done", x + 1

    scale, seen = Scale(), []
    scale.register_full_backward_hook(lambda module, inputs, outputs: seen.append((inputs, outputs)))
    result, word, _ = scale(torch.ones(2, requires_grad=True), 3.0)
    result.sum().backward()
    ((inputs, outputs),) = seen
    assert word == "done" and inputs[0].tolist() == [3, 3] and inputs[1] is None
    assert outputs[0].tolist() == [1, 1] and outputs[1] is None


@pytest.mark.parametrize(
    "register, result, text",
    [
        ("register_full_backward_hook", (None, None), "invalid number of grad_input, got 2, but expected 1"),
        ("register_full_backward_pre_hook", (None, None), "invalid number of grad_output, got 2, but expected 1"),
    ],
)
def test_backward_hooks_with_wrong_results(layer, register, result, text):
    getattr(layer, register)(lambda *_: result)
    with pytest.raises(RuntimeError, match=text):
        layer(torch.ones(2, requires_grad=True)).sum().backward()


def test_old_and_full_backward_hooks_do_not_mix(layer):
    layer.register_full_backward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks and full backward hooks"):
        layer.register_backward_hook(lambda *_: None)


def test_hooks_of_all_modules():
    seen, net = [], nn.Sequential(nn.Linear(2, 2), nn.Tanh())

    def note(word):
        return lambda module, *rest: seen.append((word, type(module).__name__))

    handles = [
        everywhere.register_module_forward_pre_hook(note("before")),
        everywhere.register_module_forward_hook(note("after"), with_kwargs=True),
        everywhere.register_module_full_backward_pre_hook(note("gradients")),
        everywhere.register_module_full_backward_hook(note("back")),
    ]
    net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    for handle in handles:
        handle.remove()
    net(torch.ones(1, 2)).sum().backward()
    assert seen == [
        ("before", "Sequential"), ("before", "Linear"), ("after", "Linear"), ("before", "Tanh"), ("after", "Tanh"),
        ("after", "Sequential"), ("gradients", "Sequential"), ("gradients", "Tanh"), ("back", "Tanh"),
        ("gradients", "Linear"), ("back", "Linear"), ("back", "Sequential"),
    ]  # fmt: skip


def test_hooks_on_registration():
    seen = []
    handles = [
        everywhere.register_module_parameter_registration_hook(lambda module, name, value: seen.append(name)),
        everywhere.register_module_buffer_registration_hook(lambda module, name, value: seen.append(name)),
        everywhere.register_module_module_registration_hook(lambda module, name, value: nn.Identity()),
    ]
    net = nn.Module()
    net.weight, net.mean, net.inner = nn.Parameter(torch.ones(1)), nn.Buffer(torch.ones(1)), nn.Tanh()
    for handle in handles:
        handle.remove()
    assert seen == ["weight", "mean"] and type(net.inner) is nn.Identity
    assert list(net.state_dict()) == ["weight", "mean"]


def test_hooks_of_state_dicts(layer):
    layer.register_state_dict_pre_hook(lambda module, prefix, keep_vars: setattr(module, "saved", prefix))
    handle = layer.register_state_dict_post_hook(lambda module, state, prefix, metadata: state.pop(f"{prefix}bias"))
    with pytest.raises(RuntimeError, match="state_dict post-hook must return None"):
        layer.state_dict()
    handle.remove()
    layer._register_state_dict_hook(lambda module, state, prefix, metadata: {f"{prefix}only": 1})
    assert layer.state_dict() == {"only": 1}
    nn.Sequential(layer).state_dict()
    assert layer.saved == "0."


def test_hooks_before_loading_change_what_is_loaded(layer):
    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        assert module is twin and strict
        state[f"{prefix}bias"] = state.pop(f"{prefix}shift")

    layer.register_load_state_dict_pre_hook(rename)
    twin = copy.deepcopy(layer)  # whose hook is called with the copy
    given = {"weight": torch.zeros(2, 2), "shift": torch.ones(2)}
    twin.load_state_dict(given)
    assert twin.bias.tolist() == [1, 1] and list(given) == ["weight", "shift"] and layer.bias.tolist() == [0, 0]


def test_hooks_after_loading_see_what_was_loaded_and_may_forgive(layer):
    seen, net = [], nn.Sequential(layer)
    net.register_load_state_dict_post_hook(lambda module, keys: seen.append("net"))
    layer.register_load_state_dict_post_hook(lambda module, keys: seen.append(module.weight.sum().item()))
    layer.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())
    net.load_state_dict({"0.weight": torch.full((2, 2), 5.0)})
    assert seen == [20, "net"]
    with pytest.raises(RuntimeError, match="Unexpected key"):  # all or nothing, also where hooks have seen it
        net.load_state_dict({"0.weight": torch.zeros(2, 2), "other": torch.zeros(1)})
    assert seen == [20, "net", 0, "net"] and layer.weight.sum().item() == 20
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight"):
        net.load_state_dict({"0.weight": torch.zeros(3, 2), "0.bias": torch.ones(2)})
    assert seen == [20, "net", 0, "net"] and layer.bias.sum().item() == 0
    net.register_load_state_dict_post_hook(lambda module, keys: keys)
    with pytest.raises(AssertionError, match="are not expected to return new values"):
        net.load_state_dict(net.state_dict())


def test_tied_weights_are_taken_back_too():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    net.register_load_state_dict_post_hook(lambda module, keys: None)
    before = net[0].weight.tolist()
    with pytest.raises(RuntimeError, match="Unexpected key"):
        net.load_state_dict({"0.weight": torch.zeros(2, 2), "1.weight": torch.ones(2, 2), "other": torch.ones(1)})
    assert net[0].weight.tolist() == before


def test_assigned_state():
    layer, weight = nn.Linear(2, 2), torch.ones(2, 2, dtype=torch.float64)
    layer.bias.requires_grad_(False)
    layer.load_state_dict({"weight": weight, "bias": nn.Parameter(torch.zeros(2))}, assign=True)
    assert isinstance(layer.weight, nn.Parameter) and layer.weight.data_ptr() == weight.data_ptr()
    assert layer.weight.dtype is torch.float64 and layer.weight.requires_grad and not layer.bias.requires_grad
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        layer.load_state_dict({"weight": torch.ones(3, 2), "bias": torch.zeros(2)}, assign=True)


def test_extra_state():
    class Counting(nn.Module):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    first, second = Counting(), Counting()
    first.count = 7
    second.load_state_dict(first.state_dict())
    assert second.count == 7
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "_extra_state"'):
        second.load_state_dict({})
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "_extra_state"'):
        nn.Identity().load_state_dict({"_extra_state": 1})
