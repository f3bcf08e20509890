"""The DataLoader's worker processes: what they deliver, and what happens when they fail, hang or die."""

from __future__ import annotations

import os
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import time
from itertools import chain

import numpy as np
import pytest

import tritorch as torch
from tritorch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info, transport

LARGE = transport.INLINE  # elements: of any dtype, more bytes than what goes over the pipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and reads /proc")


class Rows(Dataset):
    """Sample i is (an array of `width` times i, i); subclasses and tests say what goes wrong at sample `at`."""

    def __init__(self, count=8, width=3, at=None, action=None):
        self.count, self.width, self.at, self.action = count, width, at, action

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.at:
            self.action()
        return np.full(self.width, index, np.float32), index


class Shard(IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        info = get_worker_info()
        return iter(range(info.id, self.count, info.num_workers))


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fail(error):
    raise error


def pids(loader_iterator):
    return [process.pid for process, _ in loader_iterator.pool.workers]


def gone(pid):
    """Whether a process has ended, whoever is to collect it."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def wait_until(condition, seconds=8.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


# --------------------------------------------------------------------------------------------- what arrives


@pytest.mark.parametrize("width", [3, LARGE])
def test_batches_arrive_in_order_and_equal_those_of_this_process(width):
    here = list(DataLoader(Rows(7, width), batch_size=2))
    there = list(DataLoader(Rows(7, width), batch_size=2, num_workers=3))
    assert [index.tolist() for _, index in there] == [[0, 1], [2, 3], [4, 5], [6]]
    for (x, _), (y, _) in zip(here, there, strict=True):
        assert x.dtype is y.dtype and np.array_equal(x.numpy(), y.numpy()) and type(y) is torch.Tensor
        y.add_(1)  # memory that can be written
    assert there[0][0].device == torch.get_default_device()


@pytest.mark.parametrize("count", [1, LARGE])
def test_any_structure_and_dtype_arrives(count):
    def collate(batch):
        floats = torch.ones(count, dtype=torch.bfloat16)
        return {"bf16": floats, "scalar": torch.tensor(3), "names": ["a", b"b"], "array": np.arange(count), "n": None,
                "f8": torch.zeros(count, 2, dtype=torch.float8_e5m2), "strided": np.arange(2 * count)[::-2],
                "leaf": torch.ones(count, requires_grad=True), "empty": torch.zeros(0, 4)}  # fmt: skip

    (batch,) = DataLoader(Rows(2), batch_size=2, num_workers=1, collate_fn=collate)
    assert batch["bf16"].dtype is torch.bfloat16 and batch["bf16"].tolist() == [1.0] * count
    assert batch["f8"].dtype is torch.float8_e5m2 and tuple(batch["f8"].shape) == (count, 2)
    assert batch["scalar"].item() == 3 and batch["names"] == ["a", b"b"] and batch["n"] is None
    assert np.array_equal(batch["array"], np.arange(count)) and batch["strided"][0] == 2 * count - 1
    assert batch["leaf"].requires_grad and tuple(batch["empty"].shape) == (0, 4)


def test_iterable_dataset_ends_with_its_last_worker():
    batches = [batch.tolist() for batch in DataLoader(Shard(11), batch_size=2, num_workers=3)]
    assert sorted(chain.from_iterable(batches)) == list(range(11)) and batches[:3] == [[0, 3], [1, 4], [2, 5]]
    dropped = [batch.tolist() for batch in DataLoader(Shard(11), batch_size=2, num_workers=3, drop_last=True)]
    assert all(len(batch) == 2 for batch in dropped) and len(dropped) == 5
    assert sorted(DataLoader(Shard(5), batch_size=None, num_workers=2)) == list(range(5))


def test_shuffling_is_the_same_with_and_without_workers():
    def order(workers):
        torch.manual_seed(4)
        return [index.tolist() for _, index in DataLoader(Rows(20), batch_size=5, shuffle=True, num_workers=workers)]

    assert order(0) == order(2)


def describe(_):
    info = get_worker_info()
    drawn = random.random(), float(np.random.random()), torch.rand(1).item()
    return info.id, info.num_workers, info.seed, drawn, str(torch.get_default_device()), type(info.dataset).__name__


def test_workers_know_themselves_and_are_seeded():
    def run():
        torch.manual_seed(9)
        return list(DataLoader(Rows(4), num_workers=2, collate_fn=describe))

    first, second = run(), run()
    assert first == second
    ids, counts, seeds, draws, devices, datasets = zip(*first, strict=True)
    assert ids == (0, 1, 0, 1) and set(counts) == {2} and set(devices) == {"cpu"} and set(datasets) == {"Rows"}
    assert seeds[1] == seeds[0] + 1 and len({number for draw in draws for number in draw}) == 12


def test_in_order_false_gives_what_is_ready():
    slow = Rows(4, at=0, action=lambda: time.sleep(0.5))
    order = [index.item() for _, index in DataLoader(slow, num_workers=2, in_order=False)]
    assert sorted(order) == [0, 1, 2, 3] and order[0] == 1


def test_persistent_workers_serve_every_pass_even_after_one_left_early():
    loader = DataLoader(Rows(12, LARGE), batch_size=2, num_workers=2, persistent_workers=True)
    first = iter(loader)
    workers = pids(first)
    next(first)
    for _ in range(2):
        assert [index.tolist()[0] for _, index in loader] == [0, 2, 4, 6, 8, 10]
    assert pids(iter(loader)) == workers
    shards = DataLoader(Shard(4), num_workers=2, persistent_workers=True)
    assert [sorted(chain.from_iterable(batch.tolist() for batch in shards)) for _ in range(2)] == [[0, 1, 2, 3]] * 2


def test_leaving_a_pass_ends_its_workers_and_leaks_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        iterator = iter(DataLoader(Rows(40, LARGE), batch_size=2, num_workers=2))
        workers = pids(iterator)
        next(iterator)
        del iterator
        assert all(gone(pid) for pid in workers)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_many_batches_alive_do_not_use_up_the_descriptors(monkeypatch):
    monkeypatch.setattr(transport, "MAPPINGS", 2)
    before = len(os.listdir("/proc/self/fd"))
    batches = list(DataLoader(Rows(12, LARGE), num_workers=1))
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert [batch[0].numpy().max() for batch in batches] == list(range(12))


def test_tensor_dataset_and_user_made_start_methods():
    data = TensorDataset(torch.arange(4), torch.arange(4.0))
    for method in ("fork", "forkserver", "spawn"):
        loader = DataLoader(data, batch_size=4, num_workers=1, multiprocessing_context=method)
        ((one, two),) = loader
        assert one.tolist() == [0, 1, 2, 3] and two.dtype is torch.float32


# ---------------------------------------------------------------------------------------------- what fails


@pytest.mark.parametrize(
    "error", [ValueError("bad sample"), KeyError("bad sample"), ConnectionResetError("bad sample")]
)
def test_an_error_in_a_worker_is_raised_here_with_its_traceback(error):
    with pytest.raises(type(error)) as caught:
        list(DataLoader(Rows(8, at=5, action=lambda: fail(error)), num_workers=2))
    text = str(caught.value)
    assert text.startswith(f"Caught {type(error).__name__} in DataLoader worker process 1.\nOriginal Traceback (most")
    assert "bad sample" in text and "in __getitem__" in text and "\\n" not in text


def test_errors_that_cannot_travel_keep_their_nearest_type():
    class Local(IndexError):
        pass

    with pytest.raises(IndexError, match="Local: where"):
        list(DataLoader(Rows(at=0, action=lambda: fail(Local("where"))), num_workers=1))
    with pytest.raises(RuntimeError, match="Caught TwoArguments in DataLoader worker process 0"):
        list(DataLoader(Rows(at=0, action=lambda: fail(TwoArguments(1, 2))), num_workers=1))
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(Rows(at=0, action=lambda: fail(StopIteration())), num_workers=1))


def test_batches_that_cannot_travel():
    with pytest.raises(TypeError, match="cannot pickle 'generator' object"):
        list(DataLoader(Rows(), num_workers=1, collate_fn=lambda batch: (sample for sample in batch)))
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor which requires_grad"):
        list(DataLoader(Rows(), num_workers=1, collate_fn=lambda _: torch.ones(2, requires_grad=True) * 2))


def test_an_error_in_worker_init_fn_is_raised():
    with pytest.raises(OSError, match=r"Caught OSError in DataLoader worker process 0\.(.|\n)*no such disk"):
        list(DataLoader(Rows(), num_workers=2, worker_init_fn=lambda worker: fail(OSError("no such disk"))))


def test_after_an_error_a_pass_can_go_on():
    iterator = iter(DataLoader(Rows(4, at=1, action=lambda: fail(ValueError())), num_workers=2))
    next(iterator)
    with pytest.raises(ValueError):
        next(iterator)
    assert [index.item() for _, index in iterator] == [2, 3]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (die, r"DataLoader worker \(pid (\d+)\) is killed by signal: Killed\."),
        (
            lambda: signal.raise_signal(signal.SIGTERM),
            r"DataLoader worker \(pid (\d+)\) is killed by signal: Terminated",
        ),
        (lambda: sys.exit(3), r"DataLoader worker \(pid (\d+)\) exited unexpectedly with exit code 3"),
    ],
)
def test_a_dead_worker_is_reported_and_the_others_end(action, message):
    iterator = iter(DataLoader(Rows(40, at=9, action=action), num_workers=3))
    workers, start = pids(iterator), time.monotonic()
    with pytest.raises(RuntimeError, match=message) as caught:
        list(iterator)
    assert time.monotonic() - start < 10 and all(gone(pid) for pid in workers)
    assert int(re.search(message, str(caught.value))[1]) in workers


def test_a_worker_killed_while_the_others_hang():
    def hang():
        time.sleep(60)

    iterator = iter(DataLoader(Rows(40, at=0, action=hang), num_workers=2))
    workers, start = pids(iterator), time.monotonic()
    os.kill(workers[1], signal.SIGKILL)
    with pytest.raises(RuntimeError, match=rf"\(pid {workers[1]}\) is killed by signal: Killed"):
        next(iterator)
    assert time.monotonic() - start < 10 and all(gone(pid) for pid in workers)


@pytest.mark.parametrize("hang", [lambda: time.sleep(60), lambda: os.kill(os.getpid(), signal.SIGSTOP)])
def test_a_hanging_worker_meets_the_timeout(hang):
    iterator = iter(DataLoader(Rows(at=2, action=hang), num_workers=2, timeout=0.3))
    workers = pids(iterator)
    assert [next(iterator)[1].item(), next(iterator)[1].item()] == [0, 1]
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.3 seconds"):
        next(iterator)
    assert all(gone(pid) for pid in workers)


def test_a_failed_loader_with_persistent_workers_starts_new_ones():
    action = [die]
    loader = DataLoader(Rows(4, at=3, action=lambda: action[0]()), num_workers=2, persistent_workers=True)
    with pytest.raises(RuntimeError, match="killed"):
        list(loader)
    action[0] = int
    assert len(list(loader)) == 4


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"dataset": Rows(action=lambda: None)}, r"dataset \(Rows\)"),
        ({"dataset": Rows(), "collate_fn": lambda batch: batch}, r"collate_fn \(function\)"),
        ({"dataset": Rows(), "worker_init_fn": lambda worker: None}, "worker_init_fn"),
    ],
)
def test_what_cannot_be_pickled_is_named_with_the_remedy(options, culprit):
    loader = DataLoader(num_workers=1, multiprocessing_context="spawn", **options)
    with pytest.raises(pickle.PicklingError, match=rf"DataLoader: {culprit} cannot be pickled.*num_workers=0"):
        iter(loader)


def test_shared_memory_that_runs_out_is_an_error_with_the_remedy():
    def limit(_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE, LARGE))  # as full as memory can be made for one process

    with pytest.raises(OSError, match=r"could not put a batch of 0\.3 MiB into shared memory(.|\n)*num_workers=0"):
        list(DataLoader(Rows(2, LARGE), batch_size=2, num_workers=1, worker_init_fn=limit))


# ----------------------------------------------------------------------- what happens to the whole program

SCRIPT = """
import os, sys, time
import numpy as np
from tritorch.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 100
    def __getitem__(self, index):
        if index > 3:
            time.sleep({seconds})
        return np.zeros(50000, np.float32)

loader = DataLoader(Slow(), num_workers=2, timeout=30)
iterator = iter(loader)
print(*(process.pid for process, _ in iterator.pool.workers), flush=True)
for batch in iterator:
    {body}
"""


def start(tmp_path, seconds, body):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(seconds=seconds, body=body))
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts deaf to it
    try:
        program = subprocess.Popen(
            [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, heard)
    return program, [int(pid) for pid in program.stdout.readline().split()]


@pytest.mark.parametrize("seconds", [60, 0.01])
def test_workers_end_when_the_main_process_is_killed(tmp_path, seconds):
    program, workers = start(tmp_path, seconds, "pass" if seconds > 1 else "time.sleep(60)")
    time.sleep(0.2)
    program.kill()
    program.communicate()
    assert len(workers) == 2 and wait_until(lambda: all(gone(pid) for pid in workers))


def test_workers_end_when_the_main_process_is_killed_while_it_waits_for_them(tmp_path):
    program, workers = start(tmp_path, 60, "sys.exit(5)")
    time.sleep(1)  # it has told them to stop, and they are in the middle of a sample
    program.kill()
    program.communicate()
    assert program.returncode == -signal.SIGKILL and wait_until(lambda: all(gone(pid) for pid in workers))


@pytest.mark.parametrize("body", ["pass", "time.sleep(60)"])  # in the loader, in the training step
def test_interrupting_leaves_no_worker_and_one_traceback(tmp_path, body):
    program, workers = start(tmp_path, 0.3, body)
    time.sleep(0.5)
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, errors = program.communicate(timeout=20)
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert program.returncode in (1, 130, -signal.SIGINT) and all(gone(pid) for pid in workers)


def test_a_program_that_stops_in_mid_pass_ends_quietly(tmp_path):
    program, workers = start(tmp_path, 0.01, "sys.exit(5)")
    _, errors = program.communicate(timeout=20)
    assert program.returncode == 5 and not errors and all(gone(pid) for pid in workers)


def test_a_spawned_worker_of_a_script_without_a_main_guard_is_explained(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "from tritorch.utils.data import DataLoader\n"
        "list(DataLoader([1, 2], num_workers=1, multiprocessing_context='spawn'))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and 'under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
