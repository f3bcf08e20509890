"""A loader goes on in the middle of a pass: same batches, same random numbers in workers, with and without workers."""

from __future__ import annotations

import io
import random
import warnings

import numpy as np
import pytest
from plain_datasets import SizedStream, values

import tritorch as torch
from tritorch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)


class Noisy(Dataset):
    """Samples that depend on the random numbers of the process that reads them: ours, Python's and NumPy's."""

    def __len__(self):
        return 17

    def __getitem__(self, index):
        return torch.tensor([index, torch.rand(()).item(), random.random(), np.random.rand()], dtype=torch.float64)


class Stream(IterableDataset):
    """Numbers, every worker its part, with noise that depends on all that was read before."""

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for number in range(first, 15 + 4 * first, step):  # parts of different lengths
            yield number + random.random() / 2


class Counter(IterableDataset):
    """A stream that says where it stands."""

    def __init__(self):
        self.position = 0

    def __iter__(self):
        while self.position < 12:
            self.position += 1
            yield self.position
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state_dict):
        self.position = state_dict["position"]


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file)


def drained(iterator, disturb=True):
    """All batches that are left; what a training step draws in between must not matter."""
    found = []
    for batch in iterator:
        found.append(torch.as_tensor(batch).tolist())
        if disturb:
            torch.rand(3)
    return found


def passes(loader, count, disturb=True):
    """The batches of some passes, one list."""
    return [batch for _ in range(count) for batch in drained(loader, disturb)]


MAKERS = {
    "in order": lambda **named: DataLoader(Noisy(), 2, **named),
    "shuffled": lambda **named: DataLoader(Noisy(), 2, shuffle=True, **named),
    "own generator": lambda **named: DataLoader(Noisy(), 3, shuffle=True, generator=torch.Generator(), **named),
    "one by one": lambda **named: DataLoader(Noisy(), None, shuffle=True, **named),
    "many draws": lambda **named: DataLoader(Noisy(), 4, sampler=RandomSampler(Noisy(), num_samples=40), **named),
    "with replacement": lambda **named: DataLoader(
        Noisy(), 4, sampler=RandomSampler(Noisy(), replacement=True, num_samples=60), **named
    ),
    "weighted": lambda **named: DataLoader(Noisy(), 4, sampler=WeightedRandomSampler(range(17), 30), **named),
    "stream": lambda **named: DataLoader(Stream(), 2, **named),
    "stream, whole batches": lambda **named: DataLoader(Stream(), 2, drop_last=True, **named),
    "stream, one by one": lambda **named: DataLoader(Stream(), None, **named),
}


def begin(make, workers, batches, **named):
    """A loader and its iterator after some batches, and the random states then."""
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    loader = make(num_workers=workers, **named)
    iterator = iter(loader)
    for _ in range(batches):
        next(iterator)
        torch.rand(3)
    return loader, iterator


def states():
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def set_states(found):
    torch.set_rng_state(found[0])
    random.setstate(found[1])
    np.random.set_state(found[2])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_goes_on_as_if_it_had_not_stopped(name, workers):
    make, batches = MAKERS[name], 5
    loader, iterator = begin(make, workers, batches)
    state, random_states = through_a_file(loader.state_dict()), states()
    rest = drained(iterator) + passes(loader, 1)
    again = make(num_workers=workers)
    again.load_state_dict(state)
    torch.manual_seed(99)
    set_states(random_states)
    assert passes(again, 2) == rest


@pytest.mark.parametrize("batches", [0, 1, 8, 9])
@pytest.mark.parametrize("workers", [0, 2])
def test_at_the_start_and_at_the_end(batches, workers):
    make = MAKERS["shuffled"]
    loader, iterator = begin(make, workers, batches)
    state, random_states = through_a_file(loader.state_dict()), states()
    rest = drained(iterator, disturb=False) + passes(loader, 1, disturb=False)
    again = make(num_workers=workers)
    again.load_state_dict(state)
    set_states(random_states)
    assert passes(again, 2, disturb=False) == rest


@pytest.mark.parametrize("generator", [False, True])
def test_between_passes(generator):
    torch.manual_seed(1)

    def make():
        return DataLoader(Noisy(), 4, shuffle=True, generator=torch.Generator() if generator else None)

    loader = make()
    passes(loader, 1)
    state, random_states = through_a_file(loader.state_dict()), states()
    assert state["finished"]
    rest = passes(loader, 1)
    again = make()
    again.load_state_dict(state)
    set_states(random_states)
    assert passes(again, 1) == rest


def test_persistent_workers_go_on():
    make = MAKERS["shuffled"]
    loader, iterator = begin(make, 2, 3, persistent_workers=True)
    list(iterator)
    iterator = iter(loader)  # a second pass, whose workers have drawn before
    for _ in range(4):
        next(iterator)
    state, random_states = through_a_file(loader.state_dict()), states()
    rest = drained(iterator) + passes(loader, 1)
    again = make(num_workers=2, persistent_workers=True)
    again.load_state_dict(state)
    set_states(random_states)
    assert passes(again, 2) == rest
    again.load_state_dict(state)  # into workers that run already
    set_states(random_states)
    assert passes(again, 2) == rest


def test_out_of_order_every_sample_comes_once():
    loader = DataLoader(Noisy(), 2, num_workers=2, in_order=False)
    iterator = iter(loader)
    seen = [next(iterator) for _ in range(4)]
    state = through_a_file(loader.state_dict())
    again = DataLoader(Noisy(), 2, num_workers=2, in_order=False)
    again.load_state_dict(state)
    seen += list(again)
    assert sorted(torch.cat(seen)[:, 0].tolist()) == list(range(17))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_that_says_where_it_stands_is_not_read_again(workers):
    loader = DataLoader(Counter(), 2, num_workers=workers)
    iterator = iter(loader)
    assert values([next(iterator), next(iterator)]) == [[1, 2], [3, 4]]
    state = through_a_file(loader.state_dict())
    again = DataLoader(Counter(), 2, num_workers=workers)
    again.load_state_dict(state)
    assert values(again) == [[5, 6], [7, 8], [9, 10], [11, 12]]


def test_other_numbers_of_workers():
    loader, iterator = begin(MAKERS["shuffled"], 2, 3)
    state = loader.state_dict()
    rest = torch.cat(list(iterator))[:, 0].tolist()
    again = MAKERS["shuffled"](num_workers=0)
    again.load_state_dict(state)
    assert torch.cat(list(again))[:, 0].tolist() == rest
    loader, _ = begin(MAKERS["stream"], 2, 3)
    with pytest.raises(ValueError, match="the state is of 2 workers, each with a part of the iterable dataset"):
        MAKERS["stream"](num_workers=1).load_state_dict(loader.state_dict())


def test_states_of_loaders_that_were_not_used():
    loader = DataLoader(Noisy(), 2)
    assert loader.state_dict() is None
    loader.load_state_dict(None)
    assert len(list(loader)) == 9
    state = loader.state_dict()
    loader.load_state_dict(state)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    again = DataLoader(Noisy(), 2)
    again.load_state_dict(state)
    assert again.state_dict() is state


def test_distributed_sampler_covers_and_follows_epoch_and_seed():
    def parts(**named):
        return [list(DistributedSampler(range(10), 3, rank, **named)) for rank in range(3)]

    assert parts(shuffle=False) == [[0, 3, 6, 9], [1, 4, 7, 0], [2, 5, 8, 1]]
    assert parts(shuffle=False, drop_last=True) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert sorted({index for part in parts() for index in part}) == list(range(10))
    assert parts() == parts() and parts(seed=1) != parts() and list(DistributedSampler([], 2, 0)) == []
    assert [list(DistributedSampler(range(2), 5, rank, shuffle=False)) for rank in range(5)] == [
        [0],
        [1],
        [0],
        [1],
        [0],
    ]
    sampler = DistributedSampler(range(10), 3, 1)
    first = list(sampler)
    sampler.set_epoch(4)
    assert list(sampler) != first and len(sampler) == 4 and sampler.total_size == 12
    loader = DataLoader(range(10), 2, sampler=sampler)
    iterator = iter(loader)
    next(iterator)
    again = DataLoader(range(10), 2, sampler=DistributedSampler(range(10), 3, 1))
    again.load_state_dict(through_a_file(loader.state_dict()))
    assert values(again) == values(iterator) and again.sampler.epoch == 4
    with pytest.raises(ValueError, match=r"Invalid rank 3, rank should be in the interval \[0, 2\]"):
        DistributedSampler(range(10), 3, 3)


def test_a_stream_longer_than_it_said_is_warned_of():
    loader = DataLoader(SizedStream(4), None)
    loader.dataset.count = 2
    assert len(loader) == 2
    loader.dataset.count = 4
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        list(loader)
    text = (
        "Length of IterableDataset {} was reported to be 2 (when accessing len(dataloader)), but {} samples have been "
    )
    assert [str(each.message) for each in seen] == [
        f"{text}fetched. ".format(loader.dataset, count) for count in (3, 4)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(DataLoader(SizedStream(4), None))) == 4
