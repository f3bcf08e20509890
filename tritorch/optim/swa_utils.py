"""Averages of the weights that a training passes through: stochastic weight averaging and exponential means."""

from __future__ import annotations

import math
from copy import deepcopy

from tritorch import creation
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.inplace import bump
from tritorch.nn.modules.batchnorm import _BatchNorm
from tritorch.nn.modules.module import Module
from tritorch.ops.base import TABLE
from tritorch.optim.lr_scheduler.base import LRScheduler, one_per_group
from tritorch.runtime import dtypes

AverageStep = TABLE["average_step"]


class _ListUpdate:
    """Changes lists of averages in place; `share`, of the number averaged so far, is that of the new weights.

    The number may be one of the host, so that no GPU is asked for it.
    """

    def __init__(self, share):
        self.share = share

    @no_grad()
    def __call__(self, averaged_param_list, current_param_list, num_averaged):
        _average(averaged_param_list, current_param_list, self.share(num_averaged))


def get_ema_multi_avg_fn(decay=0.999):
    """A function that changes lists of averages to decay times themselves plus (1 - decay) times the weights."""
    _check_decay(decay)
    return _ListUpdate(lambda _: 1 - decay)


def get_swa_multi_avg_fn():
    """A function that takes one more of equally weighted weights into lists of averages, in place."""
    return _ListUpdate(lambda num_averaged: 1 / (int(num_averaged) + 1))


def get_ema_avg_fn(decay=0.999):
    """A function that gives decay times an average plus (1 - decay) times a weight."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param, current_param, num_averaged):
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn():
    """A function that gives an average that takes in one more of equally weighted weights."""

    @no_grad()
    def swa_update(averaged_param, current_param, num_averaged):
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def _check_decay(decay):
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def _average(averages, values, share):
    """averages + share (values - averages), in place: one launch for all that are alike."""
    alike: dict = {}
    for average, value in zip(averages, values, strict=True):
        if not average.is_floating_point():
            average.copy_(average * (1 - share) + value * share)
            continue
        kind = average.array.dtype, value.array.dtype, average.device
        alike.setdefault(kind, []).append((average, value))
    for pairs in alike.values():
        AverageStep.apply(share, *[each[0] for each in pairs], *[each[1] for each in pairs])
        for average, _ in pairs:
            bump(average)


class AveragedModel(Module):
    """A copy of a model, in `module`, whose parameters are averages of what the model's have been.

    avg_fn        of (average, parameter, count) gives the new average; equal weights by default
    multi_avg_fn  the same for lists of all parameters, which it changes in place
    use_buffers   average the buffers too; otherwise they are copied
    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018.
    """

    _known_count = None, 0, 0  # n_averaged, its version, and what it then was

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", creation.tensor(0, dtype=dtypes.int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args, **kwargs):
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model):
        """Take the parameters of `model` into the average; the first time they are copied."""
        averages, values = list(self.module.parameters()), list(model.parameters())
        buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))
        if self.use_buffers:
            averages += [own for own, _ in buffers]
            values += [other for _, other in buffers]
        averages = [each.detach() for each in averages]
        values = [v.detach().to(own.device) for own, v in zip(averages, values, strict=True)]
        count = self._count()
        if count == 0:
            for own, value in zip(averages, values, strict=True):
                own.copy_(value)
        elif self.avg_fn is None:
            self._average_lists(averages, values, count)
        else:
            counts = {device: self.n_averaged.to(device) for device in {each.device for each in averages}}
            for own, value in zip(averages, values, strict=True):
                own.copy_(self.avg_fn(own, value, counts[own.device]))
        if not self.use_buffers:
            for own, other in buffers:
                own.copy_(other.detach().to(own.device))
        self.n_averaged += 1
        self._known_count = self.n_averaged, self.n_averaged._version, count + 1

    def _count(self):
        """What `n_averaged` says; a GPU is asked only after somebody else wrote to it."""
        known, version, count = self._known_count
        return count if known is self.n_averaged and version == known._version else int(self.n_averaged)

    def _average_lists(self, averages, values, count):
        update = self.multi_avg_fn or get_swa_multi_avg_fn()
        alike: dict = {}
        for own, value in zip(averages, values, strict=True):
            alike.setdefault((own.device, own.dtype), ([], []))
            for found, each in zip(alike[own.device, own.dtype], (own, value), strict=True):
                found.append(each)
        for (device, _), (own, new) in alike.items():
            update(own, new, count if isinstance(update, _ListUpdate) else self.n_averaged.to(device))


@no_grad()
def update_bn(loader, model, device=None):
    """Compute the running means and variances of the model's batch norms anew, by one pass over the data.

    Batches are inputs, or lists and tuples that begin with them.
    """
    norms = {each: each.momentum for each in model.modules() if isinstance(each, _BatchNorm)}
    if not norms:
        return
    was_training = model.training
    model.train()
    for each in norms:
        each.reset_running_stats()
        each.momentum = None  # a plain mean over all batches
    for batch in loader:
        first = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(first if device is None else first.to(device))
    for each, momentum in norms.items():
        each.momentum = momentum
    model.train(was_training)


def _along_line(t):
    return t


def _along_cosine(t):
    return (1 - math.cos(math.pi * t)) / 2


_ANNEALING = {"cos": _along_cosine, "linear": _along_line}


class SWALR(LRScheduler):
    """From the rates as they are to `swa_lr` in `anneal_epochs` epochs, along a cosine or a line, and constant then."""

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1):
        for rate, group in zip(one_per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in _ANNEALING:
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        """The rates, moved on: from what they are now follows where they started."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = (self._share(each) for each in (step - 1, step))
        found = []
        for group in self.optimizer.param_groups:
            rate, last = group["lr"], group["swa_lr"]
            first = last if before == 1 else (rate - before * last) / (1 - before)
            found.append(last * now + first * (1 - now))
        return found

    def _share(self, step):
        return _ANNEALING[self._anneal_strategy](max(0, min(1, step / max(1, self.anneal_epochs))))
