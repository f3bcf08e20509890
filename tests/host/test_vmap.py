"""vmap over the whole op table: an op on a batch is the op on each example; and vmap's own rules and errors."""

from __future__ import annotations

import warnings
import zlib

import numpy as np
import pytest
import tolerances

from tritorch import creation
from tritorch.autograd import grad
from tritorch.func import vmap
from tritorch.ops.base import TABLE
from tritorch.ops.draw import Draw
from tritorch.runtime.device import CPU
from tritorch.utils.pytree import tree_leaves
from tritorch.validation import is_differentiable

EXAMPLES = 3
MOST_SAMPLES, MOST_ELEMENTS = 6, 1000


def _samples(op):
    """A few samples of an op, each drawn several times: lists of arguments that differ in their numbers alone."""
    drawn = []
    for seed in range(EXAMPLES):
        draw = Draw(np.float64, zlib.crc32(op.op_name.encode()) + seed)
        drawn.append([sample if isinstance(sample, tuple) else (sample,) for sample in op.samples(draw)])
    for several in zip(*drawn, strict=True):
        if _is_array(several[0]) is False or not _are_alike(several):
            continue
        if sum(each.size for each in several[0] if isinstance(each, np.ndarray)) <= MOST_ELEMENTS:
            yield [[np.asarray(each) if isinstance(each, np.generic) else each for each in one] for one in several]


def _is_array(sample):
    return any(isinstance(each, (np.ndarray, np.generic)) for each in sample)


def _are_alike(several):
    return all(
        getattr(first, "shape", None) == getattr(each, "shape", None)
        for sample in several[1:]
        for first, each in zip(several[0], sample, strict=True)
    )


def _patterns(sample):
    """Which arguments have the batch: all that are tensors, or each alone."""
    places = [at for at, each in enumerate(sample) if isinstance(each, np.ndarray)]
    yield places
    if len(places) > 1:
        yield from ([at] for at in places)


def _tensor(array):
    return creation.wrap(np.array(array), CPU)


def _check(op, several, places):
    """vmap of the op against the op on each example."""
    first = several[0]
    examples = [[one[at] if at in places else first[at] for at in range(len(first))] for one in several]
    expected = [
        tree_leaves(op.apply(*[_tensor(each) if isinstance(each, np.ndarray) else each for each in one]))
        for one in examples
    ]
    tensors = [at for at, each in enumerate(first) if isinstance(each, np.ndarray)]
    batches = [
        _tensor(np.stack([one[at] for one in examples]) if at in places else first[at]) for at in tensors
    ]  # fmt: skip

    def call(*given):
        args = list(first)
        for at, each in zip(tensors, given, strict=True):
            args[at] = each
        return op.apply(*args)

    dims = tuple(0 if at in places else None for at in tensors)
    found = tree_leaves(vmap(call, dims, randomness="same")(*batches))
    for at, each in enumerate(found):
        true = np.stack([one[at].detach().numpy() for one in expected])
        assert each.numpy().dtype == true.dtype
        tolerances.close(each, true)


OPS = sorted(
    name for name, op in TABLE.items() if not op.creates and not getattr(op, "in_place", False) and name != "nonzero"
)


@pytest.mark.parametrize("name", OPS)
def test_an_op_on_a_batch_is_the_op_on_each_example(name):
    checked = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        for several in _samples(TABLE[name]):
            for places in _patterns(several[0]):
                _check(TABLE[name], several, places)
            checked += 1
            if checked == MOST_SAMPLES:
                break
    assert checked


DIFFERENTIABLE = sorted(name for name in OPS if is_differentiable(TABLE[name]) and not hasattr(TABLE[name], "of"))


def _floating(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_batch_of_gradients_is_the_gradient_of_each(name, recorded):
    """What `jacrev` does: gradient ops run on batches by their rules, and compositions on tensors that hold them."""
    op, random = TABLE[name], np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        for (first, *_), _ in zip(_samples(op), range(3), strict=False):
            args = [_tensor(each) if isinstance(each, np.ndarray) else each for each in first]
            inputs = [args[at].requires_grad_() for at, each in enumerate(first) if _floating(each)]
            outputs = [each for each in tree_leaves(op.apply(*args)) if each.requires_grad]
            if not outputs:
                continue
            seeds = [_tensor(random.standard_normal((2, *each.shape)).astype(each.array.dtype)) for each in outputs]
            options = {"retain_graph": True, "create_graph": recorded, "allow_unused": True}
            found = grad(outputs, inputs, seeds, is_grads_batched=True, **options)
            each = [grad(outputs, inputs, [seed[at] for seed in seeds], **options) for at in range(2)]
            for at, batch in enumerate(found):
                if each[0][at] is None:
                    assert batch is None
                else:
                    tolerances.close(batch, np.stack([one[at].detach().numpy() for one in each]), gradient=True)
