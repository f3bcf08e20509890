"""In-place methods that write their result straight over the tensor: when, what they leave alone, what they record."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd import inplace
from tritorch.autograd.overwriting import are_apart


@pytest.fixture
def straight(monkeypatch):
    """Whether each in-place call was written straight, in order."""
    seen, run = [], inplace.written_straight

    def noted(*args):
        found = run(*args)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(inplace, "written_straight", noted)
    return seen


def numbers(*shape):
    return torch.arange(1.0, 1.0 + np.prod(shape, dtype=int)).reshape(shape)


WRITTEN = {
    "add": (lambda x, y: x.add_(y), lambda x, y: x + y),
    "iadd": (lambda x, y: x.__iadd__(y), lambda x, y: x + y),
    "alpha": (lambda x, y: x.add_(y, alpha=0.5), lambda x, y: x + 0.5 * y),
    "sub, alpha": (lambda x, y: x.sub_(y, alpha=2), lambda x, y: x - 2 * y),
    "itself": (lambda x, y: x.mul_(x), lambda x, y: x * x),
    "number": (lambda x, y: x.mul_(2), lambda x, y: x * 2),
    "scalar": (lambda x, y: x.mul_(torch.tensor(3.0)), lambda x, y: x * 3),
    "row": (lambda x, y: x.sub_(y[0]), lambda x, y: x - y[0]),
    "div": (lambda x, y: x.div_(y), lambda x, y: x / y),
    "floor": (lambda x, y: x.div_(y, rounding_mode="floor"), lambda x, y: x // y),
    "clamp": (lambda x, y: x.clamp_(2, 5), lambda x, y: x.clamp(2, 5)),
    "masked": (lambda x, y: x.masked_fill_(y > 3, 0.0), lambda x, y: x * (y <= 3)),
    "lerp": (lambda x, y: x.lerp_(y, 0.25), lambda x, y: 0.75 * x + 0.25 * y),
    "addcmul": (lambda x, y: x.addcmul_(y, y, value=0.5), lambda x, y: x + 0.5 * y * y),
    "addcdiv": (lambda x, y: x.addcdiv_(y, y + 1), lambda x, y: x + y / (y + 1)),
    "relu": (lambda x, y: x.relu_(), lambda x, y: x.relu()),
    "function": (lambda x, y: torch.relu_(x), lambda x, y: x.relu()),
    "inplace": (lambda x, y: torch.nn.functional.silu(x, inplace=True), lambda x, y: x.sigmoid() * x),
    "exp": (lambda x, y: x.exp_(), lambda x, y: x.exp()),
    "copy": (lambda x, y: x.copy_(y), lambda x, y: y),
    "cast": (lambda x, y: x.copy_(y.double()), lambda x, y: y),
    "spread": (lambda x, y: x.copy_(y[0]), lambda x, y: y[:1].expand(3, 4)),
}


@pytest.mark.parametrize("lay", [lambda x: x.clone(), lambda x: x.t().clone().t(), lambda x: torch.cat([x, x])[1:4]])
@pytest.mark.parametrize("name", WRITTEN)
def test_results_are_those_of_the_op_in_the_same_memory(name, lay, straight):
    change, expected = WRITTEN[name]
    x, y = lay(numbers(3, 4) - 5), numbers(3, 4)
    expected, memory, version = expected(x.clone(), y), x.array.ctypes.data, x._version
    change(x, y)
    assert torch.allclose(x, expected)
    assert straight == [True]
    assert (x.array.ctypes.data, x._version) == (memory, version + 1)


OTHERWISE = {
    "overlap": (lambda x: x[1:].add_(x[:-1]), lambda x: torch.cat([x[:1], x[1:] + x[:-1]])),
    "turned": (lambda x: x.add_(x.t()), lambda x: x + x.t()),
    "own row": (lambda x: x.sub_(x[1]), lambda x: x - x[1]),
    "two ops": (lambda x: x.addmm_(x, x), lambda x: x + x @ x),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_elements_that_are_read_later_are_not_written_before(name, straight):
    change, expected = OTHERWISE[name]
    x = numbers(4, 4)
    expected = expected(x.clone())
    change(x)
    assert torch.equal(x, expected)
    assert straight == [False]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x: x.add_(torch.ones(3, 1, 3)), "doesn't match the broadcast shape"),
        (lambda x: x.add_(torch.ones(2)), "must match the size"),
        (lambda x: x.add_(1.5), "can't be cast"),
        (lambda x: x.div_(2), "can't be cast"),
        (lambda x: x.expand(2, 3).mul_(2), "more than one element"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_tensor(change, kind):
    x = torch.ones(3, dtype=torch.int64)
    with pytest.raises(RuntimeError, match=kind):
        change(x)
    assert x.tolist() == [1, 1, 1]
    assert x._version == 0


def test_gradients_flow_through_what_was_written_straight(straight):
    x, y = numbers(3, 4).requires_grad_(), numbers(3, 4).requires_grad_()
    z = x * 1
    z.add_(y, alpha=3).mul_(2).sigmoid_()
    assert straight == [True, True, True]
    z.sum().backward()
    slope = torch.sigmoid(2 * (x + 3 * y)).detach()
    assert torch.allclose(x.grad, 2 * slope * (1 - slope))
    assert torch.allclose(y.grad, 6 * slope * (1 - slope))


def test_gradients_that_read_the_old_elements_get_them(straight):
    x, y = numbers(3, 4).requires_grad_(), numbers(3, 4).requires_grad_()
    z = x * 1
    z.mul_(y)  # the gradient of y reads z
    z.square_()
    assert straight == [False, False]
    z.sum().backward()
    assert torch.allclose(x.grad, 2 * x.detach() * y.detach() ** 2)
    assert torch.allclose(y.grad, 2 * y.detach() * x.detach() ** 2)


def test_a_saved_result_may_not_be_written_over_again(straight):
    x = numbers(3).requires_grad_()
    z = (x * 1).sigmoid_()
    z.mul_(2)
    assert straight == [True, True]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_views_and_their_roots_share_what_is_written(straight):
    x = numbers(3, 4).requires_grad_()
    root = x * 1
    row = root[1]
    row.mul_(3)
    assert straight == [True]
    root.sum().backward()
    assert x.grad.tolist() == [[1] * 4, [3] * 4, [1] * 4]
    assert torch.equal(root[1], 3 * x[1])


def test_interceptors_see_in_place_calls(straight):
    with torch.profiler.profile() as profile:
        numbers(3).add_(1)
    assert straight == [False]
    assert any("add" in each.key for each in profile.key_averages())


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        (slice(0, 4), slice(4, 8), True),
        (slice(0, 4), slice(0, 4), True),
        (slice(0, 5), slice(4, 8), False),
        (slice(0, 8, 2), slice(0, 8, 2), True),
        (slice(0, 8, 2), slice(2, 6), False),
    ],
)
def test_overlap(first, second, apart):
    whole = np.zeros(8)
    assert are_apart(whole[first], whole[second]) is apart
