"""Workers forked from a template, as after CUDA was used: as capable as forked ones, and nothing is left behind."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys

import pytest

from host.test_data_workers import LARGE, Rows, die, fail, gone, pids, wait_until
from tritorch.utils.data import DataLoader, Subset, get_worker_info, placement
from tritorch.utils.data.placement import cuda_in_use, cuda_may_start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@pytest.fixture(autouse=True)
def as_after_cuda(monkeypatch):
    """Loaders are made while CUDA may start, and iterated when it is in use; this process itself then never forks."""
    monkeypatch.setattr(placement, "cuda_may_start", lambda: True)
    monkeypatch.setattr(placement, "cuda_in_use", lambda: False)


def begin(loader, monkeypatch):
    monkeypatch.setattr(placement, "cuda_in_use", lambda: True)
    return iter(loader)


def parent(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def test_without_a_gpu_there_is_no_template(monkeypatch):
    if cuda_may_start():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(placement, "cuda_may_start", cuda_may_start)
    assert DataLoader(Rows(), num_workers=1).template is None and not cuda_in_use()


def test_a_template_is_made_for_workers_of_the_default_start_method_only():
    assert DataLoader(Rows()).template is None
    assert DataLoader(Rows(), num_workers=1, multiprocessing_context="spawn").template is None
    loader = DataLoader(Rows(), num_workers=1)
    assert loader.template is not None and copy.deepcopy(loader).template is None


def test_before_cuda_workers_are_forked_from_here():
    iterator = iter(DataLoader(Rows(), num_workers=1))
    assert [parent(pid) for pid in pids(iterator)] == [os.getpid()]


def test_workers_come_from_the_template(monkeypatch):
    loader = DataLoader(Rows(6, LARGE), batch_size=2, num_workers=2, collate_fn=lambda batch: batch)
    for _ in range(2):
        iterator = begin(loader, monkeypatch)
        assert {parent(pid) for pid in pids(iterator)} == {loader.template.pid}
        assert [[index for _, index in batch] for batch in iterator] == [[0, 1], [2, 3], [4, 5]]


def test_attributes_set_since_the_loader_was_made_are_seen(monkeypatch):
    rows = Rows(4, 1)
    rows.gone = 1
    loader = DataLoader(Subset(rows, range(4)), batch_size=4, num_workers=1)
    rows.width = 2
    del rows.gone
    loader.collate_fn = read_width
    assert list(begin(loader, monkeypatch)) == [[(2,), "width"]]
    rows.action = lambda: None
    with pytest.raises(pickle.PicklingError, match="'action' of Rows was set after the loader was constructed"):
        iter(loader)


def read_width(batch):
    held = vars(get_worker_info().dataset.dataset)
    return [batch[0][0].shape, *(name for name in ("width", "gone") if name in held)]


def test_nothing_is_left_when_the_loader_is_dropped(monkeypatch):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        monkeypatch.setattr(placement, "cuda_in_use", lambda: False)
        iterator = begin(DataLoader(Rows(40, LARGE), num_workers=2), monkeypatch)  # outlives its loader
        workers, template = pids(iterator), parent(pids(iterator)[0])
        assert next(iterator)[1].item() == 0 and next(iterator)[1].item() == 1
        del iterator
        assert gone(template) and all(gone(pid) for pid in workers)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (die, "killed by signal: Killed"),
        (lambda: sys.exit(3), "with exit code 3"),
        (lambda: fail(OSError(5)), "OSError"),
    ],
)
def test_a_failing_worker_is_reported(action, message, monkeypatch):
    iterator = begin(DataLoader(Rows(9, at=4, action=action), num_workers=2), monkeypatch)
    with pytest.raises((RuntimeError, OSError), match=message):
        list(iterator)


def test_a_stopped_worker_is_killed_at_the_timeout(monkeypatch):
    loader = DataLoader(Rows(at=0, action=lambda: os.kill(os.getpid(), signal.SIGSTOP)), num_workers=1, timeout=0.3)
    iterator = begin(loader, monkeypatch)
    workers = pids(iterator)
    with pytest.raises(RuntimeError, match="timed out"):
        next(iterator)
    assert wait_until(lambda: gone(workers[0]))


def test_a_dead_template_is_reported_with_the_remedy(monkeypatch):
    loader = DataLoader(Rows(), num_workers=1)
    os.kill(loader.template.pid, signal.SIGKILL)
    assert wait_until(lambda: gone(loader.template.pid))
    with pytest.raises(RuntimeError, match=r"process that workers are forked from \(pid \d+\) has died"):
        begin(loader, monkeypatch)


def test_fork_is_refused_after_cuda(monkeypatch):
    loader = DataLoader(Rows(), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match="multiprocessing_context='fork' cannot start workers, since CUDA is in use"):
        begin(loader, monkeypatch)


SCRIPT = """
import os, sys, time
import numpy as np
from tritorch.utils.data import DataLoader, placement
placement.cuda_may_start = lambda: True
loader = DataLoader([np.zeros(50000)] * 100, num_workers=2)
placement.cuda_in_use = lambda: True
iterator = iter(loader)
print(loader.template.pid, *(process.pid for process, _ in iterator.pool.workers), flush=True)
next(iterator)
{body}
"""


@pytest.mark.parametrize(("body", "code"), [("time.sleep(60)", -signal.SIGKILL), ("sys.exit(5)", 5)])
def test_template_and_workers_end_with_the_main_process(tmp_path, body, code):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(body=body))
    program = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    processes = [int(pid) for pid in program.stdout.readline().split()]
    if code < 0:
        program.kill()
    _, errors = program.communicate(timeout=20)
    assert program.returncode == code and not errors and len(processes) == 3
    assert wait_until(lambda: all(gone(pid) for pid in processes))
