"""What vmap promises beside the numbers: dimensions, trees, randomness, writes, nesting, errors in PyTorch's words."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from tolerances import close

import tritorch
from tritorch import nn
from tritorch.func import batched, functional_call, grad, stack_module_state, vmap
from tritorch.nn import functional

Pair = namedtuple("Pair", ("a", "b"))


def _of(*shape, seed=0):
    return tritorch.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def test_dimensions_of_inputs_and_results():
    x, y = _of(3, 4, 5), _of(5, 2, seed=1)
    close(vmap(lambda a: a * 2, in_dims=1, out_dims=2)(x), 2 * x.numpy().transpose(0, 2, 1))
    first, second = vmap(lambda a, b: (a, b), in_dims=(-1, 0), out_dims=(-1, 0), chunk_size=2)(x, y)
    close(first, x.numpy())
    close(second, y.numpy())
    shared = vmap(lambda a, b: a @ b, in_dims=(0, None))(x, y)
    close(shared, x.numpy() @ y.numpy())
    assert vmap(lambda a: a * 2)(tritorch.zeros(0, 3)).shape == (0, 3)


def test_trees_of_inputs_and_results():
    x = _of(3, 4, 5)
    found = vmap(lambda d, y: {"o": d["x"] + y, "p": (y,)}, in_dims=({"x": 0}, None), out_dims={"o": 1, "p": (0,)})(
        {"x": x}, x[0]
    )
    close(found["o"], (x + x[0]).numpy().transpose(1, 0, 2))
    close(found["p"][0], np.broadcast_to(x[0].numpy(), x.shape))
    pair = vmap(lambda t: Pair(t.a, t.b + 1), in_dims=(Pair(0, 1),))(Pair(x, x.transpose(0, 1)))
    assert type(pair) is Pair
    close(pair.b, x.numpy() + 1)
    ordered = vmap(lambda d: OrderedDict(a=d["z"].sum()))(OrderedDict(z=x))
    close(ordered["a"], x.numpy().sum((1, 2)))
    close(vmap(lambda a, *, scale: a * scale)(x, scale=3.0), 3 * x.numpy())
    assert vmap(lambda a: (a, 7), out_dims=(0, None))(x)[1] == 7


def test_nested():
    x, y = _of(3, 4), _of(5, 4, seed=1)
    outer = vmap(vmap(lambda a, b: (a * b).sum(), in_dims=(None, 0)), in_dims=(0, None))
    close(outer(x, y), x.numpy() @ y.numpy().T)
    slope = vmap(vmap(grad(lambda a, b: (a * b).sin().sum()), in_dims=(None, 0)), in_dims=(0, None))(x, y)
    product = x.numpy()[:, None] * y.numpy()
    close(slope, np.cos(product) * y.numpy(), gradient=True)
    back = vmap(lambda a: vmap(lambda b: a.outer(b), out_dims=1)(y), out_dims=2)(x)
    close(back, np.einsum("ia,jb->ajib", x.numpy(), y.numpy()))


def test_tensors_without_dimensions_are_promoted_as_such():
    scalars, x = tritorch.tensor([1.5, 2.5], dtype=tritorch.float64), _of(3)
    found = vmap(lambda s: s * x)(scalars)
    assert found.dtype is tritorch.float32
    assert vmap(lambda s: s * 2)(scalars).dtype is tritorch.float64
    assert vmap(lambda s: s + tritorch.tensor(1.0))(scalars).dtype is tritorch.float64


def test_writes_in_place():
    x = _of(3, 4)

    def write(row):
        out = row.clone()
        out.add_(1)
        out[0] = row.sum()
        out[1:].mul_(2)
        zeros = row.new_zeros(4)
        zeros[1:3] = row[:2]
        zeros[tritorch.tensor([0, 3])] = row[2:]
        return out, zeros, out.masked_fill_(out > 100, 0.0)

    a = x.numpy()
    out, zeros, _ = vmap(write)(x)
    close(out, np.concatenate([a.sum(1, keepdims=True), 2 * (a[:, 1:] + 1)], 1))
    close(zeros, a[:, [2, 0, 1, 3]])
    assert np.array_equal(x.numpy(), a)

    def through(row):
        y = row * 1
        y[1] = y[0] * 2
        return (y * row).sum()

    close(vmap(grad(through))(x), np.stack([2 * a[:, 0] + 2 * a[:, 1], 2 * a[:, 0], 2 * a[:, 2], 2 * a[:, 3]], 1))
    with pytest.raises(RuntimeError, match="`other` being vmapped over but `self` not being vmapped over"):
        vmap(lambda row: tritorch.zeros(4).copy_(row))(x)
    with pytest.raises(RuntimeError, match="`other` being vmapped over but `self` not being vmapped over"):
        vmap(lambda row: tritorch.zeros(4).__setitem__(0, row[0]))(x)


def test_indexing_by_each_examples_own_place():
    x, i = _of(3, 4, 5), tritorch.tensor([2, 0, 3])
    a, rows = x.numpy(), np.arange(3)
    close(vmap(lambda e, k: e[k])(x, i), a[rows, i.numpy()])
    close(vmap(lambda e, k: e[:, k])(x, i), a[rows, :, i.numpy()])
    close(vmap(lambda k: x[0, k])(i), a[0, i.numpy()])
    with pytest.raises(RuntimeError, match="indexing with a boolean mask"):
        vmap(lambda e: e[e > 0])(x)
    with pytest.raises(RuntimeError, match=r"dynamic shape\. Attempted to vmap over aten::nonzero"):
        vmap(lambda e: e.nonzero())(x)


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda x: x.sum().item(), "It looks like you're calling .item"),
        (lambda x: float(x.sum()), "It looks like you're calling .item"),
        (lambda x: x if x.sum() > 0 else -x, "data-dependent control flow"),
        (lambda x: x.numpy(), "Cannot access data pointer of Tensor that doesn't have storage"),
        (lambda x: np.asarray(x), "Cannot access data pointer of Tensor that doesn't have storage"),
        (lambda x: x.tolist(), "Cannot access data pointer of Tensor that doesn't have storage"),
        (lambda x: x.sum().backward(), r"backward\(\) called inside a functorch transform"),
        (lambda x: x.clone().requires_grad_(), r"attempting to call Tensor.requires_grad_\(\)"),
        (lambda x: x + tritorch.randn(4), "called random operation while in randomness error mode"),
    ],
)
def test_what_a_mapped_function_must_not_do(look, message):
    with pytest.raises(RuntimeError, match=message):
        vmap(look)(_of(3, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: vmap(lambda a, b: a)(x, x[0]), r"got sizes \[3, 4\] for the mapped dimension"),
        (lambda x: vmap(lambda a: a, in_dims=5)(x), r"Got in_dim=5 for some input, .* -2 <= in_dim < 2"),
        (lambda x: vmap(lambda a: a, in_dims="a")(x), "expected `in_dims` to be int or a .* got: <class 'str'>"),
        (lambda x: vmap(lambda a: a, in_dims=("a",))(x), "Got in_dim=a for an input but in_dim must be either an int"),
        (lambda x: vmap(lambda a, b: a, in_dims=(0,))(x, x), r"structure TreeSpec\(tuple, None, \[\*\]\) but inputs"),
        (lambda x: vmap(lambda a: a, in_dims=(None,))(x), "Expected at least one Tensor to vmap over"),
        (lambda x: vmap(lambda: 1)(), "got no inputs"),
        (lambda x: vmap(lambda a: a)(1.0), "the input is of type <class 'float'>. We cannot vmap over non-Tensor"),
        (lambda x: vmap(lambda a: 1)(x), "must only return Tensors, got type <class 'int'>"),
        (lambda x: vmap(lambda a: a, out_dims=(0, 1))(x), "out_dims is not compatible with the structure of `outputs`"),
        (lambda x: vmap(lambda a: a, out_dims="a")(x), "`out_dims` must be an int, None or a python collection"),
        (lambda x: vmap(lambda a: a, out_dims=None)(x), "can not return a BatchedTensor when out_dim is None"),
        (lambda x: vmap(lambda a: a, chunk_size=0)(x), r"chunk_size should be None or greater than 0. \(got 0\)"),
    ],
)
def test_calls_that_are_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call(_of(3, 4))


def test_randomness():
    x = _of(3, 64)
    with pytest.raises(RuntimeError, match="Got sometimes"):
        vmap(lambda a: a, randomness="sometimes")
    same = vmap(lambda a: a * 0 + tritorch.randn(64), randomness="same")(x).numpy()
    assert (same == same[0]).all()
    ones = tritorch.ones(3, 64)
    dropped = vmap(lambda a: functional.dropout(a, 0.5), randomness="same")(ones).numpy()
    assert (dropped == dropped[0]).all()
    assert 0 < (dropped == 0).mean() < 1

    def draw():
        tritorch.manual_seed(5)
        drawn = vmap(lambda a: (a * 0 + tritorch.randn(64), tritorch.randn(64)), randomness="different")(x)
        mask = vmap(lambda a: functional.dropout(a, 0.5), randomness="different")(ones)
        order = vmap(lambda a: tritorch.randperm(64), randomness="different")(x)
        return [each.numpy() for each in (*drawn, mask, order)]

    first, second, mask, order = draw()
    numbers = np.concatenate([first, second])
    assert len(np.unique(numbers)) == numbers.size  # no two examples and no two draws share a stream
    assert len(np.unique(mask, axis=0)) == len(np.unique(order, axis=0)) == 3
    assert all(np.array_equal(a, b) for a, b in zip(draw(), (first, second, mask, order), strict=True))


def test_what_has_no_rule_runs_by_itself_and_says_so_once():
    x = _of(3, 7)
    batched._slow.discard("median_of_all")
    with pytest.warns(UserWarning, match="not yet implemented the batching rule for median_of_all"):
        found = vmap(lambda a: a.median())(x)
    close(found, np.median(x.numpy(), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vmap(lambda a: a.median())(x)


def test_an_example_that_outlives_its_vmap_says_so():
    kept = []
    vmap(lambda a: kept.append(a) or a)(_of(3, 4))
    with pytest.raises(RuntimeError, match="is one example of a batch, or was"):
        kept[0] + 1


def test_batch_norm_needs_statistics_of_its_own():
    x = _of(3, 6, 4)
    with pytest.raises(RuntimeError, match="running_mean or running_var, which will be updated in place, were not"):
        vmap(nn.BatchNorm1d(4))(x)
    models = [nn.BatchNorm1d(4) for _ in range(3)]
    parameters, buffers = stack_module_state(models)
    out = vmap(lambda p, b, a: functional_call(models[0], (p, b), (a,)))(parameters, buffers, x)
    for number, model in enumerate(models):
        close(out[number], model(x[number]).detach().numpy())
        close(buffers["running_mean"][number], model.running_mean.numpy())


def test_on_the_interpreter():
    a, w = _of(3, 2, 5), _of(5, 4, seed=1)
    expected = vmap(grad(lambda w, a: (a @ w).softmax(-1).pow(2).sum()), in_dims=(None, 0))(w, a)
    a, w = a.to("interpreter"), w.to("interpreter")
    found = vmap(grad(lambda w, a: (a @ w).softmax(-1).pow(2).sum()), in_dims=(None, 0))(w, a)
    close(found.cpu(), expected.numpy(), gradient=True)
    moved = vmap(lambda e: e.to("interpreter") * 2)(expected)
    assert str(moved.device) == "interpreter"


def test_hooks_see_examples():
    shapes = []

    def loss(row):
        double = row * 2
        double.register_hook(lambda g: shapes.append(g.shape) or g * 3)
        return double.sum()

    close(vmap(grad(loss))(_of(3, 4)), np.full((3, 4), 6.0))
    close(vmap(vmap(grad(loss)))(_of(2, 3, 4)), np.full((2, 3, 4), 6.0))
    assert shapes == [(4,), (4,)]


def test_what_looks_at_elements_runs_on_each_example():
    rows = tritorch.tensor([[0, 1, 1], [2, 2, 0]])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        found = vmap(lambda row: row.bincount(minlength=3))(rows)
        quantiles = vmap(lambda row: row.quantile(0.5))(rows.double())
    assert found.tolist() == [[1, 2, 0], [1, 0, 2]]
    assert quantiles.tolist() == [1, 2]
    with pytest.raises(IndexError, match="index out of range in self"):  # of any example
        vmap(lambda place: _of(3).index_select(0, place))(tritorch.tensor([[0], [3]]))
