"""Sparse matrices: what they hold, PyTorch's words, and products with gradients."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch
from tritorch import nn

INDICES = [[0, 2, 1, 0], [1, 0, 3, 1]]
DENSE = np.array([[0, 5, 0, 0], [0, 0, 0, 3], [2, 0, 0, 0]], np.float32)  # the two values at (0, 1) are 1 and 4


def made(**options):
    return tritorch.sparse_coo_tensor(INDICES, [1.0, 2.0, 3.0, 4.0], (3, 4), **options)


def test_what_it_holds():
    x = made()
    assert x.is_sparse and isinstance(x, tritorch.Tensor) and x.layout is tritorch.sparse_coo
    assert x.shape == (3, 4) and x.dtype is tritorch.float32 and x.ndim == x.dim() == 2 and x._nnz() == 4
    assert not x.is_coalesced() and x._indices().tolist() == INDICES
    with pytest.raises(RuntimeError, match="Cannot get values on an uncoalesced tensor"):
        x.values()
    once = x.coalesce()
    assert once.indices().tolist() == [[0, 1, 2], [1, 3, 0]] and once.values().tolist() == [5, 3, 2]
    np.testing.assert_array_equal(x.to_dense().numpy(), DENSE)
    np.testing.assert_array_equal(x.t().to_dense().numpy(), DENSE.T)
    np.testing.assert_array_equal((2 * x + x.double().float()).to_dense().numpy(), 3 * DENSE)
    assert tritorch.sparse.sum(x).item() == 10 and tritorch.sparse.sum(x, 0).tolist() == [2, 5, 0, 3]
    assert repr(once) == (
        "tensor(indices=tensor([[0, 1, 2],\n"
        "                       [1, 3, 0]]),\n"
        "       values=tensor([5., 3., 2.]),\n"
        "       size=(3, 4), nnz=3, layout=torch.sparse_coo)"
    )


def test_products_and_their_gradients():
    values = tritorch.tensor([1.0, 2.0, 3.0, 4.0], dtype=tritorch.float64, requires_grad=True)
    x = tritorch.sparse_coo_tensor(INDICES, values)
    other = tritorch.arange(8, dtype=tritorch.float64).reshape(4, 2).requires_grad_()
    grad = tritorch.tensor([[1.0, 2], [3, 4], [5, 6]], dtype=tritorch.float64)
    for product in (tritorch.sparse.mm, tritorch.mm, tritorch.spmm, tritorch.matmul, lambda a, b: a @ b):
        values.grad = other.grad = None
        found = product(x, other)
        close(found, DENSE.astype(float) @ other.detach().numpy())
        found.backward(grad)
        close(other.grad, DENSE.T.astype(float) @ grad.numpy(), gradient=True)
        by_place = grad.numpy() @ other.detach().numpy().T
        close(values.grad, by_place[tuple(INDICES)], gradient=True)
    assert (x @ other[:, 0]).shape == (3,)
    tritorch.autograd.gradcheck(lambda v, o: tritorch.sparse.mm(tritorch.sparse_coo_tensor(INDICES, v), o),
                                (values, other))  # fmt: skip


def test_from_a_dense_tensor_and_back():
    x = tritorch.tensor(DENSE, requires_grad=True)
    sparse = x.to_sparse()
    assert sparse.is_coalesced() and sparse._nnz() == 3
    (sparse.to_dense() * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * (DENSE != 0))
    assert x.to_dense() is x and sparse.to_sparse() is sparse


def test_old_constructors_and_buffers():
    i, v = tritorch.LongTensor(INDICES), tritorch.FloatTensor([1, 2, 3, 4])
    old = tritorch.sparse.FloatTensor(i, v, tritorch.Size([3, 4]))
    np.testing.assert_array_equal(old.to_dense().numpy(), DENSE)
    assert tritorch.sparse.FloatTensor(2, 3).to_dense().tolist() == [[0, 0, 0], [0, 0, 0]]
    module = nn.Module()
    module.register_buffer("adjacency", old)
    assert module.double().adjacency.dtype is tritorch.float64


@pytest.mark.parametrize(("arguments", "message"), [
    (([[0, 1]], [1.0], (2,)), "got nnz from indices: 2, nnz from values: 1"),
    (([[0, 5]], [1.0, 2.0], (2,)), "size is inconsistent with indices: for dim 0, size is 2 but found index 5"),
    (([[0, 1]], [1.0, 2.0], (2, 2)), "is not satisfied: len.size. = 2, sparse_dim = 1, dense_dim = 0"),
    (([[0, -1]], [1.0, 2.0], (2,)), "found negative index -1 for dim 0"),
    (([0, 1], [1.0, 2.0]), "indices must be sparse_dim x nnz"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_pytorchs_words(arguments, message):
    with pytest.raises(RuntimeError, match=message):
        tritorch.sparse_coo_tensor(*arguments)


def test_what_sparse_tensors_cannot_is_said():
    with pytest.raises(NotImplementedError, match="not implemented for sparse tensors"):
        tritorch.relu(made())
    with pytest.raises(RuntimeError, match="Expected dim 0 size 4, got 3"):
        tritorch.sparse.mm(made(), tritorch.ones(3, 2))
    with pytest.raises(NotImplementedError, match="dense matrices"):
        tritorch.sparse.mm(made(), made())


@pytest.mark.parametrize("device", ["interpreter"])
def test_on_a_device_that_runs_kernels(device):
    x = made().to(device)
    assert x.device.type == device and (x @ tritorch.ones(4, 1, device=device)).tolist() == [[5], [3], [2]]
    assert x.coalesce().values().tolist() == [5, 3, 2]
