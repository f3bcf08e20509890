"""Padding: NumPy's modes by other names, cutting, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd import grad
from tritorch.runtime.language import triton_missing

pad = torch.nn.functional.pad
DEVICES = ["cpu"] if triton_missing() else ["cpu", "interpreter"]
NUMPY_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_padding_is_numpys(mode, device):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    found = pad(torch.tensor(x, device=device), (3, 1, 0, 2), mode)
    assert np.array_equal(found.numpy(), np.pad(x, ((0, 0), (0, 0), (0, 2), (3, 1)), NUMPY_MODES[mode]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("constant", [1.0, 1, 1, 1]),
        ("reflect", [1.0, 3, 3, 1]),
        ("replicate", [3.0, 1, 1, 3]),
        ("circular", [2.0, 2, 2, 2]),
    ],
)
def test_an_element_gets_the_gradient_of_all_places_it_stands_at(mode, expected, device):
    x = torch.ones(1, 1, 4, device=device, requires_grad=True)
    seed = torch.ones(1, 1, 8, device=device, requires_grad=True)
    (found,) = grad(pad(x, (2, 2), mode), [x], seed, create_graph=True)
    assert found.tolist() == [[expected]]
    (again,) = grad(found, [seed], torch.tensor([[[1.0, 2, 3, 4]]], device=device))
    assert np.array_equal(again.numpy(), pad(torch.tensor([[[1.0, 2, 3, 4]]]), (2, 2), mode).numpy())


@pytest.mark.parametrize("device", DEVICES)
def test_negative_widths_cut(device):
    x = torch.arange(6, device=device).reshape(2, 3)
    assert pad(x, (-1, 1), value=7).tolist() == [[1, 2, 7], [4, 5, 7]]
    assert torch.constant_pad_nd(x, (-1, -1, 1, -1)).tolist() == [[0], [1]]
    assert pad(x, (-1, 1), "circular").tolist() == [[1, 2, 1], [4, 5, 4]]  # what was cut does not come round
    assert pad(x > 2, (0, 1), value=5).tolist() == [[False, False, False, True], [True, True, True, True]]


@pytest.mark.parametrize(
    ("shape", "widths", "mode", "kind", "text"),
    [
        ((2, 3), (1,), "constant", RuntimeError, "Padding length must be divisible by 2"),
        ((3,), (1, 1, 1, 1), "constant", RuntimeError, "got padding length 4 and input of dimension 1"),
        ((2, 3), (-2, -2), "constant", RuntimeError, "resulted in a negative output size"),
        ((1, 2, 3), (3, 0), "reflect", RuntimeError, "got: padding (3, 0) at dimension 2 of input [1, 2, 3]"),
        ((1, 2, 3), (4, 0), "circular", RuntimeError, "wrapping around more than once"),
        (
            (1, 2, 3, 4),
            (1, 1),
            "replicate",
            NotImplementedError,
            "Padding size 2 is not supported for 4D input tensor.",
        ),
        ((1, 2, 3), (1, 1), "mirror", NotImplementedError, "Unrecognised padding mode mirror"),
        ((1, 2, 3), (1.5, 1), "constant", TypeError, "must be tuple of ints, but found element of type float at pos 0"),
    ],
)
def test_what_does_not_fit_is_refused(shape, widths, mode, kind, text):
    with pytest.raises(kind) as caught:
        pad(torch.ones(*shape), widths, mode)
    assert text in str(caught.value)
