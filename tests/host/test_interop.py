"""Tensors, NumPy and other libraries: arrays without copies, operators with NumPy's numbers, DLPack, Python's own."""

from __future__ import annotations

import copy
import gc
import math
import operator
import pickle

import numpy as np
import pytest

import tritorch as torch
from tritorch.runtime import dlpack as capsules
from tritorch.utils import dlpack

FLOATS = [1.0, 2.0, 3.0]


@pytest.fixture(autouse=True)
def on_the_cpu():
    with torch.device("cpu"):
        yield


@pytest.fixture
def x():
    return torch.tensor(FLOATS)


@pytest.fixture
def whole():
    return torch.tensor([1, 2, 3])


# ---------------------------------------------------------------- NumPy


def test_arrays_share_the_memory_of_tensors(x):
    for array in (np.asarray(x), x.numpy(), np.from_dlpack(x), np.array(x, copy=False)):
        array[0] += 1
    assert x.tolist() == [5.0, 2.0, 3.0]
    assert np.array(x).ctypes.data != x.data_ptr()
    assert np.asarray(x[::2]).tolist() == [5.0, 3.0]
    assert np.asarray(torch.ones(2, 3).t()).strides == (4, 12)


def test_arrays_of_another_dtype_are_copies(x):
    assert np.array(x, dtype=np.int32).tolist() == [1, 2, 3]
    assert x.__array__(np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="Unable to avoid copy"):
        x.__array__(np.float64, copy=False)
    with pytest.raises(RuntimeError, match="requires grad"):
        np.asarray(torch.ones(2, requires_grad=True))
    assert np.asarray(torch.ones(2).bfloat16()).astype(np.float32).tolist() == [1.0, 1.0]


def test_numpy_functions_give_tensors(x, whole):
    assert isinstance(np.exp(x), torch.Tensor) and np.exp(x).dtype is torch.float32
    assert np.square(whole).tolist() == [1, 4, 9] and np.maximum(x, 2).tolist() == [2.0, 2.0, 3.0]
    assert np.stack([x, x]).shape == (2, 3) and np.array([x, x]).dtype == np.float32
    assert np.allclose(x, FLOATS) and np.dot(np.array(FLOATS), x) == 14.0
    assert np.array([torch.tensor(2), torch.tensor(3)]).dtype == np.int64


@pytest.mark.parametrize("name", ["add", "sub", "mul", "floordiv", "mod", "pow", "eq", "lt", "ge"])
def test_operators_take_arrays_and_numbers_of_numpy_on_both_sides(x, whole, name):
    function, array = getattr(operator, name), np.array([2.0, 2.0, 4.0], np.float32)
    for pair in ((x, array), (array, x), (x, np.float32(2)), (np.float32(2), x), (np.int64(2), whole)):
        found = function(*pair)
        assert isinstance(found, torch.Tensor)
        assert found.tolist() == function(*map(np.asarray, pair)).tolist()
    assert (array / x).tolist() == (array / x.numpy()).tolist()


def test_numpys_numbers_count_as_pythons(x, whole):
    assert (x * np.float64(2)).dtype is (np.float64(2.5) + whole).dtype is torch.float32
    assert (whole * np.int32(2)).dtype is torch.int64
    assert (x == np.bool_(True)).tolist() == [True, False, False]
    assert (x @ np.ones(3)).item() == (np.ones((1, 3)) @ x).item() == 6.0
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for /: 'Tensor' and 'list'"):
        x / FLOATS
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for -: 'NoneType' and 'Tensor'"):
        None - x


def test_an_operand_of_another_class_is_asked(x):
    class Other:
        __array_ufunc__ = None

        def __rtruediv__(self, left):
            return "mine"

        __rmatmul__ = __rpow__ = __rtruediv__

    assert x / Other() == x @ Other() == x ** Other() == "mine"


# ---------------------------------------------------------------- data


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([np.float64(2)], torch.float64),
        ([np.int32(2), np.int32(3)], torch.int32),
        ([np.float32(2)], torch.float32),
        ([np.array([1.0, 2.0]), np.array([3, 4])], torch.float64),
        ([1, 2.0], torch.float32),
        ([True, 2], torch.int64),
        (np.float64(2), torch.float64),
    ],
)
def test_dtypes_of_data(data, dtype):
    assert torch.tensor(data).dtype is dtype


def test_tensors_in_data_are_numbers():
    assert torch.tensor([torch.tensor(1.0), torch.ones(1)]).tolist() == [1.0, 1.0]
    assert torch.tensor([[torch.tensor(2, dtype=torch.int32)]]).dtype is torch.int32
    with pytest.raises(ValueError, match="only one element tensors can be converted to Python scalars"):
        torch.tensor([torch.ones(2), torch.ones(2)])


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        ("a", {}, TypeError, "invalid data type 'str'"),
        (["a"], {}, ValueError, "too many dimensions 'str'"),
        (None, {}, RuntimeError, "Could not infer dtype of NoneType"),
        ([None], {}, RuntimeError, "Could not infer dtype of NoneType"),
        ({}, {}, RuntimeError, "Could not infer dtype of dict"),
        ([[1], [1, 2]], {}, ValueError, r"expected sequence of length 1 at dim 1 \(got 2\)"),
        ([[1, 2], 3], {}, TypeError, "not a sequence"),
        ([1, [2]], {}, TypeError, "'list' object cannot be interpreted as an integer"),
        ([1.5, [2]], {}, TypeError, "must be real number, not list"),
        (2**63, {}, ValueError, "Overflow when unpacking long long"),
        ([300], {"dtype": torch.uint8}, RuntimeError, "cannot be converted to type uint8 without overflow"),
        (70000, {"dtype": torch.int16}, RuntimeError, "cannot be converted to type int16 without overflow"),
        (float("nan"), {"dtype": torch.int64}, ValueError, "cannot convert float NaN to integer"),
        (np.array([1], ">f4"), {}, ValueError, "byte order different from the native byte order"),
    ],
)
def test_data_that_is_refused(data, options, error, words):
    with pytest.raises(error, match=words):
        torch.tensor(data, **options)


def test_data_at_the_edges():
    assert torch.tensor(1e50).item() == torch.tensor([1e50], dtype=torch.float16).item() == math.inf
    assert torch.tensor(-1, dtype=torch.uint8).item() == 255
    assert torch.tensor([1.5, -1.5], dtype=torch.int64).tolist() == [1, -1]
    assert torch.tensor([[]]).shape == (1, 0)


def test_asarray_copies_when_told(x):
    array = np.ones(2, np.float32)
    assert torch.asarray(array).data_ptr() == torch.asarray(array, copy=False).data_ptr() == array.ctypes.data
    assert torch.asarray(array, copy=True).data_ptr() != array.ctypes.data
    assert torch.asarray(x) is torch.as_tensor(x) is x
    assert torch.asarray(bytearray(b"ab"), dtype=torch.uint8).tolist() == [97, 98]
    leaf = torch.ones(1, requires_grad=True)
    assert torch.asarray(leaf) is leaf and not torch.asarray(leaf, requires_grad=False).requires_grad
    with pytest.raises(ValueError, match="can't alias arbitrary sequence"):
        torch.asarray([1], copy=False)
    with pytest.raises(ValueError, match="can't alias tensor with dtype 'Float' into dtype 'Double'"):
        torch.asarray(array, dtype=torch.float64, copy=False)


# ---------------------------------------------------------------- DLPack


def test_capsules_share_memory_both_ways(x):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    taken = torch.from_dlpack(array)
    assert taken.data_ptr() == array.ctypes.data and taken.stride() == (1, 3)
    taken[0, 0] = 9
    assert array[0, 0] == 9
    again = dlpack.from_dlpack(dlpack.to_dlpack(x))
    assert again.data_ptr() == x.data_ptr()
    assert np.from_dlpack(x[1:]).ctypes.data == x.data_ptr() + 4
    assert torch.from_dlpack(x, copy=True).data_ptr() != x.data_ptr()
    assert torch.from_dlpack(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("name", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
                                  "float64", "float8_e4m3fn", "float8_e5m2"])  # fmt: skip
def test_every_dtype_has_its_code(name):
    tensor = torch.ones(2, 3).to(getattr(torch, name))
    for version in (None, (1, 0)):
        again = torch.from_dlpack(tensor.__dlpack__(max_version=version))
        assert again.dtype is tensor.dtype and again.float().tolist() == [[1.0] * 3] * 2
        assert again.data_ptr() == tensor.data_ptr()


def test_memory_lives_as_long_as_somebody_uses_it():
    array = np.from_dlpack(torch.arange(1000))
    gc.collect()
    assert array[-1] == 999
    taken = torch.from_dlpack(np.arange(1000))
    gc.collect()
    assert taken[-1] == 999
    del array
    gc.collect()
    capsule = torch.ones(3).__dlpack__()
    assert len(capsules._exports) == 1
    del capsule  # never taken
    gc.collect()
    assert not capsules._exports and capsules._collect not in gc.callbacks


def test_what_cannot_be_handed_out(x):
    with pytest.raises(BufferError, match="Can't export tensors that require gradient"):
        x.requires_grad_().__dlpack__()
    x.requires_grad_(False)
    with pytest.raises(AssertionError, match="stream should be None on cpu"):
        x.__dlpack__(stream=1)
    with pytest.raises(RuntimeError, match="invalid capsule"):
        torch.from_dlpack([1])
    capsule = x.__dlpack__()
    torch.from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="consumed only once"):
        torch.from_dlpack(capsule)
    assert x.__dlpack_device__() == (dlpack.DLDeviceType.kDLCPU, 0)
    with pytest.raises(AttributeError, match=r"on non-CUDA tensor type: torch\.FloatTensor"):
        _ = x.__cuda_array_interface__


# ---------------------------------------------------------------- Python


def test_numbers_of_python():
    two, half = torch.tensor(2), torch.tensor(2.5)
    assert (int(two), float(two), complex(half), f"{half:.6f}") == (2, 2.0, 2.5 + 0j, "2.500000")
    assert math.floor(half) == 2 and math.ceil(half) == 3
    assert [10, 20, 30][two] == 30 and list(range(two)) == [0, 1] and "abc"[:two] == "ab"
    assert abs(-two).item() == 2 and hex(two) == "0x2"


def test_truth_length_and_membership(x):
    for tensor, words in ((x, "more than one value is ambiguous"), (torch.zeros(0), "no values is ambiguous")):
        with pytest.raises(RuntimeError, match=words):
            bool(tensor)
    with pytest.raises(ValueError, match="only one element tensors can be converted to Python scalars"):
        float(x)
    with pytest.raises(TypeError, match="len\\(\\) of a 0-d tensor"):
        len(x[0])
    assert len(x) == 3 and [each.item() for each in x] == FLOATS and 2 in x and 5.0 not in x
    assert (x == None) is False and x != "a" and {x: 1}[x] == 1  # noqa: E711
    with pytest.raises(RuntimeError, match="only supports Tensor or scalar, but you passed in a <class 'str'>"):
        assert "a" in x


def test_copies_and_pickles(x):
    leaf = torch.ones(2, 3, requires_grad=True)
    shallow, deep = copy.copy(leaf), copy.deepcopy(leaf)
    assert shallow.data_ptr() == leaf.data_ptr() != deep.data_ptr() and deep.requires_grad
    result = copy.copy(leaf * 2)
    assert result.requires_grad and result.grad_fn is None
    assert copy.deepcopy(leaf.detach().t()).stride() == (1, 3)
    twice = copy.deepcopy([x, x])
    assert twice[0] is twice[1]
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(leaf * 2)
    for tensor in (x, leaf, leaf * 2, torch.ones(2).bfloat16(), torch.nn.Parameter(x)):
        again = pickle.loads(pickle.dumps(tensor))
        assert type(again) is type(tensor) and again.requires_grad == tensor.requires_grad
        assert again.dtype is tensor.dtype and again.tolist() == tensor.tolist() and again.is_leaf
