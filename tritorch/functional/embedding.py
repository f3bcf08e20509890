"""Rows of a table by number, one by one or in bags."""

from __future__ import annotations

import warnings

import numpy as np

from tritorch.autograd.grad_mode import no_grad
from tritorch.ops.base import TABLE, export
from tritorch.ops.batching import by_example
from tritorch.ops.guard import need_tensors
from tritorch.ops.index.embedding import Embedding, check_inside, check_numbers
from tritorch.runtime import dtypes

export("embedding")(Embedding.function())


def renorm_rows(weight, numbers, max_norm, norm_type):
    """Scale down the rows of `weight` that are named and whose norm is above `max_norm`, in place."""
    check_inside(numbers.array, weight.array.shape[0])
    if not numbers.array.size:
        return
    with no_grad():
        rows = weight.detach().index_select(0, numbers.reshape(-1))
        norms = rows.norm(norm_type, 1, True, dtype=dtypes.of(dtypes.COMPUTE[rows.array.dtype]))
        factor = TABLE["where"].apply(norms > max_norm, max_norm / (norms + 1e-7), 1.0)
        weight.index_put_((numbers.reshape(-1),), rows * factor.to(rows.dtype))


@export("nn.functional.embedding")
def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of `weight` that `input` numbers; row `padding_idx` gets no gradient.

    With `max_norm` the rows that are named are first scaled down to that norm, in place. `sparse=True` is taken; the
    gradient of `weight` is dense all the same.
    """
    need_tensors("embedding", input=input, weight=weight)
    if weight.array.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    count = weight.array.shape[0]
    if padding_idx is not None:
        if not -count <= padding_idx < count:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx = padding_idx + count if padding_idx < 0 else padding_idx
    if max_norm is not None:
        check_numbers("embedding", "indices", input)
        renorm_rows(weight, input, max_norm, norm_type)
    return Embedding.call(weight, input, -1 if padding_idx is None else padding_idx, scale_grad_by_freq)


def _as_bags(input, offsets, per_sample_weights):
    """Indices, offsets and weights as three vectors; bags of one size come as rows of a matrix."""
    if input.array.ndim not in (1, 2):
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.array.ndim}")
    if input.array.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.array.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        return input, offsets, per_sample_weights
    if offsets is not None:
        raise ValueError(
            "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
            f"sequences. However, found offsets of type {type(offsets)}"
        )
    bags, size = input.array.shape
    weights = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    starts = TABLE["arange"].apply(0, size, bags, input.array.dtype, input.device)
    return input.reshape(-1), starts, weights


def _check_bags(weight, indices, offsets, scales, include_last_offset, padding_idx):
    """PyTorch's errors; what lies in memory is only looked at where nobody waits for it."""
    check_numbers("embedding_bag", "indices", indices)
    check_numbers("embedding_bag", "indices", offsets)
    if not weight.is_floating_point():
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have one of the following scalar types: Half, BFloat16, "
            f"Float, Double; but got {weight.type()} instead (while checking arguments for embedding_bag)"
        )
    if scales is not None and scales.dtype is not weight.dtype:
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have the same type as tensor for argument #1 "
            f"'per_sample_weights'; but type {weight.type()} does not equal {scales.type()} (while checking arguments "
            "for embedding_bag)"
        )
    count = weight.array.shape[0]
    if padding_idx is not None and not -count <= padding_idx < count:
        raise RuntimeError(
            f"padding_idx must be within the number of embeddings, -{count} through {count - 1}, but got {padding_idx}"
        )
    if include_last_offset and not offsets.array.size:
        raise RuntimeError("include_last_offset: number of offset should be at least 1")
    if not offsets.is_cuda and offsets.array.size:
        first, last, length = int(offsets.array[0]), int(offsets.array[-1]), indices.array.size
        if first != 0:
            raise RuntimeError(
                "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                f"However, got {first}"
            )
        if last > length:
            raise RuntimeError(
                f"offsets[-1] can not be greater than input's length {length} but got offsets[-1] of {last}"
            )
        if (offsets.array[1:] < offsets.array[:-1]).any():
            raise RuntimeError("offsets must not decrease")
    _check_in_bags(indices.array, count)


def _check_in_bags(array, count):
    """As check_inside, in the words of bags."""
    if isinstance(array, np.ndarray) and array.size and (array.min() < 0 or array.max() >= count):
        at = int(((array < 0) | (array >= count)).argmax())
        raise RuntimeError(f"Index {at} of input takes value {array[at]} which is not in the valid range [0, {count})")


@export("nn.functional.embedding_bag")
@by_example
def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=None,
):  # fmt: skip
    """The sum, mean or maximum of the rows of `weight` that each bag of `input` numbers.

    A bag is a row of a matrix, or begins in a vector where `offsets` says; row `padding_idx` does not count. `sparse`
    is as in `embedding`.
    """
    need_tensors("embedding_bag", input=input, weight=weight)
    if weight.dtype is dtypes.int64 and input.is_floating_point():
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`.",
            stacklevel=3,
        )
        input, weight = weight, input
    if per_sample_weights is not None and input.array.shape != per_sample_weights.array.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the "
            f"same shape as the input ({input.shape})"
        )
    if weight.array.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.array.ndim}")
    if input.array.ndim == 2:
        include_last_offset = False
    indices, offsets, scales = _as_bags(input, offsets, per_sample_weights)
    _check_mode(mode, scale_grad_by_freq, sparse, scales)
    _check_bags(weight, indices, offsets, scales, include_last_offset, padding_idx)
    if max_norm is not None:
        renorm_rows(weight, indices, max_norm, norm_type)
    bags = offsets.array.size - bool(include_last_offset)
    padding = -1 if padding_idx is None else padding_idx % weight.array.shape[0]
    if mode == "max":
        return TABLE["embedding_bag_max"].apply(weight, indices, offsets, bags, padding)[0]
    return TABLE["embedding_bag"].apply(
        weight, indices, offsets, scales, bags, mode == "mean", padding, bool(scale_grad_by_freq)
    )[0]


def _check_mode(mode, scale_grad_by_freq, sparse, scales):
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if scales is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )
