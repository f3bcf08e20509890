"""Results with named fields print, pickle and are found as PyTorch's `torch.return_types`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import tritorch as torch
from tritorch import alias


def test_a_named_result_prints_a_line_for_each_field():
    found = torch.tensor([[1.0, 3.0]]).max(1)
    assert repr(found) == "torch.return_types.max(\nvalues=tensor([3.]),\nindices=tensor([1]))"
    assert repr(torch.tensor([2.0, 1.0]).sort()) == (
        "torch.return_types.sort(\nvalues=tensor([1., 2.]),\nindices=tensor([1, 0]))"
    )


def test_its_class_stands_in_return_types():
    assert isinstance(torch.ones(2, 2).max(1), torch.return_types.max)
    assert "max" in dir(torch.return_types)
    with pytest.raises(AttributeError, match=r"tritorch\.return_types' has no attribute 'least'"):
        torch.return_types.least  # noqa: B018, the attribute is the test


def test_it_pickles_where_torch_means_tritorch(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", torch)
    monkeypatch.setitem(__import__("sys").modules, "torch.return_types", torch.return_types)
    again = pickle.loads(pickle.dumps(torch.tensor([[1.0, 3.0]]).max(1)))
    assert type(again) is torch.return_types.max and again.indices.tolist() == [1]
    assert alias.own_name("torch.return_types") == "tritorch.return_types"


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (lambda x: x.sum(axis=1, keepdims=True), lambda x: x.sum(1, True)),
        (lambda x: x.max(axis=0).values, lambda x: x.max(0).values),
        (lambda x: x.std(axis=0, keepdims=True), lambda x: x.std(0, keepdim=True)),
        (lambda x: x.squeeze(axis=0), lambda x: x.squeeze(0)),
        (lambda x: torch.softmax(x, axis=1), lambda x: torch.softmax(x, 1)),
        (lambda x: torch.stack([x, x], axis=1), lambda x: torch.stack([x, x], 1)),
        (lambda x: torch.cat([x, x], axis=1), lambda x: torch.cat([x, x], 1)),
        (lambda x: x.cumsum(axis=1), lambda x: x.cumsum(1)),
        (lambda x: torch.add(x1=x, x2=x), lambda x: x + x),
        (lambda x: torch.sum(a=x), lambda x: x.sum()),
    ],
)
def test_arguments_by_numpy_s_names(given, plain):
    x = torch.arange(6.0).reshape(2, 3)
    assert np.array_equal(given(x).numpy(), plain(x).numpy())


def test_a_name_that_nobody_has_is_refused():
    with pytest.raises(TypeError, match=r"relu\(\) got an unexpected keyword argument 'axis'"):
        torch.relu(torch.ones(2), axis=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, **named: torch.where(x > 2, x, -x, **named),
        lambda x, **named: torch.div(x, 3.0, **named),
        lambda x, **named: torch.pow(x, 2, **named),
        lambda x, **named: torch.clamp(x, 1.0, 2.0, **named),
        lambda x, **named: torch.round(x, **named),
        lambda x, **named: torch.std(x, 1, **named),
        lambda x, **named: torch.logsumexp(x, 0, **named),
        lambda x, **named: torch.lerp(x, -x, 0.5, **named),
        lambda x, **named: torch.addcmul(x, x, x, value=0.5, **named),
        lambda x, **named: torch.nan_to_num(x, **named),
    ],
)
def test_out_takes_the_result(call):
    x = torch.arange(6.0).reshape(2, 3)
    out = torch.empty(0)
    assert call(x, out=out) is out
    assert np.array_equal(out.numpy(), call(x).numpy())
