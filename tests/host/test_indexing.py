"""x[key] and x[key] = value: which elements, which gradients, which errors."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch

pytestmark = pytest.mark.parametrize("device", ["cpu", "interpreter"])


def count(*shape, device, requires_grad=False):
    size = torch.Size(shape).numel()
    return torch.arange(float(size), device=device).reshape(shape).detach().requires_grad_(requires_grad)


FIRST, SECOND = np.array([0, 1, 1]), np.array([2, 0, -1])
# Keys that NumPy and PyTorch read alike.
KEYS = {
    "vector": (FIRST,),
    "two vectors": (FIRST, SECOND),
    "apart": (FIRST, slice(None), SECOND),
    "side by side": (slice(None), SECOND, FIRST),
    "broadcast": (FIRST[:, None], SECOND),
    "matrix": (slice(None), FIRST.reshape(1, 3)),
    "with None": (None, FIRST),
    "with Ellipsis": (..., FIRST),
    "mask": (np.arange(24).reshape(2, 3, 4) % 5 == 0,),
    "mask of rows": (np.array([[True, False, True], [False, False, True]]),),
    "mask in the middle": (slice(None), np.array([True, False, True])),
    "list": ([1, 0],),
    "none of it": (np.array([], np.int64),),
}


@pytest.mark.parametrize("name", KEYS)
def test_key_picks_what_numpy_picks(name, device):
    key = KEYS[name]
    ours = tuple(torch.tensor(part, device=device) if isinstance(part, np.ndarray) else part for part in key)
    x = count(2, 3, 4, device=device, requires_grad=True)
    expected = np.arange(24.0).reshape(2, 3, 4)[key]
    picked = x[ours]
    assert picked.shape == expected.shape
    assert picked.tolist() == expected.tolist()
    picked.sum().backward()
    visits = np.zeros((2, 3, 4))
    np.add.at(visits, key, 1)
    assert x.grad.tolist() == visits.tolist()
    written, wanted = torch.zeros(2, 3, 4, device=device), np.zeros((2, 3, 4))
    written[ours] = 7.0
    wanted[key] = 7
    assert written.tolist() == wanted.tolist()


def test_int_beside_tensor_selects_first(device):
    x = count(2, 3, 4, device=device)
    picked = x[0, :, torch.tensor([1, 2], device=device)]  # NumPy would move the picked dimension to the front
    assert picked.tolist() == [[1, 2], [5, 6], [9, 10]]


def test_integer_tensor_without_dimensions_is_an_int(device):
    x = count(2, 3, device=device)
    row = x[torch.tensor(1, device=device)]
    assert row._base is x
    assert row.tolist() == [3, 4, 5]


def test_bool_makes_a_dimension(device):
    x = count(2, device=device)
    assert x[True].shape == (1, 2)
    assert x[False].shape == (0, 2)


def test_assignment_gives_gradients_to_both(device):
    a = count(3, 2, device=device, requires_grad=True)
    b = count(2, 2, device=device, requires_grad=True)
    x = a * 1
    x[torch.tensor([0, 2], device=device)] = b
    (x * x).sum().backward()
    assert x.tolist() == [[0, 1], [2, 3], [2, 3]]
    assert a.grad.tolist() == [[0, 0], [4, 6], [0, 0]]
    assert b.grad.tolist() == [[0, 2], [4, 6]]


def test_mask_assignment_gives_gradients_to_both(device):
    a = count(2, 2, device=device, requires_grad=True)
    b = torch.tensor(5.0, device=device, requires_grad=True)
    x = a * 1
    x[x > 1] = b
    (x * x).sum().backward()
    assert a.grad.tolist() == [[0, 2], [0, 0]]
    assert b.grad.item() == 20


def test_slice_assignment_into_zeros_records_history(device):
    b = count(2, device=device, requires_grad=True)
    x = torch.zeros(2, 3, device=device)
    x[1, 1:] = b
    (x * x).sum().backward()
    assert b.grad.tolist() == [0, 2]


def test_repeated_positions_add_up(device):
    x = torch.zeros(3, 9, device=device)
    index = torch.tensor([2, 0, 2, 2], device=device)
    summed = x.index_put((index,), count(4, 9, device=device), accumulate=True)
    assert summed[2].tolist() == [45 + 3 * column for column in range(9)]
    assert summed[1].sum().item() == 0


def test_gather_and_its_gradient(device):
    x = count(2, 3, device=device, requires_grad=True)
    picked = x.gather(1, torch.tensor([[2, 2], [0, 1]], device=device))
    assert picked.tolist() == [[2, 2], [3, 4]]
    picked.sum().backward()
    assert x.grad.tolist() == [[0, 0, 2], [1, 1, 0]]


def test_nonzero(device):
    x = torch.tensor([[0, 3], [1, 0]], device=device)
    assert x.nonzero().tolist() == [[0, 1], [1, 0]]
    assert [part.tolist() for part in x.nonzero(as_tuple=True)] == [[0, 1], [1, 0]]


@pytest.mark.parametrize("padding", [None, 1])
def test_embedding_sums_gradients_of_a_row(padding, device):
    weight = count(3, 8, device=device, requires_grad=True)
    numbers = torch.tensor([[1, 0], [1, 1]], device=device)
    rows = torch.nn.functional.embedding(numbers, weight, padding_idx=padding)
    assert rows.tolist() == weight[numbers].tolist()
    rows.sum().backward()
    assert weight.grad.tolist() == [[1] * 8, [3 if padding is None else 0] * 8, [0] * 8]


def test_cat_and_stack_pass_gradients_to_their_parts(device):
    a = count(2, 2, device=device, requires_grad=True)
    b = count(1, 2, device=device, requires_grad=True)
    joined = torch.cat([a, torch.zeros(0, device=device), b])
    assert joined.tolist() == [[0, 1], [2, 3], [0, 1]]
    (joined * joined).sum().backward()
    assert a.grad.tolist() == [[0, 2], [4, 6]]
    assert b.grad.tolist() == [[0, 2]]
    assert torch.stack([a, a], 1).shape == (2, 2, 2)


ERRORS = {
    "index 5 is out of bounds for dimension 0 with size 3": (lambda x: x[5], IndexError),
    "index 9 is out of bounds for dimension 0 with size 3": (lambda x: x[torch.tensor([9])], IndexError),
    "index 5 is out of bounds for dimension 1 with size 4": (
        lambda x: x.gather(1, torch.tensor([[5]])), RuntimeError
    ),
    "The shape of the mask [2] at index 0 does not match the shape of the indexed tensor [3, 4] at index 0": (
        lambda x: x[torch.tensor([True, False])], IndexError
    ),
    "too many indices for tensor of dimension 2": (lambda x: x[0, 0, 0], IndexError),
    "step must be greater than zero": (lambda x: x[::-1], ValueError),
    "tensors used as indices must be long, int, byte or bool tensors": (
        lambda x: x[torch.tensor([0.5])], IndexError
    ),
    "could not be broadcast together with shapes [2], [3]": (
        lambda x: x[torch.tensor([0, 1]), torch.tensor([0, 1, 2])], IndexError
    ),
    "value tensor of shape [3] cannot be broadcast to indexing result of shape [2, 4]": (
        lambda x: x.__setitem__(torch.tensor([0, 1]), torch.ones(3)), RuntimeError
    ),
    "The expanded size of the tensor (4) must match the existing size (3)": (
        lambda x: x.__setitem__(0, torch.ones(3)), RuntimeError
    ),
    "Sizes of tensors must match except in dimension 0. Expected size 4 but got size 3 for tensor number 1": (
        lambda x: torch.cat([x, torch.ones(2, 3)]), RuntimeError
    ),
    "index out of range in self": (
        lambda x: torch.nn.functional.embedding(torch.tensor([3]), x), IndexError
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", ERRORS)
def test_error_reads_as_pytorchs(message, device):
    act, kind = ERRORS[message]
    with torch.device(device), pytest.raises(kind) as caught:
        act(count(3, 4, device=device))
    assert message in str(caught.value)
