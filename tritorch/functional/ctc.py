"""The CTC loss with PyTorch's arguments and errors."""

from __future__ import annotations

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.functional.loss import REDUCTIONS
from tritorch.ops.autocast import FLOAT32_ON_CPUS
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes

CtcLoss = TABLE["ctc_loss"]


@export("nn.functional.ctc_loss", autocast=FLOAT32_ON_CPUS)
def ctc_loss(
    log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False
):  # fmt: skip
    """-log of the probability of each target by all of its alignments with log_probs (T, N, C) or (T, C).

    targets (N, S), or (sum of target_lengths,) one after another. A mean is that of losses by the length of their
    targets. With `zero_infinity` targets that are too long for their inputs cost nothing.
    Source: Graves et al., "Connectionist temporal classification", 2006.
    """
    need_tensors("ctc_loss", log_probs=log_probs, targets=targets)
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    single = log_probs.ndim == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
    lengths = _lengths("input_lengths", input_lengths), _lengths("target_lengths", target_lengths)
    _check(log_probs, targets, *lengths, blank)
    if targets.dtype is not dtypes.int64:
        targets = targets.to(dtypes.int64)
    loss = CtcLoss.apply(log_probs, targets, *lengths, int(blank), bool(zero_infinity))[0]
    if reduction == "mean":
        counts = [max(count, 1) for count in lengths[1]]
        return (loss / creation.tensor(counts, dtype=loss.dtype, device=loss.device)).mean()
    if reduction == "sum":
        return loss.sum()
    return loss.squeeze(0) if single else loss


@export("ctc_loss", autocast=FLOAT32_ON_CPUS)
def ctc_loss_by_number(
    log_probs, targets, input_lengths, target_lengths, blank=0, reduction=1, zero_infinity=False
):  # fmt: skip
    """`nn.functional.ctc_loss` with its reduction as a number: 0 for none, 1 for the mean, 2 for the sum."""
    name = REDUCTIONS[reduction] if reduction in (0, 1, 2) else str(reduction)
    return ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, name, zero_infinity)


def _lengths(name, lengths):
    """Lengths from a tensor or a sequence, on the host."""
    if isinstance(lengths, Variable):
        if lengths.is_floating_point():
            raise RuntimeError(f"{name} must be integral")
        lengths = lengths.reshape(-1).tolist()
    elif isinstance(lengths, int):
        lengths = (lengths,)
    return tuple(int(length) for length in lengths)


def _check(log_probs, targets, input_lengths, target_lengths, blank):
    """Refuse what PyTorch refuses."""
    where = "(while checking arguments for ctc_loss_allocate_outputs)"
    if log_probs.ndim != 3:
        raise RuntimeError(
            f"Expected 3-dimensional tensor, but got {log_probs.ndim}-dimensional tensor for argument #1 'log_probs' "
            f"{where}"
        )
    if log_probs.dtype not in (dtypes.float32, dtypes.float64):
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{KIND_NAMES[log_probs.dtype.name]}'")
    steps, batch, classes = log_probs.shape
    for name, lengths in (("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        if len(lengths) != batch:
            raise RuntimeError(f"{name} must be of size batch_size")
        if any(length < 0 for length in lengths):
            raise RuntimeError(f"Expected {name} to have value at least 0, but got value {min(lengths)} {where}")
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    if targets.ndim not in (1, 2):
        raise RuntimeError(
            f"Expected 1 to 2 dimensions, but got {targets.ndim}-dimensional tensor for argument #2 'targets' {where}"
        )
    longest, whole = max(target_lengths, default=0), sum(target_lengths)
    if targets.ndim == 1 and targets.shape[0] != whole:
        raise RuntimeError(
            f"Expected tensor to have size {whole} at dimension 0, but got size {targets.shape[0]} for argument #2 "
            f"'targets' {where}"
        )
    if targets.ndim == 2 and targets.shape[0] != batch:
        raise RuntimeError(
            f"Expected tensor to have size {batch} at dimension 0, but got size {targets.shape[0]} for argument #2 "
            f"'targets' {where}"
        )
    if targets.ndim == 2 and targets.shape[1] < longest:
        raise RuntimeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size {targets.shape[1]} for "
            f"argument #2 'targets' {where}"
        )
    if max(input_lengths, default=0) > steps:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value {max(input_lengths)} {where}"
        )
