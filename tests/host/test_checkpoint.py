"""Gradient checkpointing: the same gradients to the bit, and what is inside is not kept."""

from __future__ import annotations

import contextlib
import gc
import weakref

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.nn import functional as F
from tritorch.utils.checkpoint import (
    CheckpointError,
    checkpoint,
    checkpoint_sequential,
    set_checkpoint_early_stop,
)

VARIANTS = [True, False]


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 8), torch.nn.Tanh(),
        torch.nn.Linear(8, 3),
    )  # fmt: skip


def gradients(way, autocast=False):
    """The gradients of input and parameters, the function run in some `way` of (net, input)."""
    model, x = net(), torch.arange(20.0).reshape(5, 4).requires_grad_()
    torch.manual_seed(1)
    with torch.autocast("cpu", enabled=autocast):
        y = way(model, x)
    (y.float() ** 2).sum().backward()
    return [x.grad.numpy(), *[each.grad.numpy() for each in model.parameters()]], torch.rand(3).numpy()


def nested(model, x):
    def outer(value):
        return checkpoint(model[2:], model[:2](value), use_reentrant=False)

    return checkpoint(outer, x, use_reentrant=False)


WAYS = {
    "reentrant": lambda model, x: checkpoint(model, x, use_reentrant=True),
    "not reentrant": lambda model, x: checkpoint(model, x, use_reentrant=False),
    "to the end": lambda model, x: checkpoint(model, x, use_reentrant=False, early_stop=False),
    "nested": nested,
    "sequential": lambda model, x: checkpoint_sequential(model, 3, x, use_reentrant=False),
    "sequential reentrant": lambda model, x: checkpoint_sequential(list(model), 2, x, use_reentrant=True),
}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_equal_to_the_bit(way, autocast):
    expected, after = gradients(lambda model, x: model(x), autocast)
    found, after_too = gradients(WAYS[way], autocast)
    for mine, true in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, true)
    np.testing.assert_array_equal(after, after_too)  # the second run left the generator alone


@pytest.mark.parametrize("reentrant", VARIANTS)
def test_what_is_inside_is_freed_when_it_is_no_longer_used(reentrant):
    inner, alive = [], []

    def function(x):
        y = (x * 2).exp()
        inner.append(weakref.ref(y))
        z = y.sin()
        alive.append(sum(ref() is not None for ref in inner))
        del y
        w = z.exp()
        alive.append(sum(ref() is not None for ref in inner))
        return w

    x = torch.ones(3, requires_grad=True)
    y = checkpoint(function, x, use_reentrant=reentrant)
    assert alive == [1, 0]  # not even until the function ends
    y.sum().backward()
    expected = np.exp(np.sin(np.exp(2.0))) * np.cos(np.exp(2.0)) * np.exp(2.0) * 2
    close(x.grad, expected, gradient=True)
    gc.collect()
    assert not any(ref() is not None for ref in inner)


def test_what_was_computed_again_is_freed_when_it_was_used():
    y = x = torch.rand(100, requires_grad=True)
    for _ in range(3):
        y = checkpoint(lambda value: value.exp().sin(), y, use_reentrant=False)
    nodes, node = [], y.grad_fn
    while node.next_functions:
        nodes.append(node)
        node = node.next_functions[0][0]
    y.sum().backward()
    assert [(node.name(), node.inputs, node.packed) for node in nodes] == [
        ("SinBackward0", None, None), ("ExpBackward0", None, None),
    ] * 3  # fmt: skip
    assert x.grad is not None


def test_arrays_inside_a_nested_checkpoint_are_freed_too():
    arrays = []

    def part(x):
        y = x.exp()
        arrays.append(weakref.ref(y.array))
        return y.sin()

    def outer(x):
        middle = checkpoint(part, x, use_reentrant=False)
        arrays.append(weakref.ref(middle.array))
        return checkpoint(part, middle, use_reentrant=False)

    x = torch.rand(1000, requires_grad=True)
    y = checkpoint(outer, x, use_reentrant=False)
    assert [ref() for ref in arrays] == [None] * 3  # the boundary between the two is not kept either
    y.sum().backward()
    value = x.detach().numpy().astype(np.float64)
    first = np.sin(np.exp(value))
    expected = np.cos(np.exp(first)) * np.exp(first) * np.cos(np.exp(value)) * np.exp(value)
    close(x.grad, expected, gradient=True)


@pytest.mark.parametrize("reentrant", VARIANTS)
def test_gradients_can_be_asked_for_without_writing_them(reentrant):
    weight, x = torch.ones(3, requires_grad=True), torch.arange(3.0).requires_grad_()
    y = checkpoint(lambda value: (value * weight).exp(), x, use_reentrant=reentrant).sum()
    by_weight, by_x = torch.autograd.grad(y, (weight, x))
    close(by_weight, np.arange(3) * np.exp(np.arange(3.0)))
    close(by_x, np.exp(np.arange(3.0)))
    assert weight.grad is None and x.grad is None


def test_second_derivatives():
    x = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    y = checkpoint(lambda value: value.sin() * value, x, use_reentrant=False).sum()
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    value = x.detach().numpy()
    close(second, 2 * np.cos(value) - value * np.sin(value))


def test_a_graph_that_is_kept_can_be_used_again_and_one_that_is_not_cannot():
    runs = []

    def function(x):
        runs.append(1)
        return x.exp().sin()

    x = torch.ones(2, requires_grad=True)
    y = checkpoint(function, x, use_reentrant=False).sum()
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), (first + first).numpy())
    assert len(runs) == 3
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_functions_of_a_user_and_in_place_ops_inside():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x**3
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, grad):
            x, y = ctx.saved_tensors
            np.testing.assert_array_equal(y.detach().numpy(), x.detach().numpy() ** 3)
            return grad * 3 * x**2

    def function(x, scale):
        y = x * 2
        y.mul_(scale)  # saves what y was for the gradient of scale
        y.add_(1)
        return Cube.apply(y).clamp(max=1e6)

    results = []
    for run in (lambda *args: function(*args), lambda *args: checkpoint(function, *args, use_reentrant=False)):
        x, scale = torch.arange(4.0).requires_grad_(), torch.full((4,), 3.0, requires_grad=True)
        run(x, scale).sum().backward()
        results.append((x.grad.numpy(), scale.grad.numpy()))
    for found, expected in zip(results[1], results[0], strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(results[0][1], 3 * (6 * np.arange(4.0) + 1) ** 2 * 2 * np.arange(4.0))


def test_a_parameter_used_inside_and_outside_gets_its_gradient_at_once():
    weight, calls = torch.ones(2, requires_grad=True), []
    weight.register_post_accumulate_grad_hook(lambda tensor: calls.append(tensor.grad.tolist()))
    x = torch.arange(2.0).requires_grad_()
    y = checkpoint(lambda value: (value * weight).exp() * weight, x * weight, use_reentrant=False)
    (y * weight).sum().backward()
    assert len(calls) == 1


def test_keywords_containers_and_other_arguments_pass_through():
    def function(x, factor, *, bias, names):
        assert names == {"a": 1}
        return {"out": x * factor + bias, "same": names}

    x, bias = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    found = checkpoint(function, x, 3, bias=bias, names={"a": 1}, use_reentrant=False)
    found["out"].sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and bias.grad.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="Unexpected keyword arguments: bias"):
        checkpoint(function, x, 3, bias=bias, use_reentrant=True)


def test_contexts_for_both_runs():
    entered = []

    @contextlib.contextmanager
    def note(what):
        entered.append(what)
        yield

    x = torch.ones(2, requires_grad=True)
    y = checkpoint(torch.sin, x, use_reentrant=False, context_fn=lambda: (note("first"), note("second")))
    assert entered == ["first"]
    y.sum().backward()
    assert entered == ["first", "second"]
    with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
        checkpoint(torch.sin, x, use_reentrant=True, context_fn=lambda: (note("first"), note("second")))


def test_the_second_run_stops_early():
    reached = []

    def function(x):
        y = x.sin().sum()
        reached.append(1)
        return y + 1

    x = torch.ones(2, requires_grad=True)
    checkpoint(function, x, use_reentrant=False).backward()
    assert len(reached) == 1
    with set_checkpoint_early_stop(False):
        y = checkpoint(function, x, use_reentrant=False)
    y.backward()
    assert len(reached) == 3


def test_a_second_run_that_differs_is_noticed():
    def changing(make):
        runs = []

        def function(x):
            runs.append(1)
            return make(x, len(runs))

        return checkpoint(function, torch.ones(2, 2, requires_grad=True), use_reentrant=False).sum()

    with pytest.raises(CheckpointError, match="different metadata than"):
        changing(lambda x, run: x.exp() if run == 1 else x[:1].exp()).backward()
    with pytest.raises(CheckpointError, match="A different number of tensors was saved"):
        changing(lambda x, run: x.exp().exp() if run == 1 else x.exp()).backward()


def test_arguments_written_over_are_noticed():
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    z = checkpoint(torch.sin, y, use_reentrant=False).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_saved_tensors_written_over_inside_are_noticed():
    def function(x):
        y = x.exp()
        y.add_(1)
        return y.sin()

    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        checkpoint(function, x, use_reentrant=False).sum().backward()


def test_without_gradients_nothing_is_recorded():
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not checkpoint(torch.sin, x, use_reentrant=False).requires_grad
    weight = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        assert not checkpoint(lambda value: value * weight, torch.ones(2), use_reentrant=True).requires_grad
    y = checkpoint(lambda value: value * weight, torch.ones(2), use_reentrant=False)
    y.sum().backward()
    assert weight.grad.tolist() == [1.0, 1.0]


def test_the_variant_should_be_named():
    x = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="the use_reentrant parameter should be passed explicitly"):
        checkpoint(torch.sin, x)
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        checkpoint(torch.sin, x, use_reentrant=False, determinism_check="some")


def test_random_numbers_may_be_drawn_anew():
    torch.manual_seed(0)
    x = torch.ones(64, requires_grad=True)
    y = checkpoint(lambda value: F.dropout(value, 0.5).exp(), x, use_reentrant=False, preserve_rng_state=False)
    before = torch.get_rng_state().tolist()
    y.sum().backward()
    assert torch.get_rng_state().tolist() != before
