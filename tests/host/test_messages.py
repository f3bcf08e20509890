"""Wrong calls, as users make them, get PyTorch's exception and words; doubtful ones get its warnings."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn import functional as F

R = torch.randn


def I(*values):  # noqa: E743, as short as what it makes
    return torch.tensor(list(values))


CALLS = [
    (lambda: nn.Linear(4, 3).half()(R(2, 4)), RuntimeError, "mat1 and mat2 must have the same dtype, but got Float an"),
    (lambda: F.linear(R(2, 4), R(3, 4).double()), RuntimeError, "expected m1 and m2 to have the same dtype, but got:"),
    (lambda: F.linear(R(2, 4), R(3, 4), R(3).double()), RuntimeError, "self and mat2 must have the same dtype, but go"),
    (lambda: R(2, 3, 4) @ R(2, 4, 3).double(), RuntimeError, "expected scalar type Float but found Double"),
    (lambda: nn.Conv2d(3, 6, 3)(R(1, 3, 8, 8).long()), RuntimeError, "Input type (long int) and bias type (float) sho"),
    (lambda: nn.Conv2d(3, 6, 3)(R(4, 8, 8)), RuntimeError, "expected input[1, 4, 8, 8] to have 3 channels, but got 4"),
    (lambda: nn.LayerNorm(4)(R(2, 4).long()), RuntimeError, "mixed dtype (CPU): all inputs must share same datatype."),
    (lambda: nn.BatchNorm1d(3)(R(2, 3).long()), NotImplementedError, "\"batch_norm\" not implemented for 'Long'"),
    (lambda: F.cross_entropy(R(5), I(1, 2)), ValueError, "For 1D input, 1D target must have size 1, but got target si"),
    (lambda: F.cross_entropy(R(3, 5), R(3, 4)), RuntimeError, "0D or 1D target tensor expected, multi-target not supp"),
    (lambda: F.nll_loss(R(3, 5, 2, 2), I(0, 1, 2)), RuntimeError, "only batches of spatial targets supported (3D tens"),
    (lambda: F.nll_loss(R(3, 5, 2, 2), R(3, 2, 3).long()), RuntimeError, "size mismatch (got input: [3, 5, 2, 2] , ta"),
    (lambda: torch.zeros(), TypeError, 'zeros() missing 1 required positional arguments: "size"'),
    (lambda: torch.zeros(2, 2.5), TypeError, 'failed to unpack the object at pos 2 with error "type must be tuple of'),
    (lambda: torch.zeros("a"), TypeError, "zeros(): argument 'size' (position 1) must be tuple of ints, not str"),
    (lambda: torch.full(2, 1.0), TypeError, "full(): argument 'size' (position 1) must be tuple of ints, not int"),
    (lambda: torch.full((2,), "a"), TypeError, "full(): argument 'fill_value' (position 2) must be Number, not str"),
    (lambda: torch.eye(2.5), TypeError, "eye(): argument 'n' (position 1) must be int, not float"),
    (lambda: torch.eye(2, -1), RuntimeError, "m must be greater or equal to 0, got -1"),
    (lambda: torch.arange(), TypeError, "arange() received an invalid combination of arguments - got ()"),
    (lambda: torch.from_numpy(np.zeros(3)[::-1]), ValueError, "At least one stride in the given numpy array is negati"),
    (lambda: torch.softmax(R(2)), TypeError, 'softmax() missing 1 required positional arguments: "dim"'),
    (lambda: F.max_pool2d(R(1, 1, 4, 4)), TypeError, "missing 1 required positional argument: 'kernel_size'"),
    (lambda: torch.equal(R(2), 1), TypeError, "equal(): argument 'other' (position 2) must be Tensor, not int"),
    (lambda: R(2).reshape("a"), TypeError, "reshape(): argument 'shape' (position 2) must be tuple of ints, not str"),
    (lambda: torch.add(R(2), R(2), 3, 4), TypeError, "add() takes 2 positional arguments but 4 were given"),
    (lambda: torch.cat([R(2), 1]), TypeError, "expected Tensor as element 1 in argument 0, but got int"),
    (lambda: nn.Linear(4, 3)(np.zeros((2, 4))), TypeError, "argument 'input' (position 1) must be Tensor, not numpy.n"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, words", CALLS, ids=[words for _, _, words in CALLS])
def test_a_wrong_call_says_what_pytorch_says(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)


def read_only():
    array = np.zeros(3)
    array.flags.writeable = False
    return array


DOUBTFUL = [
    (lambda: torch.tensor(R(2)), UserWarning, "rather than torch.tensor(sourceTensor)"),
    (lambda: R(2).new_tensor(R(2)), UserWarning, "rather than tensor.new_tensor(sourceTensor)"),
    (lambda: torch.from_numpy(read_only()), UserWarning, "The given NumPy array is not writable"),
    (lambda: torch.frombuffer(b"abcd", dtype=torch.uint8), UserWarning, "The given buffer is not writable"),
    (lambda: torch.range(0, 3), UserWarning, "torch.range is deprecated"),
]


@pytest.mark.parametrize("call, kind, words", DOUBTFUL, ids=[words for _, _, words in DOUBTFUL])
def test_a_doubtful_call_warns_as_pytorch_does(call, kind, words):
    with pytest.warns(kind) as caught:
        call()
    assert [words in str(each.message) for each in caught] == [True]
    assert caught[0].filename == __file__  # the user's line, not one of ours
