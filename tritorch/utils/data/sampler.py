"""In which order samples are read: an iterable of indices, or of lists of indices (a batch sampler).

All randomness has its place in a tritorch generator, so that `tritorch.manual_seed` (or the `generator` given) fixes
every order. A draw takes one block of the generator's sequence as the key of a Philox stream of its own on the host:
nothing is launched for it, and drawing lazily does not depend on what a training step draws meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np

from tritorch.creation import wrap
from tritorch.random import generator_of
from tritorch.runtime.device import CPU

Index = TypeVar("Index", covariant=True)
DRAWN_AT_ONCE = 1024


class _Reused(threading.local):
    """A bit generator of each thread: making one asks the system for entropy, which takes longer than a small draw."""

    def __init__(self):
        self.bits = np.random.Philox(0)


_reused = _Reused()


def _stream(generator):
    """A stream of random 64-bit words, new with each call. NumPy promises that its words stay the same for ever."""
    seed, block = generator_of("DataLoader", generator).take(1)
    return np.random.Philox(key=seed | block << 64)


def _words(count, generator):
    """The first `count` words of a new stream."""
    bits = _reused.bits
    bits.state = {
        "bit_generator": "Philox",
        "state": {"counter": (0, 0, 0, 0), "key": generator_of("DataLoader", generator).take(1)},
        "buffer": (0, 0, 0, 0),
        "buffer_pos": 4,  # used up
        "has_uint32": 0,
        "uinteger": 0,
    }
    return bits.random_raw(count)


def draw_seed(generator=None):
    """A random number of 63 bits from `generator`, or from the default one."""
    return int(_words(1, generator)[0]) >> 1


def skip_seed(generator=None):
    """Leave the generator as `draw_seed` does."""
    generator_of("DataLoader", generator).take(1)


def permutation(count, generator=None):
    """The numbers below `count` in a random order, as a list."""
    return _words(count, generator).argsort(kind="stable").tolist()


def _uniform(count, generator):
    """`count` float64 numbers in (0, 1], as an array."""
    return ((_words(count, generator) >> 11) + 1) * 2.0**-53


class Sampler(Generic[Index]):
    """An iterable of the indices to read; subclasses write `__iter__`, and `__len__` where it is known."""

    def __init__(self, data_source=None):
        pass

    def __iter__(self):
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... in this order."""

    def __init__(self, data_source):
        self.data_source = data_source

    def __iter__(self):
        return iter(range(len(self.data_source)))

    def __len__(self):
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Indices in a random order; with `replacement`, `num_samples` independent draws, made as they are needed."""

    def __init__(self, data_source, replacement=False, num_samples=None, generator=None):
        self.data_source, self.replacement, self._num_samples = data_source, replacement, num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        _check_count("num_samples", self.num_samples)

    @property
    def num_samples(self):
        """How many indices one pass gives: by default as many as there are samples."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self):
        return self._draws() if self.replacement else self._permutations()

    def _draws(self):
        stream, left, size = _stream(self.generator), self.num_samples, len(self.data_source)
        while left > 0:
            count = min(left, DRAWN_AT_ONCE)
            yield from (stream.random_raw(count) % size).tolist()
            left -= count

    def _permutations(self):
        stream, left, size = _stream(self.generator), self.num_samples, len(self.data_source)
        while left > 0:  # one draw from the generator for all of them: what it gives meanwhile does not matter
            yield from stream.random_raw(size).argsort(kind="stable").tolist()[:left]
            left -= size

    def __len__(self):
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in a random order, each once."""

    def __init__(self, indices, generator=None):
        self.indices, self.generator = indices, generator

    def __iter__(self):
        return (self.indices[position] for position in permutation(len(self.indices), self.generator))

    def __len__(self):
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices, index i drawn with probability weights[i] / sum(weights).

    Without replacement the indices with the smallest -log(u) / weight win, an exponential race: Efraimidis and
    Spirakis, 2006.
    """

    def __init__(self, weights, num_samples, replacement=True, generator=None):
        _check_count("num_samples", num_samples)
        _check_bool("replacement", replacement)
        weights = np.array(weights, dtype=np.float64)
        if weights.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {weights.shape}")
        self.weights = wrap(weights, CPU)
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self):
        weights = np.asarray(self.weights)
        _check_weights(weights, self.num_samples, self.replacement)
        if self.replacement:
            ends = np.cumsum(weights)
            drawn = np.searchsorted(ends, _uniform(self.num_samples, self.generator) * ends[-1], side="left")
        else:
            with np.errstate(divide="ignore"):
                arrival = -np.log(_uniform(len(weights), self.generator)) / weights
            arrival[weights == 0] = np.inf
            drawn = np.argsort(arrival, kind="stable")[: self.num_samples]
        return iter(drawn.tolist())

    def __len__(self):
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of another sampler; the last may be shorter, and is left out by `drop_last`."""

    def __init__(self, sampler: Iterable, batch_size, drop_last):
        _check_count("batch_size", batch_size)
        _check_bool("drop_last", drop_last)
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self):
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self):
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


def _check_weights(weights, num_samples, replacement):
    """Refuse what cannot be drawn from, in the words of `multinomial`."""
    if not replacement and num_samples > len(weights):
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if weights.sum() <= 0:
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if not replacement and num_samples > np.count_nonzero(weights):
        raise RuntimeError(
            "invalid multinomial distribution (with replacement=False, not enough non-negative category to sample)"
        )


def _check_bool(name, value):
    if not isinstance(value, bool):
        raise ValueError(f"{name} should be a boolean value, but got {name}={value}")


def _check_count(name, value):
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")
