"""Views share memory, keep gradients through in-place writes, and refuse in PyTorch's words."""

from __future__ import annotations

import pytest

import tritorch as torch

pytestmark = pytest.mark.parametrize("device", ["cpu", "interpreter"])


def count(*shape, device, requires_grad=False):
    size = torch.Size(shape).numel()
    return torch.arange(float(size), device=device).reshape(shape).detach().requires_grad_(requires_grad)


VIEWS = {
    "view": (lambda x: x.view(6, 4), (6, 4)),
    "view_with_unknown": (lambda x: x.view(-1, 12), (2, 12)),
    "flatten": (lambda x: x.flatten(1), (2, 12)),
    "unflatten": (lambda x: x.unflatten(2, (2, -1)), (2, 3, 2, 2)),
    "transpose": (lambda x: x.transpose(0, -1), (4, 3, 2)),
    "permute": (lambda x: x.permute(2, 0, 1), (4, 2, 3)),
    "mT": (lambda x: x.mT, (2, 4, 3)),
    "movedim": (lambda x: x.movedim(0, 2), (3, 4, 2)),
    "unsqueeze": (lambda x: x.unsqueeze(-1), (2, 3, 4, 1)),
    "expand": (lambda x: x.expand(5, -1, 3, 4), (5, 2, 3, 4)),
    "select": (lambda x: x[1], (3, 4)),
    "slice": (lambda x: x[:, 1:, ::2], (2, 2, 2)),
    "mixed": (lambda x: x[None, 0, ..., -1], (1, 3)),
    "diagonal": (lambda x: x.diagonal(1, 1, 2), (2, 3)),
    "narrow": (lambda x: x.narrow(2, 1, 2), (2, 3, 2)),
    "unbind": (lambda x: x.unbind(1)[2], (2, 4)),
    "split": (lambda x: x.split(3, 2)[1], (2, 3, 1)),
    "chunk": (lambda x: x.chunk(2, 2)[1], (2, 3, 2)),
    "unfold": (lambda x: x.unfold(2, 2, 1), (2, 3, 3, 2)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_view_has_shape_shares_memory_and_passes_gradients(name, device):
    view, shape = VIEWS[name]
    x = count(2, 3, 4, device=device)
    seen = view(x)
    assert seen.shape == shape
    assert seen._base is x
    x += 100
    assert seen.min().item() >= 100
    leaf = count(2, 3, 4, device=device, requires_grad=True)
    view(leaf).sum().backward()
    visits = view(torch.arange(24, device=device).reshape(2, 3, 4)).reshape(-1).tolist()
    assert leaf.grad.reshape(-1).tolist() == [visits.count(place) for place in range(24)]


def test_reshape_copies_only_where_it_must(device):
    x = count(2, 3, device=device)
    assert x.reshape(3, 2)._base is x
    copied = x.t().reshape(6)
    assert copied.tolist() == [0, 3, 1, 4, 2, 5]
    copied.zero_()
    assert x.sum().item() == 15


def test_write_through_view_reaches_base_and_its_history(device):
    a = count(2, 3, device=device, requires_grad=True)
    x = a * 1
    x[0].add_(1)
    (x * x).sum().backward()
    assert a.grad.tolist() == [[2, 4, 6], [6, 8, 10]]


def test_write_through_transposed_view(device):
    a = count(2, 3, device=device, requires_grad=True)
    x = a * 1
    y = x.t()
    y.mul_(2)
    (x.sum() + (y * y).sum()).backward()
    assert x.tolist() == [[0, 2, 4], [6, 8, 10]]
    assert a.grad.tolist() == [[2, 10, 18], [26, 34, 42]]


def test_write_to_base_reaches_older_view(device):
    a = count(2, 2, device=device, requires_grad=True)
    x = a * 1
    row = x[1]
    x.mul_(3)
    (row * row).sum().backward()
    assert a.grad.tolist() == [[0, 0], [36, 54]]


def test_chain_of_views_written_at_each_level(device):
    a = count(6, device=device, requires_grad=True)
    x = a * 1
    middle = x.view(2, 3)
    inner = middle[1]
    inner.mul_(2)
    x.add_(1)
    (middle.sum() + (inner * inner).sum()).backward()
    assert inner.tolist() == [7, 9, 11]
    assert a.grad.tolist() == [1, 1, 1, 30, 38, 46]


def test_overwritten_region_passes_no_gradient(device):
    a = count(2, 2, device=device, requires_grad=True)
    x = a * 1
    x[0] = 5.0
    x.sum().backward()
    assert a.grad.tolist() == [[0, 0], [1, 1]]


def test_second_derivative_through_views(device):
    a = count(2, 3, device=device, requires_grad=True)
    y = a.t()[1:].reshape(-1)
    (first,) = torch.autograd.grad((y * y * y).sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), a)
    assert second.tolist() == [[0, 6, 12], [0, 24, 30]]


def test_unsqueeze_in_place_changes_the_shape(device):
    x = count(3, device=device)
    assert x.unsqueeze_(0) is x
    assert x.shape == (1, 3)


ERRORS = {
    "shape '[2, 5]' is invalid for input of size 6": lambda x: x.view(2, 5),
    "view size is not compatible with input tensor's size and stride": lambda x: x.t().view(6),
    "Dimension out of range (expected to be in range of [-2, 1], but got 2)": lambda x: x.transpose(0, 2),
    "must match the existing size (2) at non-singleton dimension 0": lambda x: x.expand(4, 3),
    "only one dimension can be inferred": lambda x: x.reshape(-1, -1),
    "permute(): duplicate dims are not allowed": lambda x: x.permute(0, 0),
    "start (1) + length (2) exceeds dimension size (2)": lambda x: x.narrow(0, 1, 2),
    "split_with_sizes expects split_sizes to sum exactly to 2": lambda x: x.split([1, 3]),
    "more than one element of the written-to tensor": lambda x: x[:, :1].expand(2, 3).add_(1),
}


@pytest.mark.parametrize("message", ERRORS)
def test_error_reads_as_pytorchs(message, device):
    x = count(2, 3, device=device)
    with pytest.raises((RuntimeError, IndexError)) as caught:
        ERRORS[message](x)
    assert message in str(caught.value)


@pytest.mark.parametrize("write", [lambda v: v.fill_(2), lambda v: v.mul_(0), lambda v: v.__setitem__(0, 3.0)])
def test_view_older_than_its_base_has_a_history(write, device):
    a = torch.ones(3, device=device, requires_grad=True)
    x = torch.zeros(3, 4, device=device)
    row = x[1]
    x[:, 0] = a
    with torch.no_grad():
        assert row.requires_grad  # asked where nothing is recorded, and not lost by that
    write(row)
    x.sum().backward()
    assert a.grad.tolist() == [1, 0, 1]


def test_view_older_than_its_base_is_recorded_when_used(device):
    a = torch.ones(3, device=device, requires_grad=True)
    x = torch.zeros(3, 4, device=device)
    row = x[1]
    x[:, 0] = a
    (row * 2).sum().backward()
    assert a.grad.tolist() == [0, 2, 0]
