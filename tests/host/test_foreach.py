"""A method of every tensor of a list: values, forms of arguments, writes in place, errors."""

from __future__ import annotations

import pytest

import tritorch as torch


@pytest.fixture
def pair():
    return [torch.tensor([1.0, 4.0]), torch.tensor([9.0])]


def lists(tensors):
    return [each.tolist() for each in tensors]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("sqrt", (), [[1, 2], [3]]),
        ("add", (1,), [[2, 5], [10]]),
        ("add", ([1, 2],), [[2, 5], [11]]),
        ("mul", (torch.tensor(2.0),), [[2, 8], [18]]),
        ("div", ([torch.tensor([1.0, 2.0]), torch.tensor([3.0])],), [[1, 2], [3]]),
        ("maximum", (3.0,), [[3, 4], [9]]),
        ("minimum", ([torch.tensor([0.0, 5.0]), torch.tensor([2.0])],), [[0, 4], [2]]),
        ("pow", (2,), [[1, 16], [81]]),
        ("lerp", ([torch.tensor([3.0, 4.0]), torch.tensor([1.0])], 0.5), [[2, 4], [5]]),
    ],
)
def test_values(pair, name, arguments, expected):
    found = getattr(torch, f"_foreach_{name}")(pair, *arguments)
    assert type(found) is tuple and lists(found) == expected
    assert lists(pair) == [[1, 4], [9]]
    assert getattr(torch, f"_foreach_{name}_")(pair, *arguments) is pair and lists(pair) == expected


def test_values_with_names(pair):
    assert lists(torch._foreach_add(pair, pair, alpha=2)) == [[3, 12], [27]]
    assert lists(torch._foreach_addcmul(pair, pair, pair, value=2)) == [[3, 36], [171]]
    assert lists(torch._foreach_addcdiv(pair, pair, pair, [1, 2])) == [[2, 5], [11]]
    assert lists(torch._foreach_addcdiv(pair, pair, pair, torch.tensor([1.0, 2.0]))) == [[2, 5], [11]]
    assert lists(torch._foreach_pow(2, [torch.tensor([3.0])])) == [[8]]
    assert lists(torch._foreach_norm(pair, 1)) == [5, 9] and lists(torch._foreach_max(pair)) == [4, 9]
    torch._foreach_zero_(pair)
    assert lists(pair) == [[0, 0], [0]]
    torch._foreach_copy_(pair, [torch.tensor([1.0, 2.0]), torch.tensor([3.0])])
    assert lists(pair) == [[1, 2], [3]]


def test_errors(pair):
    for arguments, message in (
        (([], 1), "Tensor list must have at least one tensor."),
        ((pair, [1]), "Tensor list must have same number of elements as scalar list."),
        ((pair, pair[:1]), "Tensor lists must have the same number of tensors, got 2 and 1"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch._foreach_add(*arguments)
