"""The old constructors and tensor types, `Variable`, and what `Tensor.type` says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tritorch as torch
from tritorch.autograd import Variable

TYPES = {
    "FloatTensor": torch.float32, "DoubleTensor": torch.float64, "HalfTensor": torch.float16,
    "BFloat16Tensor": torch.bfloat16, "LongTensor": torch.int64, "IntTensor": torch.int32, "ShortTensor": torch.int16,
    "CharTensor": torch.int8, "ByteTensor": torch.uint8, "BoolTensor": torch.bool,
}  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), TYPES.items())
def test_a_type_makes_tensors_of_its_dtype(name, dtype):
    kind = getattr(torch, name)
    made = kind([[1, 0], [0, 1]])
    assert made.dtype is dtype is kind.dtype
    assert made.tolist() == [[1, 0], [0, 1]]
    assert isinstance(made, kind)
    assert made.type() == f"torch.{name}"
    assert torch.ones(2).type(kind).dtype is torch.ones(2).type(f"torch.{name}").dtype is dtype


def test_sizes_lists_ranges_arrays_and_tensors_are_taken():
    assert torch.FloatTensor(2, 3).shape == torch.FloatTensor(torch.Size([2, 3])).shape == (2, 3)
    assert torch.FloatTensor().shape == (0,)
    assert torch.FloatTensor((2, 3)).tolist() == [2.0, 3.0]
    assert torch.FloatTensor(range(3)).tolist() == [0.0, 1.0, 2.0]
    assert torch.LongTensor([1.5, 2]).tolist() == [1, 2]
    assert torch.LongTensor(np.array([1.5, -1.5])).tolist() == [1, -1]
    assert torch.Tensor(np.int64(3)).shape == (3,)
    assert torch.Tensor([True, False]).dtype is torch.float32
    ones = torch.ones(2)
    assert torch.FloatTensor(ones).data_ptr() == ones.data_ptr()
    assert torch.Tensor(ones.long()).dtype is torch.int64


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: torch.FloatTensor(torch.ones(2).long()), TypeError, "expected a tensor of torch.float32"),
        (lambda: torch.Tensor(3.0), TypeError, r"new\(\): data must be a sequence \(got float\)"),
        (lambda: torch.Tensor({1: 2}), TypeError, r"data must be a sequence \(got dict\)"),
        (lambda: torch.Tensor("a"), TypeError, "invalid data type 'str'"),
        (lambda: torch.Tensor(2, -1), RuntimeError, "negative dimension -1"),
        (lambda: torch.ones(2).type("LongTensor"), ValueError, "invalid type: 'LongTensor'"),
        (lambda: torch.ones(2).type(int), ValueError, "invalid type: 'int'"),
        (lambda: torch.ones(2).type(3), TypeError, "dtype must be a type, str, or dtype object"),
        (lambda: torch.set_default_tensor_type("torch.LongTensor"), TypeError, "only floating-point types"),
        (lambda: torch.set_default_tensor_type(torch.float32), TypeError, "invalid type object"),
        (lambda: Variable([1]), TypeError, "Variable data has to be a tensor, but got list"),
    ],
)
def test_wrong_calls_say_what_pytorch_says(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_isinstance_looks_at_dtype_and_place():
    assert isinstance(torch.nn.Parameter(torch.ones(2)), torch.FloatTensor)
    assert not isinstance(torch.ones(2).long(), torch.FloatTensor)
    assert not isinstance(torch.ones(2), torch.cuda.FloatTensor)
    assert not isinstance(3.0, torch.FloatTensor)
    assert repr(torch.cuda.FloatTensor) == "<class 'torch.cuda.FloatTensor'>"


def test_the_default_type_sets_the_default_dtype():
    torch.set_default_tensor_type(torch.DoubleTensor)
    try:
        assert torch.ones(2).dtype is torch.Tensor([1]).dtype is torch.float64
    finally:
        torch.set_default_tensor_type("torch.FloatTensor")
    assert torch.ones(2).dtype is torch.float32


def test_a_type_names_the_device_that_new_tensors_land_on():
    with torch.device("interpreter"):
        assert torch.FloatTensor([1.0]).device == torch.ones(2, device="cpu").type(torch.LongTensor).device
        assert torch.FloatTensor([1.0]).device.type == "interpreter"


def test_new_keeps_dtype_and_device():
    whole = torch.ones(2).long()
    assert whole.new([1, 2]).dtype is torch.int64
    assert whole.new(2, 3).shape == (2, 3)
    assert whole.new(torch.Size([2])).shape == (2,)
    assert whole.new().shape == (0,)
    with pytest.raises(TypeError):
        whole.new(torch.ones(3))


def test_variable_is_a_tensor_without_history_on_the_same_memory():
    leaf = torch.ones(2, requires_grad=True)
    made = Variable(leaf * 2, requires_grad=True)
    assert made.is_leaf and made.requires_grad and type(made) is torch.Tensor
    assert Variable(leaf).data_ptr() == leaf.data_ptr()
    assert not Variable(leaf).requires_grad
    assert isinstance(leaf, Variable) and not isinstance(3, Variable)
    with pytest.raises(RuntimeError, match="floating point"):
        Variable(torch.ones(2).long(), requires_grad=True)
    with pytest.warns(UserWarning, match="volatile was removed"):
        Variable(leaf, volatile=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Variable(leaf, volatile=False)


def test_a_number_that_a_dtype_cannot_hold_is_refused_on_every_device():
    for device in ("cpu", "interpreter"):
        assert torch.full((2,), float("-inf"), dtype=torch.bool, device=device).tolist() == [True, True]
        assert torch.full((2,), -1, dtype=torch.uint8, device=device).tolist() == [255, 255]
        for number, dtype, name in ((float("inf"), torch.int64, "int64_t"), (300, torch.uint8, "uint8_t")):
            with pytest.raises(RuntimeError, match=f"value cannot be converted to type {name} without overflow"):
                torch.full((2,), number, dtype=dtype, device=device)
