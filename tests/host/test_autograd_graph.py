"""torch.autograd.graph: hooks on what is saved and on nodes, walking the graph."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd import graph


def leaf(*values):
    return torch.tensor(values or (1.0, 2.0, 3.0)).requires_grad_()


def test_saved_tensors_pass_the_innermost_hooks():
    a, b, seen = leaf(), leaf(), []

    def hooks(name):
        return graph.saved_tensors_hooks(
            lambda tensor: seen.append(("pack", name, tuple(tensor.shape))) or tensor,
            lambda tensor: seen.append(("unpack", name, tuple(tensor.shape))) or tensor,
        )

    with hooks("outer"):
        with hooks("inner"):
            y = a * b
        z = y.exp()
    assert seen == [("pack", "inner", (3,))] * 2 + [("pack", "outer", (3,))]
    seen.clear()
    z.sum().backward()
    assert seen == [("unpack", "outer", (3,))] + [("unpack", "inner", (3,))] * 2
    value = np.array([1.0, 2, 3])
    close(a.grad, value * np.exp(value * value), gradient=True)


def test_what_unpack_gives_is_used():
    a, b = leaf(), leaf()
    with graph.saved_tensors_hooks(lambda tensor: tensor.numpy(), lambda array: torch.tensor(array * 10)):
        y = a * b
    y.sum().backward()
    assert a.grad.tolist() == [10.0, 20.0, 30.0]
    with graph.saved_tensors_hooks(lambda tensor: 3, lambda packed: "text"):
        y = a * b
    with pytest.raises(TypeError, match="unpack_hook expected to be a Tensor but got result of type str"):
        y.sum().backward()


def test_second_derivatives_through_packed_tensors():
    a = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    with graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor):
        y = (a.sin() * a).exp()
        (first,) = torch.autograd.grad(y.sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), a)
    x = 0.5
    inner, slope, curve = x * np.sin(x), np.sin(x) + x * np.cos(x), 2 * np.cos(x) - x * np.sin(x)
    close(second, np.exp(inner) * (slope**2 + curve))


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
def test_save_on_cpu(device):
    a = torch.tensor([1.0, 2.0], device=device, requires_grad=True)
    with graph.save_on_cpu():
        y = (a * a).exp()
    assert y.grad_fn.packed.results[0].packed[1].device.type == "cpu"
    y.sum().backward()
    close(a.grad, 2 * np.array([1, 2]) * np.exp([1.0, 4.0]), gradient=True)
    assert a.grad.device.type == device


def test_saved_tensors_may_be_written_where_that_is_asked_for():
    a = leaf()
    with graph.allow_mutation_on_saved_tensors():
        b = a.clone()
        c = b**2
        b.mul_(3)
        c.sum().backward()
    assert a.grad.tolist() == [2.0, 4.0, 6.0]


def test_hooks_can_be_forbidden():
    with graph.disable_saved_tensors_hooks("no hooks here"), pytest.raises(RuntimeError, match="no hooks here"):
        graph.save_on_cpu().__enter__()
    with graph.save_on_cpu():
        pass


def test_walking_the_graph():
    a, b = leaf(), leaf()
    y = a * b
    z = y.exp()
    assert isinstance(z.grad_fn, graph.Node) and z.grad_fn.name() == "ExpBackward0"
    assert z.grad_fn.next_functions == ((y.grad_fn, 0),)
    (first, number), (second, _) = y.grad_fn.next_functions
    assert first.name() == "torch::autograd::AccumulateGrad" and number == 0
    assert first.variable is a and second.variable is b and first.next_functions == ()
    assert y.grad_fn.next_functions[0][0] is first
    assert graph.get_gradient_edge(z).node is z.grad_fn
    assert graph.get_gradient_edge(a).node == first
    y.grad_fn.metadata["name"] = "product"
    assert y.grad_fn.metadata == {"name": "product"}
    with pytest.raises(RuntimeError, match="does not require gradients"):
        graph.get_gradient_edge(torch.ones(1))


def test_hooks_of_nodes_replace_gradients():
    a, b, seen = leaf(), leaf(), []
    y = a * b
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 10,))
    handle = y.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs[0].tolist(), outputs[0].tolist())))
    y.sum().backward()
    assert a.grad.tolist() == [10.0, 20.0, 30.0]
    assert seen == [([10.0, 20.0, 30.0], [10.0] * 3)]
    handle.remove()
    a.grad = None
    y = a * b
    y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] * 5, inputs[1]))
    y.sum().backward()
    assert a.grad.tolist() == [5.0, 10.0, 15.0] and len(seen) == 1


def test_one_hook_for_several_gradients():
    a, b, seen = leaf(), leaf(), []
    y, z = a * b, a * 2
    handle = graph.register_multi_grad_hook(
        (y, z, a), lambda grads: seen.append([None if each is None else each.tolist() for each in grads])
    )
    (y.sum() + z.sum()).backward(retain_graph=True)
    assert seen == [[[1.0] * 3, [1.0] * 3, [3.0, 4.0, 5.0]]]
    z.sum().backward(retain_graph=True)
    assert seen[1] == [None, [1.0] * 3, [2.0] * 3]
    torch.autograd.grad(z.sum(), z, retain_graph=True)
    assert seen[2] == [None, [1.0] * 3, None]
    handle.remove()
    z.sum().backward(retain_graph=True)
    assert len(seen) == 3
    first = []
    graph.register_multi_grad_hook((y, z), lambda grad: first.append(grad.tolist()), mode="any")
    (y.sum() + z.sum()).backward()
    assert len(first) == 1
    with pytest.raises(ValueError, match="Expects mode to be one of"):
        graph.register_multi_grad_hook((y,), print, mode="some")


def test_a_version_can_be_raised_by_hand():
    a = leaf()
    b = a * 1
    c = b.exp() * b
    graph.increment_version(b)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        c.sum().backward()


def test_a_step_prints_as_an_object_of_its_name():
    y = torch.ones(1, requires_grad=True) + 1
    leaf = y.grad_fn.next_functions[0][0]
    assert repr(y.grad_fn) == f"<AddBackward0 object at {id(y.grad_fn):#x}>"
    assert repr(leaf) == f"<AccumulateGrad object at {id(leaf):#x}>"


@pytest.mark.parametrize("again", ["gradient", "forward"])
def test_hooks_of_a_leaf_see_one_sum_though_a_graph_that_stayed_uses_it_too(again):
    weight, seen, after = leaf(), [], []
    x = leaf(2.0, 3.0, 4.0)
    first = (weight * weight * x).sum()
    if again == "gradient":
        (slope,) = torch.autograd.grad(first, x, create_graph=True)  # weight ** 2
        total, expected = (slope * weight).sum() + first, [7.0, 24.0, 51.0]
    else:
        torch.autograd.grad(first, x, retain_graph=True)
        total, expected = (weight * weight).sum() + first, [6.0, 16.0, 30.0]
    weight.register_hook(lambda gradient: seen.append(gradient.tolist()))
    weight.register_post_accumulate_grad_hook(lambda tensor: after.append(tensor.grad.tolist()))
    total.backward()
    assert seen == after == [expected]
