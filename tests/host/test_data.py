"""Datasets, samplers, collating, and the DataLoader without worker processes."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, namedtuple
from itertools import chain

import numpy as np
import pytest

import tritorch as torch
from tritorch.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)

Pair = namedtuple("Pair", "a b")


class Squares(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return np.full(2, index * index, np.float32), index


class Stream(IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(range(self.count))


class SizedStream(Stream):
    def __len__(self):
        return self.count


def values(batches):
    return [batch.tolist() for batch in batches]


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
        (lambda: WeightedRandomSampler([-1.0, 2], 1), ValueError, "not negative"),
        (lambda: WeightedRandomSampler([0.0, 2], 2, False), ValueError, "num_samples=2 without replacement"),
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
    assert batch["x"][0].tolist() == [[1.0], [1.0]] and batch["x"][1] == ["one", "one"]
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


# ------------------------------------------------------------------------------------------------ the loader


def test_loader_batches_in_order_and_counts_them():
    loader = DataLoader(Squares(5), batch_size=2)
    batches = list(loader)
    assert len(loader) == 3 and values(index for _, index in batches) == [[0, 1], [2, 3], [4]]
    assert batches[1][0].tolist() == [[4, 4], [9, 9]] and batches[1][0].dtype is torch.float32
    dropped = DataLoader(Squares(5), batch_size=2, drop_last=True)
    assert len(dropped) == len(list(dropped)) == 2
    assert batches[0][0].device == torch.get_default_device()


def test_shuffle_is_fixed_by_manual_seed_and_by_generator():
    loader = DataLoader(Squares(40), batch_size=8, shuffle=True)
    torch.manual_seed(1)
    first, second = ([index.tolist() for _, index in loader] for _ in range(2))
    torch.manual_seed(1)
    assert [index.tolist() for _, index in loader] == first != second
    assert sorted(chain.from_iterable(first)) == list(range(40))
    orders = []
    for _ in range(2):
        torch.rand(3)  # what the default generator does is of no matter
        ours = DataLoader(Squares(40), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(5))
        orders.append([index.tolist() for _, index in ours])
    assert orders[0] == orders[1]


def test_samplers_of_the_user():
    class Evens(Sampler):
        def __iter__(self):
            return iter(range(0, 6, 2))

        def __len__(self):
            return 3

    assert values(i for _, i in DataLoader(Squares(6), batch_size=2, sampler=Evens())) == [[0, 2], [4]]
    own = DataLoader(Squares(6), batch_sampler=[[5], [0, 1, 2]])
    assert len(own) == 2 and values(i for _, i in own) == [[5], [0, 1, 2]] and own.batch_size is None
    assert values(DataLoader({"a": 1, "b": 2}, sampler=["b", "a"])) == [[2], [1]]
    assert isinstance(DataLoader(Squares(2)).sampler, SequentialSampler)
    assert isinstance(DataLoader(Squares(2), shuffle=True).sampler, RandomSampler)


def test_without_batches_samples_are_converted():
    samples = list(DataLoader(Squares(3), batch_size=None))
    assert samples[2][0].tolist() == [4, 4] and samples[2][1] == 2
    assert sorted(DataLoader([5, 6, 7], batch_size=None, shuffle=True)) == [5, 6, 7]
    assert list(DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]


def test_collate_fn_gets_the_list_of_samples():
    loader = DataLoader(TensorDataset(torch.arange(4)), batch_size=3, collate_fn=lambda batch: (type(batch), batch[-1]))
    kinds, last = zip(*loader, strict=True)
    assert kinds == (list, list) and isinstance(last[0], tuple) and last[1][0].item() == 3


def test_getitems_is_used_where_there_is_one():
    calls = []

    class Many(Squares):
        def __getitems__(self, indices):
            calls.append(indices)
            return [self[index] for index in indices]

    assert len(list(DataLoader(Many(5), batch_size=4))) == 2 and calls == [[0, 1, 2, 3], [4]]


def test_tensor_datasets_are_read_by_the_batch_with_the_same_result():
    class Plain(TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)

    tensors = torch.arange(12).reshape(6, 2), torch.arange(6.0)
    for wrap in (lambda data: data, lambda data: Subset(data, [5, 0, 3])):
        fast, plain = wrap(TensorDataset(*tensors)), wrap(Plain(*tensors))
        assert fast.batch_reader() is not None and plain.batch_reader() is None
        one, other = list(DataLoader(fast, batch_size=2)), list(DataLoader(plain, batch_size=2))
        assert [values(batch) for batch in one] == [values(batch) for batch in other]
        assert [type(batch) for batch in one] == [type(batch) for batch in other]
        assert one[0][1].dtype is torch.float32
    next(iter(DataLoader(TensorDataset(*tensors), batch_size=6)))[0].add_(1)
    assert tensors[0].tolist()[0] == [0, 1]  # a batch never shares memory with the dataset


def test_iterable_dataset():
    assert values(DataLoader(Stream(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    assert values(DataLoader(Stream(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert len(DataLoader(SizedStream(5), batch_size=2)) == 3
    with pytest.raises(TypeError, match="has no len"):
        len(DataLoader(Stream(5)))


def test_stop_iteration_of_a_dataset_does_not_end_the_loop_silently():
    class Broken(Squares):
        def __getitem__(self, index):
            return next(iter(()))

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(DataLoader(Broken(3)))


def test_gradients_flow_to_a_tensor_dataset():
    weight = torch.ones(3, requires_grad=True)
    (batch,) = next(iter(DataLoader(TensorDataset(weight), batch_size=2)))
    assert batch.requires_grad


def test_there_is_no_worker_here():
    assert get_worker_info() is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_workers": -1}, ValueError, "num_workers option should be non-negative; use num_workers=0 to disable"),
        ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, ValueError, "prefetch_factor option could only be specified in multiprocessing"),
        ({"num_workers": 1, "prefetch_factor": -1}, ValueError, "prefetch_factor option should be non-negative"),
        ({"persistent_workers": True}, ValueError, "persistent_workers option needs num_workers > 0"),
        ({"sampler": [1], "shuffle": True}, ValueError, "sampler option is mutually exclusive with shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, ValueError, "batch_sampler option is mutually exclusive with"),
        ({"batch_sampler": [[0]], "drop_last": True}, ValueError, "batch_sampler option is mutually exclusive with"),
        ({"batch_size": None, "drop_last": True}, ValueError, "batch_size=None option disables auto-batching"),
        ({"batch_size": 0}, ValueError, "batch_size should be a positive integer value, but got batch_size=0"),
        (
            {"multiprocessing_context": "fork"},
            ValueError,
            "can only be used with multi-process loading",
        ),
        ({"num_workers": 1, "multiprocessing_context": "x"}, ValueError, "should specify a valid start method in"),
        ({"num_workers": 1, "multiprocessing_context": 3}, TypeError, "should be a valid context object or a string"),
    ],
)
def test_loader_argument_errors(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader([1, 2], **options)


@pytest.mark.parametrize("option", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_iterable_dataset_takes_no_order(option):
    (name,) = option
    with pytest.raises(ValueError, match=f"DataLoader with IterableDataset: expected unspecified {name} option"):
        DataLoader(Stream(3), **option)
    DataLoader(Stream(3), shuffle=False)


def test_what_was_built_cannot_be_changed():
    loader = DataLoader([1, 2])
    for name in ("batch_size", "dataset", "sampler", "drop_last"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set after DataLoader is initialized"):
            setattr(loader, name, 2)
    loader.pin_memory = True
    assert values(loader) == [[1], [2]]


def test_old_import_paths():
    from tritorch.utils.data.dataloader import DataLoader as same
    from tritorch.utils.data.dataloader import default_collate as same_collate
    from tritorch.utils.data.dataset import Dataset as same_dataset
    from tritorch.utils.data.sampler import Sampler as same_sampler

    assert (same, same_collate, same_dataset, same_sampler) == (DataLoader, default_collate, Dataset, Sampler)
    assert Dataset[int] and Sampler[int] and DataLoader[int]  # classes that people subscript in annotations
