"""The DataLoader where the default device is a GPU: where batches land, and how workers start beside a CUDA context."""

from __future__ import annotations

import subprocess
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
    torch.zeros(1)  # CUDA is in use before any loader is made: its workers are spawned
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
@pytest.mark.parametrize("method", [None, "forkserver"])
def test_tensors_on_the_gpu_are_read_by_workers_as_host_copies(method):
    data = TensorDataset(torch.arange(10), torch.arange(10.0))
    assert data.tensors[0].is_cuda
    loader = DataLoader(data, batch_size=5, num_workers=2, multiprocessing_context=method)
    batches = [numbers.tolist() for numbers, _ in loader]
    assert batches == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]] and data.tensors[0].is_cuda


@forks
def test_fork_is_refused_with_the_remedy():
    loader = DataLoader(Images(), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match=r"cannot start workers, since CUDA is in use.*the 'spawn' start method"):
        iter(loader)


PROGRAM = """
import os
forks = []
os.register_at_fork(before=lambda: forks.append(cuda_in_use()))
import numpy as np
import tritorch as torch
from tritorch.utils.data import DataLoader, Dataset
from tritorch.utils.data.placement import cuda_in_use

class Images(Dataset):
    def __len__(self):
        return 12
    def __getitem__(self, index):
        return torch.from_numpy(np.full((64, 64), index, np.float32)), index
"""
LOADER = """
loader = DataLoader(Images(), batch_size=4, num_workers=2, pin_memory=True)
"""
USE = """
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
weight = torch.zeros(3, device=device)
"""
LOOP = """
for epoch in range(2):
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        assert images.is_cuda
        print(*labels.tolist(), end=" ")
print(device.type, forks)
"""
GUARD = """
if __name__ == "__main__":
"""
SERIES = " ".join(map(str, range(12)))


def run_script(folder, text):
    script = folder / "train.py"
    script.write_text(PROGRAM + text)
    return subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)


@forks
@pytest.mark.parametrize("asked", ["", "torch.cuda.is_available()\n"])
def test_a_script_without_main_guard_that_makes_the_loader_first_forks_once_before_cuda(tmp_path, asked):
    done = run_script(tmp_path, asked + LOADER + USE + LOOP)
    assert done.returncode == 0 and done.stdout == f"{SERIES} {SERIES} cuda [False]\n", done.stderr


@forks
def test_a_loader_made_after_cuda_was_used_spawns_its_workers(tmp_path):
    work = (USE + LOADER + LOOP).replace("\n", "\n    ")
    done = run_script(tmp_path, GUARD + work)
    assert done.returncode == 0 and done.stdout == f"{SERIES} {SERIES} cuda []\n", done.stderr


@forks
def test_a_loader_made_after_cuda_without_a_main_guard_names_the_remedies(tmp_path):
    done = run_script(tmp_path, USE + LOADER + LOOP)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and 'under `if __name__ == "__main__":`' in last
    assert "construct the loader before it uses CUDA, or use num_workers=0" in last
