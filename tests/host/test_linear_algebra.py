"""Sums of products by name, chains, and distances: values, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd.gradcheck import gradcheck
from tritorch.runtime.language import triton_missing

DEVICES = ["cpu"] if triton_missing() else ["cpu", "interpreter"]


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk", [(2, 3), (3, 4)]),
        ("bthd,bshd->bhts", [(2, 3, 2, 4), (2, 5, 2, 4)]),
        ("bij,bjk,bkl->bil", [(2, 2, 3), (2, 3, 2), (2, 2, 2)]),
        ("...ij,...jk", [(2, 1, 3, 4), (3, 4, 2)]),
        ("ii->i", [(3, 3)]),
        ("iij,ik->jk", [(3, 3, 2), (3, 2)]),
        ("ij,kj->ik", [(2, 3), (4, 1)]),  # sizes of one broadcast
        ("i,j->ij", [(2,), (3,)]),
        ("ba", [(2, 3)]),
        ("ab->", [(2, 3)]),
    ],
)
def test_einsum_is_numpys(equation, shapes, device):
    arrays = [numbers(*shape, seed=at) for at, shape in enumerate(shapes)]
    tensors = [torch.tensor(each, device=device, requires_grad=True) for each in arrays]
    found = torch.einsum(equation, *tensors)
    close(found, np.einsum(equation, *arrays))
    if device == "cpu":
        assert gradcheck(lambda *each: torch.einsum(equation, *each), tensors)


def test_einsum_over_nothing_is_zero():
    assert torch.einsum("i,i->", torch.ones(0), torch.ones(0)).item() == 0


def test_einsum_takes_lists_of_numbers():
    a, b = torch.tensor(numbers(2, 3)), torch.tensor(numbers(3, 4))
    close(torch.einsum(a, [0, 1], b, [1, 2], [2, 0]), (a @ b).numpy().T)
    close(torch.einsum(a, [..., 5], [5, ...]), a.numpy().T)


def test_einsum_of_one_view_copies_nothing():
    a = torch.tensor(numbers(2, 3))
    torch.einsum("ij->ji", a)[0, 1] = 7
    assert a[1, 0].item() == 7


@pytest.mark.parametrize(
    ("equation", "shapes", "text"),
    [
        ("i1", [(2, 2)], "invalid subscript given at index 1 in the equation string"),
        ("i.j", [(2, 2)], "found '.' for operand 0 that is not part of any ellipsis"),
        ("i,j", [(2,)], "fewer operands were provided than specified in the equation"),
        ("i", [(2,), (2,)], "more operands were provided than specified in the equation"),
        ("ij", [(2,)], "(2) does not match the number of dimensions (1) for operand 0 and no ellipsis was given"),
        ("ij,jk", [(2, 3), (4, 2)], "subscript j has size 4 for operand 1 which does not broadcast with previously"),
        ("ii", [(2, 3)], "subscript i is repeated for operand 0 but the sizes don't match, 3 != 2"),
        ("i->ii", [(2,)], "output subscript i appears more than once in the output"),
        ("i->j", [(2,)], "output subscript j does not appear in the equation for any input operand"),
    ],
)
def test_einsum_refuses_what_makes_no_sense(equation, shapes, text):
    with pytest.raises(RuntimeError) as caught:
        torch.einsum(equation, *[torch.ones(*shape) for shape in shapes])
    assert text in str(caught.value)


def test_tensordot_by_numbers_and_by_lists():
    a, b = numbers(2, 3, 4), numbers(3, 4, 5)
    x, y = torch.tensor(a), torch.tensor(b)
    close(torch.tensordot(x, y, 2), np.tensordot(a, b, 2))
    close(torch.tensordot(x, y, ([2, 1], [1, 0])), np.tensordot(a, b, ([2, 1], [1, 0])))
    close(torch.tensordot(x, y[:1], ([1], [0])), np.tensordot(a.sum(1), b[0], 0))
    with pytest.raises(RuntimeError, match="first has size 2 in dim 0 and second has size 3 in dim 0"):
        torch.tensordot(x, y, ([0], [0]))


def test_chains_multiply_in_the_best_order_and_give_what_any_order_gives():
    arrays = [numbers(20), numbers(20, 3), numbers(3, 30), numbers(30)]
    close(torch.linalg.multi_dot([torch.tensor(each) for each in arrays]), np.linalg.multi_dot(arrays))


def test_cross_is_at_right_angles():
    a, b = torch.tensor(numbers(3, 4)), torch.tensor(numbers(3, 4, seed=1))
    close(torch.cross(a, b), np.cross(a.numpy(), b.numpy(), axis=0))
    close(torch.linalg.cross(a.T, b.T[:1]), np.cross(a.numpy().T, b.numpy().T[:1]))


def test_numbers_for_integers_and_bools_are_of_their_kind():
    ones = torch.ones(2, 2, dtype=torch.int64)
    assert torch.addmm(ones, ones, ones, beta=2.9, alpha=0.9).tolist() == [[2, 2], [2, 2]]
    yes = torch.ones(2, dtype=torch.bool)
    assert torch.addr(torch.zeros(2, 2, dtype=torch.bool), yes, yes).dtype is torch.bool
    with pytest.raises(RuntimeError, match="argument alpha must not be a floating point number"):
        torch.addr(ones, ones[0], ones[1], alpha=0.5)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_that_coincide_have_no_gradient(device):
    for p in (0.5, 1.0, 1.5, 2.0, 3.0, float("inf")):
        for mode in ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
            x = torch.tensor([[1.0, 2], [1, 2]], device=device, requires_grad=True)
            torch.cdist(x, x.detach(), p, compute_mode=mode).sum().backward()
            assert x.grad.tolist() == [[0, 0], [0, 0]]


def test_distances_by_a_product_are_the_same():
    a, b = numbers(2, 30, 5), numbers(30, 5, seed=1)
    expected = np.linalg.norm(a[..., :, None, :] - b[None, None], axis=-1)
    x, y = torch.tensor(a), torch.tensor(b)
    close(torch.cdist(x, y), expected)
    close(torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist"), expected)
    rows, columns = np.triu_indices(30, 1)
    close(torch.nn.functional.pdist(y, 1.0), np.abs(b[rows] - b[columns]).sum(-1))


def test_bilinear_is_a_sum_of_products():
    a, b, weight, bias = (torch.tensor(numbers(*shape)) for shape in ((2, 3, 4), (2, 3, 5), (6, 4, 5), (6,)))
    found = torch.nn.functional.bilinear(a, b, weight, bias)
    close(found, np.einsum("...i,kij,...j->...k", a.numpy(), weight.numpy(), b.numpy()) + bias.numpy())
