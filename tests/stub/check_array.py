"""Device arrays: NumPy's words give NumPy's answers, over copies both ways."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from bridge import as_numpy, copy_on_host

from tritorch.runtime import dtypes
from tritorch.runtime.cuda import array as device
from tritorch.runtime.cuda import copies
from tritorch.runtime.device import Device


@pytest.fixture(autouse=True)
def copy_kernel(stub, monkeypatch):
    monkeypatch.setattr(copies, "_copy_kernel", copy_on_host)


def pair(shape=(3, 4, 5), dtype=np.float32):
    """The same numbers on the host and on the device."""
    host = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return host, device.from_host(host)


def same(array, host):
    """Check shape, dtype and elements, and strides where there is more than one element along a dimension."""
    assert (array.shape, array.dtype, array.ndim, array.size) == (host.shape, host.dtype, host.ndim, host.size)
    assert (array.itemsize, array.nbytes) == (host.itemsize, host.nbytes)
    np.testing.assert_array_equal(device.to_host(array), host)


@pytest.mark.parametrize("dtype", [each.numpy for each in dtypes.ALL], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 0, 2), (2, 3)])
def test_round_trip(shape, dtype):
    host, array = pair(shape, dtype)
    same(array, host)
    assert array.strides == host.strides or not host.size
    assert array.device is Device("cuda", 0)
    assert array.is_contiguous and array.flags.c_contiguous


def test_codes_tell_dtypes_apart():
    codes = {device.empty((1,), each.numpy).code for each in dtypes.ALL}
    assert len(codes) == len(dtypes.ALL)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[1],
        lambda x: x[..., -1],
        lambda x: x[::-1, None, 1:3, ::2],
        lambda x: x[1, 2, 3, ...],
        lambda x: x[2:1],
        lambda x: x.T,
        lambda x: x.transpose(2, 0, 1),
        lambda x: x.transpose((1, 2, 0))[::-2],
        lambda x: x.reshape(12, 5),
        lambda x: x.reshape((4, -1)),
        lambda x: x[:, 1].reshape(15),
        lambda x: x[::2].reshape(2, 20),
        lambda x: x[:, ::3, 4:0:-2],
    ],
)
def test_views(view):
    host, array = pair()
    seen, expected = view(array), view(host)
    same(seen, expected)
    assert seen.is_contiguous == expected.flags.c_contiguous
    shared = np.shares_memory(expected, host)
    assert (seen.block is array.block) == (shared or not expected.size)
    if shared:
        assert seen.strides == expected.strides or 1 in expected.shape or 0 in expected.shape
        assert seen.pointer - array.pointer == expected.ctypes.data - host.ctypes.data


def test_a_copy_of_a_view_is_contiguous_and_its_own():
    host, array = pair()
    copy = array.T.copy()
    assert copy.is_contiguous and copy.block is not array.block
    same(copy, host.T)
    same(array.copy(), host)
    assert device.ascontiguousarray(array) is array


def test_views_keep_memory_alive():
    host, array = pair()
    view, pointer = array[1:], array.pointer
    del array
    other = device.empty(host.shape, host.dtype)
    assert other.pointer != pointer
    same(view, host[1:])


def test_a_strided_slice_with_much_between_goes_through_the_copy_kernel(monkeypatch):
    host, array = pair((64, 64))
    copied = []
    monkeypatch.setattr(copies, "_copy_kernel", lambda *both: copied.append(copy_on_host(*both)))
    same(array[:, 3], host[:, 3])
    assert len(copied) == 1
    same(array.T, host.T)
    same(device.broadcast_to(array[:1], (5, 64, 64)), np.broadcast_to(host[:1], (5, 64, 64)))
    assert len(copied) == 1


def test_without_a_copy_kernel_a_cast_raises(monkeypatch):
    monkeypatch.setattr(copies, "_copy_kernel", None)
    with pytest.raises(RuntimeError, match="needs the copy kernel"):
        pair()[1].astype(np.float64)


@pytest.mark.parametrize(
    "view", [lambda x: x, lambda x: x.T, lambda x: x[::-2, 1:], lambda x: x[2:1], lambda x: x[1, 1]]
)
def test_mirror_keeps_the_layout(view):
    host = view(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    array = device.mirror(host)
    same(array, host)
    assert array.strides == host.strides
    wide = np.broadcast_to(host, (2, *host.shape))
    same(device.mirror(wide), wide)


def test_astype():
    host, array = pair()
    same(array.astype(np.int64), host.astype(np.int64))
    same(array.astype(ml_dtypes.bfloat16), host.astype(ml_dtypes.bfloat16))
    assert array.astype(np.float32, copy=False) is array
    assert array.astype(np.float32) is not array
    assert array.view(np.int32).dtype == np.int32
    with pytest.raises(RuntimeError, match="differ in size, 4 and 8"):
        array.view(np.float64)


@pytest.mark.parametrize("value", [0, 1, -3, True])
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.float16, ml_dtypes.bfloat16, np.float32, np.int64, np.float64])
@pytest.mark.parametrize("view", [lambda x: x, lambda x: x[0, 0], lambda x: x[1, :, ::2], lambda x: x[1, 1, 1, ...]])
def test_fill(value, dtype, view):
    host, array = pair(dtype=dtype)
    view(array).fill(value)
    expected = host.copy()
    view(expected)[...] = np.asarray(value).astype(dtype)
    same(array, expected)


def test_broadcast_and_as_strided():
    host, array = pair((3, 1))
    for broadcast in (device.broadcast_to, np.broadcast_to):
        same(broadcast(array, (2, 3, 4)), np.broadcast_to(host, (2, 3, 4)))
    same(device.as_strided(array, (2, 2), (4, 4)), np.array([[0, 1], [1, 2]], np.float32))
    same(device.as_strided(array, (3,), (-4,), 8), host[::-1, 0])
    with pytest.raises(RuntimeError, match="reaches bytes 0 to 4096 of memory that holds 512"):
        device.as_strided(array, (1024,), (4,))
    with pytest.raises(RuntimeError, match="cannot broadcast"):
        device.broadcast_to(array, (2, 4))


@pytest.mark.parametrize("to_view", [lambda x: x, lambda x: x.T, lambda x: x[:, ::-1]])
def test_copy_to(to_view):
    host, array = pair((4, 4))
    for source in (host * 2, (host * 3).T, host[0].astype(np.int32), np.float64(7)):
        device.copy_to(to_view(array), source)
        expected = np.empty_like(host)
        to_view(expected)[...] = source
        same(array, expected)
    device.copy_to(to_view(array), device.from_host(host)[1])
    to_view(expected)[...] = host[1]
    same(array, expected)


def test_copy_between_overlapping_views():
    host, array = pair((6,))
    device.copy_to(array[1:], array[:-1])
    host[1:] = host[:-1].copy()
    same(array, host)
    device.copy_to(array, array[::-1])
    same(array, host[::-1])


def test_writing_to_an_expanded_view_is_refused():
    wide = device.broadcast_to(pair((1,))[1], (4,))
    for write in (lambda: wide.fill(1), lambda: device.copy_to(wide, np.zeros(4, np.float32))):
        with pytest.raises(
            RuntimeError, match="more than one element of the written-to tensor refers to a single memory"
        ):
            write()


def test_to_host_into_an_array():
    host, array = pair()
    for out in (np.empty_like(host), np.empty((5, 4, 3), np.float32).T):
        assert device.to_host(array, out) is out
        np.testing.assert_array_equal(out, host)
    with pytest.raises(
        RuntimeError, match=r"to_host\(\): out is float32 of shape \[2\], the array is float32 of shape"
    ):
        device.to_host(array, np.empty(2, np.float32))


def test_numpy_never_takes_it_silently():
    array = pair()[1]
    for use in (np.asarray, np.add.reduce, lambda x: x + np.ones(5), lambda x: np.concatenate([x, x]), np.sin):
        with pytest.raises(TypeError):
            use(array)
    with pytest.raises(TypeError, match="can't convert cuda:0 device array to numpy"):
        np.array(array)


def test_dtypes_without_a_place_are_named():
    with pytest.raises(TypeError, match=r"can't convert np\.ndarray of type numpy\.complex64"):
        device.from_host(np.zeros(2, np.complex64))


def test_large_pageable_memory_is_copied_directly(monkeypatch):
    monkeypatch.setattr(copies, "STAGED", 16)
    monkeypatch.setattr(copies.pinned.pool, "acquire", None)  # a staged copy would call it
    host, array = pair()
    same(array, host)


def test_the_bridge_sees_device_memory():
    host, array = pair()
    np.testing.assert_array_equal(as_numpy(array[::-1, 1]), host[::-1, 1])
