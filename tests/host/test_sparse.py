"""Sparse tensors against the dense tensors they stand for, forward and backward; texts are PyTorch's."""

from __future__ import annotations

import copy
import pickle

import pytest
from tolerances import close

import tritorch as torch

PLACES, VALUES = [[0, 1, 1, 0], [2, 0, 2, 2]], [3.0, 4.0, 5.0, 1.0]
DENSE = [[0.0, 0.0, 4.0], [4.0, 0.0, 5.0]]


@pytest.fixture(autouse=True, params=["cpu", "interpreter"])
def on_device(request):
    with torch.device(request.param):
        yield request.param


@pytest.fixture
def twice():
    """A tensor with a place that comes twice."""
    return torch.sparse_coo_tensor(PLACES, VALUES, (2, 3))


@pytest.fixture
def dense():
    return torch.tensor(DENSE)


@pytest.fixture
def other():
    return torch.arange(12.0).view(3, 4)


def test_what_it_is(twice):
    assert twice.is_sparse and twice.layout is torch.sparse_coo and isinstance(twice, torch.Tensor)
    assert (twice.shape, twice.dim(), twice.numel(), len(twice)) == ((2, 3), 2, 6, 2)
    assert (twice.sparse_dim(), twice.dense_dim(), twice._nnz(), twice.dtype) == (2, 0, 4, torch.float32)
    assert twice._indices().tolist() == PLACES and twice._values().tolist() == VALUES
    assert twice.type() == "torch.sparse.FloatTensor" or twice.is_cuda
    assert isinstance(twice, torch.sparse.FloatTensor) and not isinstance(twice, torch.sparse.LongTensor)


def test_to_dense_and_back(twice, dense):
    assert twice.to_dense().tolist() == DENSE
    again = dense.to_sparse()
    assert again.is_coalesced() and again.indices().tolist() == [[0, 1, 1], [2, 0, 2]]
    assert again.values().tolist() == [4.0, 4.0, 5.0] and again.to_dense().tolist() == DENSE
    assert dense.to_sparse(1).values().tolist() == DENSE and dense.to_sparse(1).dense_dim() == 1
    assert torch.zeros(2, 2).to_sparse()._nnz() == 0 and torch.zeros(2, 2).to_sparse().to_dense().sum() == 0
    assert torch.tensor(3.0).to_sparse().to_dense().item() == 3.0
    assert dense.to_dense() is dense and twice.to_sparse() is twice


def test_coalescing_sorts_places_and_adds_values(twice):
    with pytest.raises(RuntimeError, match="Cannot get indices on an uncoalesced tensor"):
        twice.indices()
    once = twice.coalesce()
    assert once.is_coalesced() and not twice.is_coalesced() and once.coalesce() is once
    assert once.indices().tolist() == [[0, 1, 1], [2, 0, 2]] and once.values().tolist() == [4.0, 4.0, 5.0]


@pytest.mark.parametrize(
    "product",
    [
        lambda s, m: s @ m, lambda s, m: torch.sparse.mm(s, m), lambda s, m: torch.mm(s, m), lambda s, m: s.mm(m),
        lambda s, m: torch.spmm(s, m), lambda s, m: torch.matmul(s, m), lambda s, m: s @ m[:, 1],
        lambda s, m: torch.mv(s, m[:, 0]), lambda s, m: m.t() @ s.t(), lambda s, m: torch.matmul(m.t(), s.t()),
        lambda s, m: torch.addmm(torch.ones(2, 4), s, m), lambda s, m: torch.sparse.addmm(torch.ones(2, 4), s, m),
    ],
)  # fmt: skip
def test_products_with_dense_tensors(twice, dense, other, product):
    found = product(twice, other)
    close(found.cpu(), product(dense, other).cpu().numpy())


def test_products_of_two_sparse_matrices(twice, dense):
    found = torch.sparse.mm(twice, twice.t())
    assert found.is_sparse and found.to_dense().tolist() == (dense @ dense.t()).tolist()


def test_gradients_flow_to_the_values_and_to_the_dense_operand(other):
    values = torch.tensor(VALUES, requires_grad=True)
    matrix = other.clone().requires_grad_()
    torch.sparse.mm(torch.sparse_coo_tensor(PLACES, values, (2, 3)), matrix).sum().backward()
    assert values.grad.tolist() == [38.0, 6.0, 38.0, 38.0]
    assert matrix.grad.tolist() == [[4.0] * 4, [0.0] * 4, [9.0] * 4]
    values.grad = None
    weights = torch.arange(6.0).view(2, 3)
    (torch.sparse_coo_tensor(PLACES, values, (2, 3)).to_dense() * weights).sum().backward()
    assert values.grad.tolist() == [2.0, 3.0, 5.0, 2.0]
    values.grad = None
    (torch.sparse_coo_tensor(PLACES, values, (2, 3)).coalesce().values() ** 2).sum().backward()
    assert values.grad.tolist() == [8.0, 8.0, 10.0, 8.0]


def test_gradients_of_sparse_leaves_and_of_dense_sources(dense, other):
    leaf = torch.sparse_coo_tensor(PLACES, VALUES, (2, 3), requires_grad=True)
    assert leaf.is_leaf and leaf.requires_grad and leaf.is_coalesced()
    (leaf @ other).sum().backward()
    assert leaf.grad.to_dense().tolist() == [[0.0, 0.0, 38.0], [6.0, 0.0, 38.0]]
    source = dense.clone().requires_grad_()
    (source.to_sparse() @ other).sum().backward()
    assert source.grad.tolist() == [[0.0, 0.0, 38.0], [6.0, 0.0, 38.0]]  # at the places that are there


def test_arithmetic(twice, dense):
    for found, wanted in (
        (twice + twice, dense + dense), (twice - dense.to_sparse(), dense - dense), (twice * 2, dense * 2),
        (2 * twice, dense * 2), (twice / 2, dense / 2), (-twice, -dense), (twice.abs(), dense.abs()),
        (twice.coalesce() * twice, dense * dense), (twice * dense, dense * dense), (twice.pow(2), dense**2),
        (twice.t(), dense.t()), (twice.transpose(0, 1), dense.t()), (twice.T, dense.t()), (twice.relu(), dense.relu()),
        (twice.add(twice, alpha=2), dense * 3), (twice[1], dense[1]), (twice.sqrt(), dense.sqrt()),
        (twice.index_select(1, torch.tensor([2, 0])), dense[:, [2, 0]]), (dense.sparse_mask(twice.coalesce()), dense),
    ):  # fmt: skip
        assert found.is_sparse and found.to_dense().tolist() == wanted.tolist()
    assert (dense + twice).tolist() == (2 * dense).tolist() and (dense - twice).tolist() == (0 * dense).tolist()
    assert twice.sum().item() == 13.0 and torch.sparse.sum(twice).item() == 13.0 and twice[0, 2].item() == 4.0
    assert torch.sparse.sum(twice, dim=0).to_dense().tolist() == [4.0, 0.0, 9.0]
    with pytest.raises(RuntimeError, match=r"add\(sparse, dense\) is not supported. Use add\(dense, sparse\) instead."):
        twice + dense


def test_softmax_over_what_is_there(twice):
    found = torch.sparse.softmax(twice, 1).values()
    close(found.cpu(), torch.cat([torch.ones(1), torch.softmax(torch.tensor([4.0, 5.0]), 0)]).cpu().numpy())
    assert torch.sparse.log_softmax(twice, 1).values()[0].item() == 0.0


def test_copies(twice):
    assert twice.double().dtype is torch.float64 and twice.to(torch.float64).to_dense().dtype is torch.float64
    assert twice.float() is twice and twice.cpu().device.type == "cpu"
    for again in (twice.clone(), twice.detach(), copy.deepcopy(twice), pickle.loads(pickle.dumps(twice))):
        assert again.is_sparse and again.to_dense().tolist() == DENSE


def test_gradients_agree_with_differences(other):
    values = torch.tensor(VALUES, dtype=torch.float64, device="cpu", requires_grad=True)
    matrix = other.to(device="cpu", dtype=torch.float64).requires_grad_()
    places = torch.tensor(PLACES, device="cpu")
    assert torch.autograd.gradcheck(lambda v, m: torch.sparse_coo_tensor(places, v, (2, 3)) @ m, (values, matrix))


def test_modules_hold_them(twice):
    module = torch.nn.Module()
    module.register_buffer("adjacency", twice)
    assert module.double().adjacency.dtype is torch.float64 and module.adjacency.is_sparse


def test_ways_to_make_one():
    places, values = torch.tensor(PLACES), torch.tensor(VALUES)
    for made in (torch.sparse_coo_tensor(places, values), torch.sparse.FloatTensor(places, values, torch.Size([2, 3]))):
        assert made.shape == (2, 3) and made.to_dense().tolist() == DENSE
    assert torch.sparse_coo_tensor(size=(2, 3))._nnz() == torch.sparse.FloatTensor(2, 3)._nnz() == 0
    rows = torch.sparse_coo_tensor([[0, 2]], torch.ones(2, 3), (3, 3))
    assert (rows.sparse_dim(), rows.dense_dim()) == (1, 1) and rows.to_dense().sum(1).tolist() == [3.0, 0.0, 3.0]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0, 3.0], (2,)), RuntimeError, "must have same nnz"),
        (lambda s: torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (2, 3)), RuntimeError, "'len.size. == sparse_dim"),
        (
            lambda s: torch.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (2,)),
            RuntimeError,
            "size is 2 but found index 5",
        ),
        (lambda s: torch.sparse_coo_tensor([[0, -1]], [1.0, 2.0], (2,)), RuntimeError, "negative index -1 for dim 0"),
        (lambda s: torch.sparse_coo_tensor([0, 1], [1.0, 2.0]), RuntimeError, "indices must be sparse_dim x nnz"),
        (lambda s: s @ torch.ones(4, 2), RuntimeError, r"shapes cannot be multiplied \(2x3 and 4x2\)"),
        (lambda s: s @ torch.ones(3, 2).double(), RuntimeError, "to have the same dtype"),
        (lambda s: s.view(-1), NotImplementedError, r"takes no sparse tensors: call to_dense\(\) first"),
        (lambda s: torch.exp(s), NotImplementedError, r"takes no sparse tensors: call to_dense\(\) first"),
        (lambda s: s.numpy(), NotImplementedError, r"takes no sparse tensors: call to_dense\(\) first"),
        (lambda s: s.to_sparse_csr(), NotImplementedError, "the sparse layout torch.sparse_coo only"),
        (lambda s: torch.sparse_csr_tensor([0], [0], [1.0]), NotImplementedError, "layout torch.sparse_coo only"),
        (lambda s: torch.ones(2).coalesce(), RuntimeError, "coalesce expected sparse coordinate tensor layout but got"),
        (lambda s: torch.sparse.spsolve(s, s), NotImplementedError, "use dense tensors"),
    ],
)
def test_refusals(twice, call, error, words):
    with pytest.raises(error, match=words):
        call(twice)


def test_text(twice):
    assert repr(twice) == (
        "tensor(indices=tensor([[0, 1, 1, 0],\n                       [2, 0, 2, 2]]),\n"
        "       values=tensor([3., 4., 5., 1.]),\n       size=(2, 3), nnz=4, layout=torch.sparse_coo)"
    )
    assert repr(twice.double()).endswith("size=(2, 3), nnz=4, dtype=torch.float64, layout=torch.sparse_coo)")
    assert repr(torch.sparse_coo_tensor(size=(2, 3))).startswith(
        "tensor(indices=tensor([], size=(2, 0)),\n       values="
    )
