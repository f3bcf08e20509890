"""Gradients of weights that a product adds to those which are there, and when it must not."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch import nn
from tritorch.autograd.intercept import Interceptor
from tritorch.ops.matrix.accumulate_product import AccumulateProduct
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@pytest.fixture
def added(monkeypatch):
    """The shapes of the gradients that products were added to."""
    found, forward = [], AccumulateProduct.forward

    def noted(self, total, *rest):
        found.append(tuple(total.shape))
        return forward(self, total, *rest)

    monkeypatch.setattr(AccumulateProduct, "forward", noted)
    monkeypatch.setattr(AccumulateProduct, "host", lambda total, *_: found.append("host"))
    return found


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def leaf(values, device="interpreter"):
    return torch.tensor(values, device=device, requires_grad=True)


def once(w, x=None):
    """One backward pass through a layer of weight `w`; gives nothing but the gradient."""
    x = torch.tensor(numbers(3, 5), device=w.device) if x is None else x
    (nn.functional.linear(x, w) ** 2).sum().backward()


def close(found, expected):
    np.testing.assert_allclose(found.detach().cpu().numpy(), expected, *tolerance("float32", gradient=True))


@pytest.fixture
def ready():
    """A weight with a gradient, and what the gradient of one pass is."""
    w = leaf(numbers(4, 5))
    once(w)
    return w, w.grad.cpu().numpy().copy()


def test_the_second_pass_adds(ready, added):
    w, single = ready
    place, version = w.grad, w.grad._version
    del place
    once(w)
    assert added == [(4, 5)]
    assert w.grad._version == version + 1
    close(w.grad, 2 * single)
    once(w, torch.tensor(numbers(1, 3, 5).reshape(3, 1, 5), device="interpreter"))
    assert added == [(4, 5)] * 2


BOTH = [(3, 5), (5, 4)]
OPERATIONS = {
    "matmul": (lambda a, b: a @ b, BOTH), "mm": (torch.mm, BOTH), "views": (lambda a, b: b.T @ a.T, []),
    "addmm": (lambda a, b: torch.addmm(a.sum(), a, b, alpha=2), BOTH), "vector": (lambda a, b: a[0] @ b, [(5, 4)]),
}  # fmt: skip


@pytest.mark.parametrize(("operation", "expected"), OPERATIONS.values(), ids=OPERATIONS)
def test_products_of_two_leaves(operation, expected, added):
    found = []
    for device in ("cpu", "interpreter"):
        a, b = leaf(numbers(3, 5), device), leaf(numbers(5, 4), device)
        for _ in range(2):
            (operation(a, b) ** 2).sum().backward()
        found.append((a.grad, b.grad))
    assert sorted(added) == expected  # an operand that is a view leads to no leaf
    for mine, true in zip(*found[::-1], strict=True):
        close(mine, true.numpy())


def test_a_weight_used_twice_and_a_graph_that_is_kept(added):
    found = []
    for device in ("cpu", "interpreter"):
        w, x = leaf(numbers(5, 5), device), torch.tensor(numbers(3, 5), device=device)
        y = (nn.functional.linear(nn.functional.linear(x, w).relu(), w) ** 2).sum() + (w * w).sum()
        y.backward(retain_graph=True)
        y.backward()
        found.append(w.grad)
    assert added == [(5, 5)] * 2
    close(found[1], found[0].numpy())


def held_tensor(w):
    return w.grad


def held_array(w):
    return w.grad.array


def held_view(w):
    return w.grad[1:]


def hook(w):
    return w.register_hook(lambda gradient: None)


def post_hook(w):
    return w.register_post_accumulate_grad_hook(lambda leaf: None)


def other_layout(w):
    w.grad = torch.empty_strided((4, 5), (1, 4), device=w.device).copy_(w.grad)


def part_of_more(w):
    more = torch.stack([w.grad, w.grad])
    w.grad = more[0]
    return more


def history(w):
    w.grad.requires_grad_()


@pytest.mark.parametrize(
    "change", [held_tensor, held_array, held_view, hook, post_hook, other_layout, part_of_more, history]
)
def test_not_where_somebody_could_tell(change, ready, added):
    w, single = ready
    held = change(w)
    once(w)
    assert added == []
    close(w.grad, 2 * single)
    del held


def test_hooks_see_only_what_is_added(ready):
    w, single = ready
    seen = []
    w.register_hook(seen.append)
    once(w)
    close(seen[0], single)


def test_hooks_of_the_layer_see_the_gradient(ready, added):
    w, single = ready
    seen = []
    y = nn.functional.linear(torch.tensor(numbers(3, 5), device="interpreter"), w)
    y.grad_fn.register_hook(lambda inputs, outputs: seen.extend(inputs))
    (y**2).sum().backward()
    assert added == []
    close(seen[1], single)


class Watch(Interceptor):
    def intercept(self, cls, args):
        return cls.apply(*args)


@pytest.mark.parametrize("around", [Watch, lambda: torch.autograd.set_detect_anomaly(True)], ids=["watch", "anomaly"])
def test_not_while_somebody_watches(around, ready, added):
    w, single = ready
    with around():
        once(w)
    assert added == []
    close(w.grad, 2 * single)


def test_not_where_gradients_are_asked_for_or_recorded(ready, added):
    w, single = ready
    x = torch.tensor(numbers(3, 5), device="interpreter")
    (found,) = torch.autograd.grad((nn.functional.linear(x, w) ** 2).sum(), w)
    close(found, single)
    close(w.grad, single)
    (nn.functional.linear(x, w) ** 2).sum().backward(inputs=[w])
    close(w.grad, 2 * single)
    with pytest.warns(UserWarning, match="create_graph=True"):
        (nn.functional.linear(x, w) ** 2).sum().backward(create_graph=True)
    close(w.grad, 3 * single)
    assert added == []
    w.grad = None


def test_a_gradient_that_the_graph_reads_is_read_before_it_changes(ready):
    w, single = ready
    x = torch.tensor(numbers(3, 5), device="interpreter")
    y = (nn.functional.linear(x, w) ** 2).sum()
    (y + (w * w.grad).sum()).backward()
    close(w.grad, 3 * single)


def test_not_on_the_cpu(added):
    w = leaf(numbers(4, 5), "cpu")
    once(w)
    single = w.grad.numpy().copy()
    once(w)
    assert added == []
    close(w.grad, 2 * single)


def test_products_of_halves_are_added_to_single_precision(ready, added):
    w, _ = ready
    w.grad.zero_().add_(1000)
    x = torch.tensor(numbers(3, 5), device="interpreter")
    with torch.autocast("interpreter", dtype=torch.bfloat16):
        y = nn.functional.linear(x, w)
    y.sum().backward()
    assert added == [(4, 5)]
    assert w.grad.dtype == torch.float32
    expected = 1000 + x.bfloat16().float().cpu().numpy().sum(0) * np.ones((4, 1), np.float32)
    np.testing.assert_allclose(w.grad.cpu().numpy(), expected, rtol=1e-6)  # the sum was not rounded to bfloat16


def test_whole_layers(added):
    found = []
    for device in ("cpu", "interpreter"):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(7, 6), nn.GELU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).to(device)
        for part in range(3):
            (net(torch.tensor(numbers(4, 7) * (part + 1), device=device)) ** 2).sum().backward()
        found.append([p.grad for p in net.parameters()])
    assert len(added) == 6
    for mine, true in zip(*found[::-1], strict=True):
        close(mine, true.numpy())
