"""The short way of ops of one or two tensors gives what the dispatch point gives, and takes no call away from it."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch
from tritorch.autograd.apply import apply
from tritorch.autograd.intercept import Interceptor
from tritorch.ops.base import TABLE
from tritorch.ops.draw import Draw
from tritorch.validation import on_device

SHORT = sorted(name for name, op in TABLE.items() if op.tensors in (1, 2))


def seen(result):
    """What can be told of a result."""
    node = result.node
    edges = node and [edge and (type(edge[0]), *edge[1:]) for edge in node.edges]
    kept = node and [each is None or hasattr(each, "array") or each for each in node.inputs]
    return result.dtype, result.shape, result.stride(), result.requires, type(node), edges, kept


@pytest.mark.parametrize("name", SHORT)
def test_the_short_way_gives_what_the_dispatch_point_gives(name):
    op = TABLE[name]
    assert "apply" in op.__dict__
    for sample in op.samples(Draw()):
        for wanted in (False, True):
            arrays = [np.asarray(each) if isinstance(each, np.generic) else each for each in sample]
            args = [on_device(each, tritorch.device("cpu"), wanted) for each in arrays]
            assert not any(isinstance(each, tritorch.Tensor) for each in args[op.tensors :])
            short, long = op.apply(*args), apply(op, *args)
            assert seen(short) == seen(long)
            np.testing.assert_array_equal(short.array, long.array)


def test_many_ops_have_it():
    assert {"add", "mul", "relu", "relu_gradient", "matmul", "sum", "mean"} <= set(SHORT)


class Watch(Interceptor):
    def __init__(self):
        self.calls = []

    def intercept(self, cls, args):
        self.calls.append(cls.op_name)
        return cls.apply(*args)


def test_interceptors_see_every_call():
    a = tritorch.ones(2, 2)
    with Watch() as watch:
        ((a + a) @ a).relu().sum()
    assert watch.calls == ["add", "matmul", "relu", "sum"]
    (a + a).relu()
    assert len(watch.calls) == 4


def test_an_overflow_is_silent_and_leaves_the_users_own_numpy_as_it_was():
    with np.errstate(all="raise"):
        assert tritorch.full((2,), 3e38).mul(tritorch.full((2,), 3e38)).tolist() == [np.inf, np.inf]
        with pytest.raises(FloatingPointError):
            np.float32(3e38) * np.float32(3e38)


def test_views_and_parameters_are_recorded():
    base = tritorch.ones(3, requires_grad=True)
    view = base[1:]
    (view * view).sum().backward()
    assert base.grad.tolist() == [0, 2, 2]
    weight = tritorch.nn.Parameter(tritorch.ones(3))
    (weight * weight.detach()).sum().backward()
    assert weight.grad.tolist() == [1, 1, 1]


def test_few_elements_are_summed_as_exactly_as_many():
    rng = np.random.default_rng(0)
    for size in (0, 1, 7, 1000, 1024, 1025):
        x = rng.standard_normal(size).astype(np.float32)
        assert abs(tritorch.from_numpy(x).sum().item() - x.astype(np.float64).sum()) < 1e-5 * max(1.0, np.abs(x).sum())
    assert tritorch.tensor([np.inf, -np.inf]).sum().isnan()
    assert tritorch.tensor([np.inf, 1.0]).sum().item() == np.inf
