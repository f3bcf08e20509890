"""Storages, shared memory, and what tensors are asked about where they lie."""

from __future__ import annotations

import os

import numpy as np
import pytest

import tritorch as torch
from tritorch.storage import FloatStorage, TypedStorage, UntypedStorage


@pytest.fixture(autouse=True)
def on_the_cpu():
    with torch.device("cpu"):
        yield


def test_views_have_the_storage_of_what_they_view():
    whole = torch.arange(6.0)
    for view in (whole[2:], whole[2:].detach(), whole.view(2, 3).t()[1:], whole.expand(3, 6), whole[::2][1:]):
        assert view.untyped_storage().data_ptr() == whole.data_ptr()
        assert view.storage().tolist() == whole.tolist()
        assert view.data_ptr() == whole.data_ptr() + 4 * view.storage_offset()
    assert whole[2:].detach().storage_offset() == 2
    assert whole.clone().untyped_storage().data_ptr() != whole.data_ptr()


def test_memory_in_another_order_is_one_row_all_the_same():
    tall = torch.from_numpy(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    assert tall.storage().tolist() == [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    assert tall.untyped_storage().nbytes() == 48


def test_storages_are_rows_of_numbers():
    made = FloatStorage([1, 2])
    assert isinstance(made, TypedStorage) and made.dtype is torch.float32
    assert (made.size(), len(made), made.nbytes(), made.element_size()) == (2, 2, 8, 4)
    assert made[1] == 2.0 and list(made) == [1.0, 2.0]
    made[0] = 5
    assert made.tolist() == [5.0, 2.0]
    assert made.untyped().tolist() == list(np.array([5, 2], np.float32).tobytes())
    assert repr(made) == " 5.0\n 2.0\n[torch.storage.TypedStorage(dtype=torch.float32, device=cpu) of size 2]"
    assert repr(UntypedStorage(1).fill_(7)) == " 7\n[torch.storage.UntypedStorage(device=cpu) of size 1]"
    assert made.clone().data_ptr() != made.data_ptr() == made.cpu().data_ptr()
    assert torch.is_storage(made) and not torch.is_storage(torch.ones(2))
    assert torch.ones(2).storage_type() is FloatStorage


def test_writing_a_storage_writes_the_tensor():
    whole = torch.zeros(3)
    whole.storage()[1] = 4
    assert whole.tolist() == [0.0, 4.0, 0.0]


def test_forked_processes_share_what_was_moved_to_shared_memory():
    shared, own = torch.tensor([1.0, 2.0, 3.0]).share_memory_(), torch.zeros(3)
    assert shared.is_shared() and shared[1:].is_shared() and shared.untyped_storage().is_shared()
    assert not own.is_shared()
    child = os.fork()
    if not child:
        shared += 1
        own += 1
        os._exit(0)
    os.waitpid(child, 0)
    assert shared.tolist() == [2.0, 3.0, 4.0] and own.tolist() == [0.0, 0.0, 0.0]


def test_what_a_tensor_is_not():
    tensor = torch.ones(2, 3)
    for name in ("is_sparse", "is_sparse_csr", "is_quantized", "is_meta", "is_nested", "is_mkldnn", "is_xpu", "is_mps"):
        assert getattr(tensor, name) is False
    for name in ("is_conj", "is_neg", "is_inference", "is_distributed"):
        assert getattr(tensor, name)() is getattr(torch, name)(tensor) is False
    assert tensor.layout is torch.strided
    assert tensor.t().dim_order() == (1, 0)
    assert tensor.const_data_ptr() == tensor.data_ptr()
    assert tensor.real is tensor
    with pytest.raises(RuntimeError, match="imag is not implemented for tensors with non-complex dtypes"):
        _ = tensor.imag
    with pytest.raises(NotImplementedError, match="only for tensors on a GPU"):
        tensor.record_stream(None)


def test_python_functions_are_called_for_each_element():
    base = torch.arange(4.0).view(2, 2)
    assert base.clone().apply_(lambda x: x * 10).tolist() == [[0.0, 10.0], [20.0, 30.0]]
    assert base.clone().map_(torch.ones(2), lambda x, y: x + y).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert base.clone().map2_(base, base, lambda x, y, z: x + y * z).tolist() == [[0.0, 2.0], [6.0, 12.0]]
    with pytest.raises(RuntimeError, match=r"Can't call apply_\(\) on Variable that requires grad"):
        torch.ones(2, requires_grad=True).apply_(abs)


def test_the_old_resize_keeps_the_number_of_elements():
    with pytest.warns(UserWarning, match="non-inplace resize is deprecated"):
        assert torch.arange(6).resize(2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.warns(UserWarning, match="resize_as"), pytest.raises(RuntimeError, match="requested resize to 2x2"):
        torch.arange(6).resize_as(torch.ones(2, 2))
