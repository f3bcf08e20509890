"""GPU tensors handed to other libraries and back, by the two interfaces, without a copy."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch


@pytest.fixture(autouse=True)
def on_the_stub(stub):
    with torch.device("cuda"):
        yield


def test_the_cuda_array_interface_describes_the_memory():
    tensor = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).t()
    described = tensor.__cuda_array_interface__
    assert described["data"] == (tensor.data_ptr(), False) and described["shape"] == (3, 2)
    assert described["typestr"] == "<f4" and described["strides"] == (4, 12) and described["version"] == 2
    assert tensor.contiguous().__cuda_array_interface__["strides"] is None
    with pytest.raises(RuntimeError, match="that requires grad"):
        _ = tensor.requires_grad_().__cuda_array_interface__


def test_an_object_with_the_interface_becomes_a_tensor_on_its_memory():
    tensor = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).t()

    class Theirs:
        __cuda_array_interface__ = tensor.__cuda_array_interface__

    for made in (torch.as_tensor(Theirs()), torch.asarray(Theirs(), copy=False)):
        assert made.data_ptr() == tensor.data_ptr() and made.stride() == (1, 3) and made.is_cuda
        assert made.tolist() == tensor.tolist()


def test_capsules_go_there_and_back():
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        tensor = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype).t()
        made = torch.from_dlpack(tensor)
        assert made.data_ptr() == tensor.data_ptr() and made.dtype is dtype and made.device == tensor.device
        assert made.stride() == (1, 3) and made.tolist() == tensor.tolist()
    assert tuple(tensor.__dlpack_device__()) == (2, 0)
    with pytest.raises(BufferError, match="stream 0 is ambiguous"):
        tensor.__dlpack__(stream=0)


def test_numpy_gets_a_copy_on_the_host():
    tensor = torch.tensor([1.0, 2.0])
    array = np.from_dlpack(tensor, device="cpu") if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else tensor.numpy()
    assert array.tolist() == np.asarray(tensor).tolist() == [1.0, 2.0]


def test_storages_show_the_block():
    tensor = torch.tensor([1.0, 2.0, 3.0])
    assert tensor[1:].untyped_storage().data_ptr() == tensor.data_ptr() and tensor[1:].storage_offset() == 1
    assert tensor[1:].storage().cpu().tolist()[:3] == [1.0, 2.0, 3.0] and tensor.is_shared()
