"""Diagonals, triangles, grids, parts and views by strides: compositions held against NumPy and plain Python."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tolerances import close

import tritorch as torch

pytestmark = pytest.mark.parametrize("device", ["cpu", "interpreter"])


def count(*shape, device, requires_grad=False):
    size = torch.Size(shape).numel()
    return torch.arange(float(size), device=device).reshape(shape).detach().requires_grad_(requires_grad)


MATRIX = np.arange(12.0).reshape(3, 4)
AS_NUMPY = {
    "tril": (lambda x: x.tril(-1), np.tril(MATRIX, -1)),
    "triu of a transpose": (lambda x: x.t().triu(1), np.triu(MATRIX.T, 1)),
    "diag": (lambda x: x.diag(1), np.diag(MATRIX, 1)),
    "diagflat": (lambda x: x[0].diagflat(-1), np.diagflat(MATRIX[0], -1)),
    "trace": (lambda x: x.trace(), np.trace(MATRIX)),
    "rot90": (lambda x: x.rot90(), np.rot90(MATRIX)),
    "rot90 back": (lambda x: x.rot90(-1, (1, 0)), np.rot90(MATRIX, -1, (1, 0))),
    "flip": (lambda x: x.flip(0, 1), np.flip(MATRIX)),
    "roll": (lambda x: x.roll((1, -6), (0, 1)), np.roll(MATRIX, (1, -6), (0, 1))),
    "roll of all": (lambda x: x.t().roll(5), np.roll(MATRIX.T, 5)),
    "kron": (lambda x: torch.kron(x, x[:2, 1]), np.kron(MATRIX, MATRIX[:2, 1])),
    "vander": (lambda x: torch.vander(x[1], 3), np.vander(MATRIX[1], 3)),
    "block_diag": (
        lambda x: torch.block_diag(x[:1], x[0, 0], x[1:, :2]),
        np.block([[MATRIX[:1], np.zeros((1, 3))], [np.zeros((3, 4)), np.array([[0, 0, 0], [0, 4, 5], [0, 8, 9]])]]),
    ),
    "channel_shuffle": (
        lambda x: torch.nn.functional.channel_shuffle(x.reshape(1, 6, 2), 2).reshape(6, 2),
        MATRIX.reshape(6, 2)[[0, 3, 1, 4, 2, 5]],
    ),
}


@pytest.mark.parametrize("name", AS_NUMPY)
def test_result_is_numpys(name, device):
    ours, expected = AS_NUMPY[name]
    found = ours(count(3, 4, device=device))
    assert found.shape == expected.shape
    close(found, expected)


@pytest.mark.parametrize(("row", "col", "offset"), [(3, 4, 0), (4, 2, 1), (2, 5, -3), (0, 3, 0)])
def test_indices_of_triangles(row, col, offset, device):
    low = torch.tril_indices(row, col, offset, device=device)
    assert low.tolist() == np.array(np.tril_indices(row, offset, col)).tolist()
    high = torch.triu_indices(row, col, offset, device=device, dtype=torch.int32)
    assert high.tolist() == np.array(np.triu_indices(row, offset, col)).tolist()
    assert high.dtype is torch.int32


def test_combinations_and_products_are_itertools(device):
    x = count(4, device=device)
    assert torch.combinations(x, 3).tolist() == [list(each) for each in itertools.combinations(range(4), 3)]
    repeated = itertools.combinations_with_replacement(range(4), 2)
    assert torch.combinations(x, with_replacement=True).tolist() == [list(each) for each in repeated]
    pairs = [list(each) for each in itertools.product(range(4), range(2))]
    assert torch.cartesian_prod(x, x[:2]).tolist() == pairs


def test_diag_embed_puts_the_last_dimension_on_a_diagonal(device):
    x = count(2, 3, device=device, requires_grad=True)
    made = torch.diag_embed(x, 1, 0, 2)
    assert made.shape == (4, 2, 4)
    assert made.diagonal(1, 0, 2).tolist() == x.tolist()
    assert made.sum().item() == 15
    (made * made).sum().backward()
    assert x.grad.tolist() == (2 * x).tolist()


def test_pixels_come_back(device):
    x = count(2, 8, 3, 2, device=device)
    large = torch.pixel_shuffle(x, 2)
    assert large.shape == (2, 2, 6, 4)
    assert large[0, 0, :2, :2].tolist() == [[0, 6], [12, 18]]
    assert torch.pixel_unshuffle(large, 2).tolist() == x.tolist()


def test_parts(device):
    x = count(4, 6, 2, device=device)
    assert [each.shape for each in x.hsplit(3)] == [(4, 2, 2)] * 3
    assert [each.shape[0] for each in x.vsplit((1, 3))] == [1, 2, 1]
    assert x.dsplit(2)[1]._base is x
    assert [each.shape for each in x[0, :, 0].hsplit([2])] == [(2,), (4,)]
    with pytest.raises(RuntimeError, match="size of the dimension 6 is not divisible by the split_size 4"):
        x.hsplit(4)


def test_copies_of_views_are_no_views(device):
    x = count(2, 3, device=device)
    copies = torch.t_copy(x), torch.permute_copy(x, (1, 0)), *torch.unbind_copy(x), torch.view_copy(x.t(), (6,))
    x.zero_()
    assert [each.sum().item() for each in copies] == [15, 15, 3, 12, 15]


# ---------------------------------------------------------------- views by strides


def test_gradient_of_a_view_that_repeats_places(device):
    x = count(5, device=device, requires_grad=True)
    x.as_strided((3, 3), (1, 1)).sum().backward()
    assert x.grad.tolist() == [1, 2, 3, 2, 1]


def test_gradient_of_a_view_by_strides_of_a_transpose(device):
    x = count(2, 3, device=device, requires_grad=True)
    y = (x * 1).t()
    y.as_strided((2, 2), (2, 1), 1).backward(torch.tensor([[1.0, 2], [3, 4]], device=device))
    assert x.grad.tolist() == [[0, 1, 2], [3, 4, 0]]


def test_gradient_by_strides_stays_within_the_argument(device):
    x = count(6, device=device, requires_grad=True)
    y = x[2:4]
    wide = y.as_strided((4,), (1,), 1)
    assert wide.tolist() == [1, 2, 3, 4]
    (found,) = torch.autograd.grad(wide.sum(), y)
    assert found.tolist() == [1, 1]


def test_write_through_a_view_by_strides_keeps_the_history(device):
    a = count(2, 3, device=device, requires_grad=True)
    x = a * 1
    x.as_strided((2,), (4,)).mul_(5)
    x.sum().backward()  # its gradient is expanded, and yet viewed by strides
    assert a.grad.tolist() == [[5, 1, 1], [1, 5, 1]]


def test_write_by_strides_reaches_the_elements_of_a_transposed_root(device):
    a = count(2, 3, device=device, requires_grad=True)
    x = torch.empty_strided((3, 2), (1, 3), device=device)
    x[:] = a.t()
    x.fill_diagonal_(0.0)
    (x * count(3, 2, device=device)).sum().backward()
    assert x.tolist() == [[0, 3], [1, 0], [2, 5]]
    assert a.grad.tolist() == [[0, 2, 4], [1, 0, 5]]


def test_empty_vectors_join_along_any_dimension_and_have_gradients(device):
    x = torch.zeros(0, device=device, requires_grad=True)
    torch.cat([x, x], 1).sum().backward()
    assert x.grad.shape == (0,)


REPLACED = {
    "diagonal": lambda x, src: x.diagonal_scatter(src[:2], 1),
    "select": lambda x, src: x.select_scatter(src, 1, -1),
    "slice": lambda x, src: x.slice_scatter(src.reshape(1, 3).expand(2, 3).t(), 1, 0, None, 2),
    "as_strided": lambda x, src: x.as_strided_scatter(src, (3,), (3,), 2),
}


@pytest.mark.parametrize("name", REPLACED)
def test_one_view_replaced(name, device):
    x, src = count(3, 3, device=device, requires_grad=True), torch.full((3,), 100.0, device=device, requires_grad=True)
    found = REPLACED[name](x, src)
    written = found.detach() == 100
    found.sum().backward()
    assert x.grad.tolist() == (~written).float().tolist()
    assert src.grad.sum().item() == written.sum().item()


def test_resize_keeps_elements_and_smaller_ones_their_memory(device):
    x = count(6, device=device)
    same = x.detach()
    x.resize_(2, 2)
    x.zero_()
    assert same.tolist() == [0, 0, 0, 0, 4, 5]
    x.resize_as_(torch.ones(5, device=device))
    assert x[:4].tolist() == [0, 0, 0, 0]


def test_in_place_change_of_a_views_shape_keeps_what_it_views(device):
    x = torch.zeros(2, 3, device=device)
    a = torch.ones(3, device=device, requires_grad=True)
    row = x[1]
    row.unsqueeze_(0)
    x[1] = a
    (row * 2).sum().backward()
    assert row.shape == (1, 3)
    assert a.grad.tolist() == [2, 2, 2]


def test_tensors_by_strides(device):
    x = torch.empty_strided((2, 3), (1, 2), device=device)
    assert x.stride() == (1, 2)
    x.copy_(count(2, 3, device=device))
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x.new_empty_strided((2, 2), (4, 1), dtype=torch.int8).stride() == (4, 1)
    assert torch.empty_permuted((2, 3, 4), (2, 0, 1), device=device).stride() == (3, 1, 6)


def test_ranges(device):
    close(torch.logspace(0, 2, 5, device=device), np.logspace(0, 2, 5))
    assert torch.logspace(0, 3, 4, 2, dtype=torch.int32, device=device).tolist() == [1, 2, 4, 8]
    with pytest.raises(RuntimeError, match="only supports 0-dimensional start and end tensors"):
        torch.logspace(torch.zeros(2), 1, 3)
