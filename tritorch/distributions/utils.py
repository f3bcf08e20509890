"""What distributions share: parameters made tensors of one shape, probabilities and their logarithms."""

from __future__ import annotations

import numbers

import tritorch
from tritorch.tensor import Tensor


class lazy_property:
    """A property that is computed when it is first asked for, and then is a plain attribute."""

    def __init__(self, wrapped):
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        with tritorch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def broadcast_all(*values):
    """All values as tensors of one shape; numbers take dtype and device of the tensors, or the defaults."""
    if not all(isinstance(each, (Tensor, numbers.Number)) for each in values):
        raise ValueError("Input arguments must all be instances of Number, torch.Tensor or objects implementing "
                         "__torch_function__.")  # fmt: skip
    first = next((each for each in values if isinstance(each, Tensor)), None)
    like = {"dtype": tritorch.get_default_dtype()} if first is None else {"dtype": first.dtype, "device": first.device}
    return tritorch.broadcast_tensors(
        *[each if isinstance(each, Tensor) else tritorch.tensor(each, **like) for each in values]
    )


def sum_rightmost(value, count):
    """The sum over the last `count` dimensions."""
    return value if count == 0 else value.reshape(*value.shape[: value.ndim - count], -1).sum(-1)


def clamp_probs(probs):
    """Probabilities kept away from 0 and 1, so that their logarithms are finite."""
    eps = tritorch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs, is_binary=False):
    """log p, or log(p / (1 - p)) for two outcomes."""
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()


def logits_to_probs(logits, is_binary=False):
    """The opposite of `probs_to_logits`."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def probs_or_logits(distribution, probs, logits):
    """Refuse both and neither."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
