"""The DataLoader where the default device is a GPU: where batches land, and forked workers beside a CUDA context."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tritorch as torch
from tritorch.utils.data import DataLoader, Dataset, TensorDataset

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
forks = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


class Images(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.from_numpy(np.full((64, 64), index, np.float32)), index


@pytest.fixture(autouse=True)
def cuda_by_default():
    before = torch.get_default_device()
    torch.set_default_device("cuda")
    torch.zeros(1)  # CUDA is initialised before any worker is forked
    yield
    torch.set_default_device(before)


@pytest.mark.parametrize("pin_memory", [False, True])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=forks)])
def test_batches_land_on_the_gpu(workers, pin_memory):
    for _ in range(2):
        batches = list(DataLoader(Images(), batch_size=4, num_workers=workers, pin_memory=pin_memory))
        assert all(images.is_cuda and labels.is_cuda for images, labels in batches)
        assert [labels.tolist() for _, labels in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        assert all((images[:, 5, 7].cpu() == labels.cpu()).all() for images, labels in batches)


@forks
@pytest.mark.parametrize("method", [None, "spawn"])
def test_tensors_on_the_gpu_are_read_by_workers_as_host_copies(method):
    data = TensorDataset(torch.arange(10), torch.arange(10.0))
    assert data.tensors[0].is_cuda
    loader = DataLoader(data, batch_size=5, num_workers=2, multiprocessing_context=method)
    batches = [numbers.tolist() for numbers, _ in loader]
    assert batches == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]] and data.tensors[0].is_cuda


@forks
def test_cuda_in_a_forked_worker_is_refused_with_the_reason():
    elsewhere = torch.ones(2)

    def collate(batch):
        return torch.zeros(3, device="cuda")

    with pytest.raises(RuntimeError, match="Cannot re-initialize CUDA in forked subprocess"):
        list(DataLoader(Images(), num_workers=1, collate_fn=collate))
    assert elsewhere.tolist() == [1, 1]  # and the main process is none the worse
