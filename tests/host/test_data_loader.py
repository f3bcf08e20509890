"""The DataLoader without worker processes: orders, batches, fast paths, and its argument errors."""

from __future__ import annotations

from itertools import chain

import pytest
from plain_datasets import SizedStream, Squares, Stream, values

import tritorch as torch
from tritorch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
    get_worker_info,
)


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
