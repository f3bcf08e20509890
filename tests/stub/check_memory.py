"""The allocator, streams, events, pinned memory, forks and lost contexts on the stub driver."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from tritorch.runtime.cuda import array as device
from tritorch.runtime.cuda import driver, memory, pinned
from tritorch.runtime.cuda import stream as streams
from tritorch.runtime.device import Device

MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def nothing_cached(stub):
    """Every test starts without cached memory, or garbage that holds some."""
    gc.collect()
    memory.empty_cache()
    pinned.pool.empty_cache()


def test_devices(stub):
    assert (driver.is_available(), driver.device_count(), driver.why_not()) == (True, 1, None)
    properties = driver.properties("cuda:0")
    assert (properties.name, properties.capability, properties.multi_processor_count) == ("Stub GPU 0", (9, 0), 132)
    assert properties.shared_memory_per_block_optin == properties.shared_memory == 232448
    assert (properties.sms, driver.driver_version()) == (132, "13.0")
    with pytest.raises(RuntimeError, match="invalid device ordinal 1: there are 1 GPUs"):
        device.empty((1,), np.float32, 1)
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        streams.synchronize("cpu")
    assert driver.index_of(Device("cuda", 0)) == driver.index_of("cuda") == driver.index_of(None) == 0


def test_memory_is_reused_and_counted(stub):
    before, driver_before = memory.memory_allocated(), stub.count("allocations")
    memory.reset_peak_memory_stats()
    first = device.empty((1000,), np.float32)
    pointer = first.pointer
    assert pointer % 512 == 0
    assert memory.memory_allocated() == before + 4096
    del first
    assert device.empty((1001,), np.float32).pointer == pointer
    assert memory.memory_allocated() == before
    assert memory.max_memory_allocated() == before + 4096
    assert stub.count("allocations") == driver_before + 1
    assert memory.memory_reserved() == memory.max_memory_reserved() == before + 4096
    memory.empty_cache()
    assert memory.memory_reserved() == before
    assert "allocated" in memory.memory_summary()
    assert memory.mem_get_info()[1] == driver.properties().total_memory


def test_out_of_memory(stub, monkeypatch):
    cached = device.empty((30 * MEBIBYTE,), np.uint8)
    del cached
    large = device.from_host(np.ones(8, np.uint8))
    trims = stub.count("trims")
    big = device.empty((40 * MEBIBYTE,), np.uint8)  # fits only after the cached block was given back
    assert stub.count("trims") == trims + 1
    with pytest.raises(
        memory.OutOfMemoryError, match=r"Tried to allocate 40.00 MiB. GPU 0 has a total capacity of 64.00"
    ):
        device.empty((40 * MEBIBYTE,), np.uint8)
    np.testing.assert_array_equal(device.to_host(large), np.ones(8, np.uint8))
    assert big.nbytes == 40 * MEBIBYTE
    assert memory.memory_stats()["num_ooms"] >= 1


def test_streams_and_events(stub):
    ours, other = streams.current_stream(), streams.Stream()
    assert ours is streams.default_stream() and ours.cuda_stream != other.cuda_stream
    assert int(ours.core.handle) == ours.cuda_stream
    with streams.stream(other):
        assert streams.current_stream() is other
        assert device.empty((1,), np.int8).block.stream is other
        with streams.stream(None):
            assert streams.current_stream() is other
    assert streams.current_stream() is ours
    start, end = streams.Event(enable_timing=True), streams.Event(enable_timing=True)
    assert start.query()
    start.record()
    stub.hold(ours)
    end.record(ours)
    assert not end.query() and not ours.query()
    with pytest.raises(ValueError, match="must be completed"):
        start.elapsed_time(end)
    other.wait_stream(ours)
    assert not other.query()
    end.synchronize()
    assert end.query() and start.elapsed_time(end) == 0.5
    other.synchronize()
    assert other.query()
    streams.synchronize()
    with pytest.raises(ValueError, match="enable_timing=True"):
        start.elapsed_time(streams.Event())


def test_memory_used_on_another_stream_waits_for_it(stub):
    other = streams.Stream()
    used = device.empty((100,), np.float32)
    used.record_stream(other)
    stub.hold(other)
    pointer = used.pointer
    del used
    assert device.empty((100,), np.float32).pointer != pointer
    stub.hold(other, False)
    both = [device.empty((100,), np.float32) for _ in range(2)]
    assert pointer in {each.pointer for each in both}


def test_pinned_memory(stub):
    host = pinned.pin_memory(np.arange(1000.0).reshape(10, 100))
    assert pinned.is_pinned(host) and pinned.is_pinned(host[3:, ::2]) and pinned.pin_memory(host) is host
    assert not pinned.is_pinned(np.arange(3))
    stub.hold(streams.current_stream())
    array = device.from_host(host, non_blocking=True)
    out = pinned.empty(host.shape, host.dtype)
    device.to_host(array, out, non_blocking=True)
    assert not streams.current_stream().query()  # nothing has waited
    address, reserved = out.ctypes.data, pinned.pool.reserved
    np.testing.assert_array_equal(out, host)
    del out
    assert pinned.empty((1000,), np.float64).ctypes.data != address  # its copy is not done
    streams.current_stream().synchronize()
    again = [pinned.empty((1000,), np.float64) for _ in range(2)]
    assert address in {each.ctypes.data for each in again}
    assert pinned.pool.reserved <= reserved + 8192
    stub.hold(streams.current_stream())
    reserved, array = pinned.pool.reserved, device.from_host(host)
    assert pinned.pool.reserved == reserved + 8192 and not streams.current_stream().query()
    expected, host[...] = host.copy(), 0  # what may be written to at once was copied to another pinned buffer
    np.testing.assert_array_equal(device.to_host(array), expected)


def test_staging_does_not_wait(stub):
    host = np.arange(100)
    stub.hold(streams.current_stream())
    array = device.from_host(host)
    assert not streams.current_stream().query()
    host[:] = 0
    np.testing.assert_array_equal(device.to_host(array), np.arange(100))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told(stub):
    array = device.from_host(np.arange(3))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        heard = []
        for use in (
            lambda: device.empty((1,), np.int8),
            lambda: device.to_host(array),
            lambda: streams.Event().record(),
        ):
            try:
                use()
            except RuntimeError as error:
                heard.append(str(error))
        del array  # gives its memory back to nobody, quietly
        os.write(writer, repr((heard, driver.in_bad_fork())).encode())
        os._exit(0)
    os.waitpid(child, 0)
    message = (
        "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' "
        "start method"
    )
    assert eval(os.read(reader, 4096)) == ([message] * 3, True)
    os.close(reader)
    os.close(writer)
    np.testing.assert_array_equal(device.to_host(array), np.arange(3))


def test_a_lost_context_is_named_ever_after(stub, monkeypatch):
    monkeypatch.setattr(driver, "_fatal", None)
    array = device.from_host(np.arange(3))
    stub.fail(700)
    try:
        with pytest.raises(driver.CudaError, match=r"an illegal memory access was encountered(.|\n)*context is lost"):
            device.to_host(array)
        with pytest.raises(
            RuntimeError, match="context of this process was lost earlier: CUDA error: an illegal memory"
        ):
            streams.synchronize()
    finally:
        stub.fail(0)


def test_errors_of_cuda_core_are_ours(stub):
    with (
        pytest.raises(RuntimeError, match=r"CUDA error: .*CUDA_ERROR_INVALID_HANDLE in testing"),
        driver.core_errors("testing"),
    ):
        raise OSError("CUDA_ERROR_INVALID_HANDLE: a resource handle is invalid")
    with pytest.raises(KeyError), driver.core_errors("testing"):
        raise KeyError("other")
