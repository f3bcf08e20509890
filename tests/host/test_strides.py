"""Stride arithmetic against NumPy's own views."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from tritorch.runtime import strides

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def arrays(draw):
    """A numbered array, seen through random slices, axis swaps and repeated dimensions."""
    shape = draw(SHAPES)
    array = np.arange(math.prod(shape), dtype=draw(st.sampled_from([np.int16, np.int64]))).reshape(shape)
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    array = array[draw(keys(array.shape))]
    if draw(st.booleans()):
        array = np.broadcast_to(array, (draw(st.integers(1, 3)), *array.shape))
    return array


@st.composite
def keys(draw, shape):
    """A basic index: integers, slices, None, and one Ellipsis, with which NumPy gives views and never scalars."""
    front = draw(st.integers(0, len(shape)))
    back = draw(st.integers(front, len(shape)))
    before, after = ([draw(item(length)) for length in part] for part in (shape[:front], shape[back:]))
    for items in (before, after):
        for _ in range(draw(st.integers(0, 1))):
            items.insert(draw(st.integers(0, len(items))), None)
    return (*before, Ellipsis, *after)


def item(length):
    return st.one_of(st.slices(length), st.integers(-length, length - 1)) if length else st.slices(length)


def divisions(size):
    """All shapes of up to three dimensions that hold `size` elements, with ones among them."""
    factors = [n for n in range(1, size + 1) if size % n == 0] if size else [0, 1, 2]
    return st.lists(st.sampled_from(factors), max_size=4).map(tuple).filter(lambda shape: math.prod(shape) == size)


def offset_of(view, base):
    return view.__array_interface__["data"][0] - base.__array_interface__["data"][0]


@given(SHAPES)
def test_contiguous_strides(shape):
    found = strides.contiguous_strides(shape, 8)
    assert strides.is_contiguous(shape, found, 8)
    if 0 not in shape:
        assert found == np.empty(shape, np.int64).strides


@given(arrays())
def test_is_contiguous(array):
    assert strides.is_contiguous(array.shape, array.strides, array.itemsize) == array.flags.c_contiguous


@given(arrays(), st.data())
def test_reshape(array, data):
    shape = data.draw(divisions(array.size))
    found = strides.reshape_strides(array.shape, array.strides, shape, array.itemsize)
    shared = np.shares_memory(array.reshape(shape), array)
    if array.size:
        assert (found is not None) == shared
    if found is not None:
        np.testing.assert_array_equal(as_strided(array, shape, found), array.reshape(shape))


@given(arrays(), st.data())
def test_index_view(array, data):
    key = data.draw(keys(array.shape))
    offset, shape, found = strides.index_view(array.shape, array.strides, key)
    expected = array[key]
    assert shape == expected.shape
    if expected.size:
        assert offset == offset_of(expected, array)
        np.testing.assert_array_equal(as_strided(expected, shape, found), expected)


@given(arrays(), st.lists(st.integers(0, 3), max_size=2).map(tuple))
def test_broadcast(array, lead):
    shape = lead + tuple(3 if length == 1 else length for length in array.shape)
    found = strides.broadcast_strides(array.shape, array.strides, shape)
    np.testing.assert_array_equal(as_strided(array, shape, found), np.broadcast_to(array, shape))


@given(arrays())
def test_extent_and_overlap(array):
    starts = [sum(i * s for i, s in zip(at, array.strides, strict=True)) for at in np.ndindex(array.shape)]
    touched = [start + byte for start in starts for byte in range(array.itemsize)]
    low, high = strides.extent(array.shape, array.strides, array.itemsize)
    assert (low, high) == ((min(touched), max(touched) + 1) if touched else (0, 0))
    # Slices, swaps and repeats are all told exactly; only hand-made strides are reported when in doubt.
    overlaps = len(set(touched)) != len(touched)
    assert strides.may_overlap_itself(array.shape, array.strides, array.itemsize) == overlaps


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-12, 12)), max_size=3))
def test_overlap_is_never_missed(dimensions):
    shape, steps = tuple(n for n, _ in dimensions), tuple(s for _, s in dimensions)
    touched = [sum(i * s for i, s in zip(at, steps, strict=True)) + b for at in np.ndindex(shape) for b in range(2)]
    if len(set(touched)) != len(touched):
        assert strides.may_overlap_itself(shape, steps, 2)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [((2, -1), 6, (2, 3)), ((-1,), 0, (0,)), ((), 1, ()), ((0, 3), 0, (0, 3)), ((1, -1, 1), 5, (1, 5, 1))],
)
def test_resolve_shape(shape, size, expected):
    assert strides.resolve_shape(shape, size) == expected


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((2, -1), 7, r"shape '\[2, -1\]' is invalid for input of size 7"),
        ((4,), 6, r"shape '\[4\]' is invalid for input of size 6"),
        ((-1, -1), 6, "only one dimension can be inferred"),
        ((-2, 3), 6, "invalid shape dimension -2"),
        ((0, -1), 0, "cannot reshape tensor of 0 elements into shape"),
        ((-1, 0), 6, "is invalid for input of size 6"),
    ],
)
def test_resolve_shape_refuses(shape, size, message):
    with pytest.raises(RuntimeError, match=message):
        strides.resolve_shape(shape, size)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ((0, 0, 0, None), IndexError, "too many indices for tensor of dimension 2"),
        (2, IndexError, "index 2 is out of bounds for dimension 0 with size 2"),
        ((0, -4), IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
        ((0, 0, 0), IndexError, "too many indices for tensor of dimension 2"),
        ((..., ...), IndexError, "single ellipsis"),
        (True, TypeError, "got bool"),
        ([0, 1], TypeError, "got list"),
    ],
)
def test_index_view_refuses(key, error, message):
    with pytest.raises(error, match=message):
        strides.index_view((2, 3), (24, 8), key)


def test_a_short_key_takes_the_rest_whole():
    assert strides.index_view((2, 3), (24, 8), 1) == (24, (3,), (8,))
    assert strides.index_view((2, 3), (24, 8), ()) == (0, (2, 3), (24, 8))


def test_axes():
    assert strides.resolve_axes((), 3) == strides.resolve_axes((None,), 3) == (2, 1, 0)
    assert strides.resolve_axes(((0, -1, 1),), 3) == strides.resolve_axes((0, 2, 1), 3) == (0, 2, 1)
    with pytest.raises(RuntimeError, match="not a permutation of 2 dimensions"):
        strides.resolve_axes((0, 0), 2)


def test_broadcast_refuses():
    with pytest.raises(RuntimeError, match=r"cannot broadcast shape \[2\] to shape \[3\]"):
        strides.broadcast_strides((2,), (4,), (3,))
