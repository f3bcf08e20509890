"""Datasets, samplers, and collating."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, namedtuple

import numpy as np
import pytest
from plain_datasets import SizedStream, Squares, Stream, values

import tritorch as torch
from tritorch.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    RandomSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
    sampler,
)

Pair = namedtuple("Pair", "a b")


# ------------------------------------------------------------------------------------------------ datasets


def test_tensor_dataset_gives_rows_of_each_tensor():
    data = TensorDataset(torch.arange(6).reshape(3, 2), torch.tensor([7.0, 8.0, 9.0]))
    rows, number = data[1]
    assert len(data) == 3 and rows.tolist() == [2, 3] and number.item() == 8
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        TensorDataset(torch.zeros(2), torch.zeros(3))


def test_concat_chain_stack_and_subset():
    both = Squares(3) + Squares(2)
    assert isinstance(both, ConcatDataset) and len(both) == 5
    assert [both[i][1] for i in (0, 2, 3, 4, -1, -5)] == [0, 2, 0, 1, 1, 0]
    with pytest.raises(IndexError):
        both[5]
    with pytest.raises(ValueError, match="absolute value of index should not exceed dataset length"):
        both[-6]
    joined = Stream(2) + SizedStream(3)
    assert isinstance(joined, ChainDataset) and list(joined) == [0, 1, 0, 1, 2]
    assert StackDataset(a=[1, 2], b=[3, 4])[1] == {"a": 2, "b": 4} and StackDataset([1, 2], [3, 4])[0] == (1, 3)
    subset = Subset(Squares(9), [5, 3])
    assert len(subset) == 2 and subset[1][1] == 3 and [one for _, one in subset.__getitems__([1, 0])] == [3, 5]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ConcatDataset([]), AssertionError, "datasets should not be an empty iterable"),
        (lambda: ConcatDataset([Stream(1)]), AssertionError, "ConcatDataset does not support IterableDataset"),
        (lambda: StackDataset(), ValueError, "At least one dataset should be passed"),
        (lambda: StackDataset([1], [1, 2]), ValueError, "Size mismatch between datasets"),
        (lambda: Dataset()[0], NotImplementedError, "Subclasses of Dataset should implement __getitem__"),
    ],
)
def test_dataset_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_random_split_covers_all_and_follows_the_generator():
    parts = random_split(range(10), [3, 7], generator=torch.Generator().manual_seed(42))
    again = random_split(range(10), [3, 7], generator=torch.Generator().manual_seed(42))
    assert [len(part) for part in parts] == [3, 7] and sorted([*parts[0], *parts[1]]) == list(range(10))
    assert [list(part) for part in parts] == [list(part) for part in again]
    assert [len(part) for part in random_split(range(10), [0.33, 0.33, 0.34])] == [4, 3, 3]
    with pytest.raises(ValueError, match="Sum of input lengths does not equal the length of the input dataset!"):
        random_split(range(10), [3, 3])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        random_split(range(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(range(1), [0.5, 0.5])


# ------------------------------------------------------------------------------------------------ samplers


def test_random_sampler_is_a_permutation_fixed_by_the_seed():
    torch.manual_seed(3)
    first, second = list(RandomSampler(range(50))), list(RandomSampler(range(50)))
    torch.manual_seed(3)
    assert list(RandomSampler(range(50))) == first != second
    assert sorted(first) == list(range(50))
    longer = list(RandomSampler(range(3), num_samples=8))
    assert len(longer) == 8 and sorted(longer[:3]) == sorted(longer[3:6]) == [0, 1, 2]


def test_random_sampler_with_replacement_is_lazy():
    sampler = RandomSampler(range(5), replacement=True, num_samples=int(1e10))
    drawn = [index for index, _ in zip(sampler, range(3000), strict=False)]
    assert len(sampler) == 10**10 and set(drawn) == set(range(5))


def test_drawing_lazily_does_not_depend_on_other_draws():
    torch.manual_seed(0)
    sampler = iter(RandomSampler(range(1000), replacement=True, num_samples=3000))
    calm = [next(sampler) for _ in range(2500)]
    torch.manual_seed(0)
    sampler, disturbed = iter(RandomSampler(range(1000), replacement=True, num_samples=3000)), []
    for _ in range(2500):
        disturbed.append(next(sampler))
        torch.rand(1)
    assert calm == disturbed


def test_many_draws_at_once_equal_the_stream():
    one = torch.Generator().manual_seed(2**64 - 3)
    other = one.clone_state()
    for count in (1, 9):
        assert np.array_equal(sampler._words(count, one), sampler._stream(other).random_raw(count))


def test_weighted_and_subset_sampler():
    torch.manual_seed(0)
    drawn = np.bincount(list(WeightedRandomSampler([1.0, 0.0, 3.0], 4000)), minlength=3)
    assert drawn[1] == 0 and abs(drawn[2] / 4000 - 0.75) < 0.03  # standard deviation 0.007
    assert sorted(WeightedRandomSampler([0, 1, 1, 5], 3, replacement=False)) == [1, 2, 3]
    first = [next(iter(WeightedRandomSampler([1, 3], 2, replacement=False))) for _ in range(1000)]
    assert abs(np.mean(first) - 0.75) < 0.05
    assert sorted(SubsetRandomSampler([4, 9, 2])) == [2, 4, 9]


def test_batch_sampler():
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert len(BatchSampler(range(5), 2, False)) == 3 and len(BatchSampler(range(5), 2, True)) == 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: RandomSampler([]),
            ValueError,
            "should be a positive integer value, but got num_samples=0",
        ),
        (lambda: RandomSampler([1], replacement=1), TypeError, "replacement should be a boolean value"),
        (lambda: RandomSampler([1], num_samples=-1), ValueError, "but got num_samples=-1"),
        (lambda: BatchSampler([1], 0, False), ValueError, "batch_size should be a positive integer value"),
        (lambda: BatchSampler([1], True, False), ValueError, "batch_size=True"),
        (lambda: BatchSampler([1], 2.5, False), ValueError, "batch_size=2.5"),
        (lambda: BatchSampler([1], 2, 1), ValueError, "drop_last should be a boolean value, but got drop_last=1"),
        (lambda: WeightedRandomSampler([1.0], 0), ValueError, "num_samples=0"),
        (lambda: WeightedRandomSampler([[1.0]], 1), ValueError, r"weights have shape \(1, 1\)"),
        (lambda: iter(WeightedRandomSampler([-1.0, 2], 1)), RuntimeError, "probability tensor contains either `inf`"),
        (lambda: iter(WeightedRandomSampler([0.0], 1)), RuntimeError, r"sum of probabilities <= 0"),
        (lambda: iter(WeightedRandomSampler([0.0, 2], 2, False)), RuntimeError, "not enough non-negative category"),
        (lambda: iter(WeightedRandomSampler([1.0], 2, False)), RuntimeError, "cannot sample n_sample > prob_dist"),
    ],
)
def test_sampler_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ------------------------------------------------------------------------------------------------ collating


@pytest.mark.parametrize(
    ("batch", "dtype", "expected"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1.0, 2.0], "float64", [1.0, 2.0]),
        ([1, 2.5], "float32", [1.0, 2.5]),
        ([True, False], "bool", [True, False]),
        ([np.float32(1), np.float32(2)], "float32", [1.0, 2.0]),
        ([np.float64(1), np.float64(2)], "float64", [1.0, 2.0]),
        ([np.bool_(True)], "bool", [True]),
        ([np.zeros(2), np.ones(2)], "float64", [[0.0, 0.0], [1.0, 1.0]]),
        ([np.array(1, np.int16), np.array(2, np.int16)], "int16", [1, 2]),
    ],
)
def test_collate_numbers_and_arrays(batch, dtype, expected):
    collated = default_collate(batch)
    assert collated.dtype is getattr(torch, dtype) and collated.tolist() == expected


def test_collate_nested():
    batch = default_collate([{"x": (torch.tensor([1.0]), "one"), "n": Pair(1, [2, 3])}] * 2)
    assert batch["x"][0].tolist() == [[1.0], [1.0]] and batch["x"][1] == ("one", "one")
    assert isinstance(batch["x"], list) and isinstance(batch["n"], Pair)
    assert batch["n"].a.tolist() == [1, 1] and values(batch["n"].b) == [[2, 2], [3, 3]]
    assert default_collate(["a", "b"]) == ["a", "b"] and default_collate([b"a"]) == [b"a"]
    assert values(default_collate([range(2), range(2)])) == [[0, 0], [1, 1]] and default_collate([(), ()]) == []


def test_collate_keeps_the_mapping_type():
    ordered = default_collate([OrderedDict(b=1, a=2)])
    assert type(ordered) is OrderedDict and list(ordered) == ["b", "a"]
    counting = default_collate([defaultdict(int, a=1)])
    assert counting["missing"] == 0 and counting["a"].tolist() == [1]
    assert type(default_collate([UserDict(a=1)])) is UserDict


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (
            [None, None],
            TypeError,
            "batch must contain tensors, numpy arrays, numbers, dicts or lists; found <class",
        ),
        ([{1}, {2}], TypeError, "found <class 'set'>"),
        ([np.array(["s"])], TypeError, "found <U1"),
        ([np.zeros(2), np.zeros(3)], RuntimeError, r"equal size, but got \[2\] at entry 0 and \[3\] at entry 1"),
        ([torch.zeros(2), torch.zeros(3)], RuntimeError, r"equal size, but got \[2\] at entry 0 and \[3\] at entry 1"),
        ([(1, 2), (3,)], RuntimeError, "each element in list of batch should be of equal size"),
        ([{"a": 1}, {"b": 1}], KeyError, "a"),
    ],
)
def test_collate_errors(batch, error, message):
    with pytest.raises(error, match=message):
        default_collate(batch)


def test_convert():
    converted = default_convert({"x": np.ones(2), "t": (np.float32(1), "text"), "p": Pair([np.zeros(1)], None), "n": 3})
    assert converted["x"].tolist() == [1, 1] and converted["t"][0].dtype is torch.float32
    assert converted["t"][1] == "text" and isinstance(converted["t"], list)
    assert isinstance(converted["p"], Pair) and converted["p"].a[0].tolist() == [0] and converted["p"].b is None
    assert converted["n"] == 3 and default_convert(np.array("s")).dtype.kind == "U"


# ------------------------------------------------------------------------------------------------ PyTorch's other names


class Tens(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index

    def __getitems__(self, indices):
        return [index * 10 for index in indices]


def test_stacked_datasets_read_several_samples_at_once():
    assert StackDataset(Tens(), [5, 6, 7]).__getitems__([1, 0]) == [(10, 6), (0, 5)]
    assert StackDataset(a=Tens(), b=[5, 6, 7]).__getitems__([2]) == [{"a": 20, "b": 7}]
    short = Tens()
    short.__getitems__ = lambda indices: [1]
    with pytest.raises(ValueError, match=r"Nested dataset's output size mismatch\. Expected 2, got 1"):
        StackDataset(short).__getitems__([0, 1])


def test_a_stream_without_iter_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        type("Empty", (IterableDataset,), {})()
    with pytest.raises(AssertionError, match="ChainDataset only supports IterableDataset"):
        len(ChainDataset([[1]]))


def test_collating_by_ones_own_table_of_types():
    from tritorch.utils.data._utils.collate import collate, default_collate_fn_map

    def total(batch, *, collate_fn_map=None):
        return sum(batch)

    batch = [{"a": (1, torch.ones(1))}, {"a": (2, torch.ones(1))}]
    assert collate(batch, collate_fn_map={int: total, torch.Tensor: lambda b, **_: len(b)}) == {"a": [3, 2]}
    with pytest.raises(TypeError, match="found <class 'int'>"):
        collate([1, 2], collate_fn_map={})
    default_collate_fn_map[Pair] = lambda batch, *, collate_fn_map=None: [pair.a for pair in batch]
    try:
        assert default_collate([(Pair(1, 2), 0)] * 2)[0] == [1, 1]
    finally:
        del default_collate_fn_map[Pair]
    assert default_collate([Pair(1, 2)]).a.tolist() == [1]


def test_import_forms_of_scripts():
    from tritorch.utils.data import dataloader, dataset, distributed, sampler
    from tritorch.utils.data._utils.worker import get_worker_info
    from tritorch.utils.data.dataloader import DataLoader, default_collate

    loader = DataLoader([1, 2], 2)
    assert (loader._dataset_kind, loader._auto_collation, type(loader._index_sampler)) == (0, True, BatchSampler)
    assert dataset.TensorDataset is TensorDataset and sampler.RandomSampler is RandomSampler
    assert dataloader.DataLoader is DataLoader and get_worker_info() is None and default_collate([1]).tolist() == [1]
    assert torch.utils.data.distributed.DistributedSampler is distributed.DistributedSampler
    assert len(iter(loader)) == 1
