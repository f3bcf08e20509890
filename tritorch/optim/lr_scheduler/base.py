"""LRScheduler: counts epochs and writes the rates that `get_lr` gives into the optimizer's groups."""

from __future__ import annotations

import contextlib
import functools
import types
import warnings
import weakref

from tritorch.optim.optimizer import Optimizer
from tritorch.tensor import Tensor

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler. During the deprecation, if epoch is different from None, the closed "
    "form is used instead of the new chainable form, where available. Please open an issue if you are unable to "
    "replicate your use case: https://github.com/pytorch/pytorch/issues/new/choose."
)
_HOW_TO = "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"


class LRScheduler:
    """Base of the schedulers. A member gives `get_lr()`, the rates of the groups at epoch `last_epoch`.

    A scheduler whose rates follow from the epoch alone can also give `_get_closed_form_lr()`, which `step(epoch)` uses.
    Making one keeps each group's rate as its "initial_lr" and takes the first step, to epoch 0; with `last_epoch` given
    it goes on from there, and the groups must have an "initial_lr" already.
    """

    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer, last_epoch=-1):
        self.optimizer = checked_optimizer(optimizer)
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{number}] when resuming scheduler with "
                    "last_epoch >= 0.\nThis typically happens when:\n1. You're trying to resume training from a "
                    "checkpoint but haven't properly loaded the optimizer state\n2. You're using last_epoch >= 0 for a "
                    "fresh training run (not recommended)"
                )
        self.base_lrs = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _notice_steps(optimizer)
        self._initial_step()

    def _initial_step(self):
        self._step_count = 0
        with _flag(self, "_is_initial"):
            self.step()

    def state_dict(self):
        """All attributes but the optimizer."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self):
        """The rates that the last step set, one for each group."""
        return self._last_lr

    def get_lr(self):
        """The rates for epoch `last_epoch`, one for each group."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    def step(self, epoch=None):
        """Go on to the next epoch, after the optimizer's step, or to `epoch`, as PyTorch still allows."""
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self):
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            trouble = (
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. "
                "Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`. "
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            trouble = (
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later, you "
                "should call them in the opposite order: `optimizer.step()` before `lr_scheduler.step()`.  Failure to "
                "do this will result in PyTorch skipping the first value of the learning rate schedule. "
            )
        else:
            return
        warnings.warn(trouble + "See more details at " + _HOW_TO, UserWarning, stacklevel=3)

    def _update_lr(self, epoch=None):
        with _flag(self, "_get_lr_called_within_step"):
            self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
            closed = epoch is not None and hasattr(self, "_get_closed_form_lr")
            rates = self._get_closed_form_lr() if closed else self.get_lr()
        self._set_rates(rates)

    def _set_rates(self, rates):
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_value(group, "lr", rate)
        self._last_lr = group_values(self.optimizer, "lr")

    def _warn_outside_step(self):
        """Warn that `get_lr` is for `step` alone: called by a script it may go one step further."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )


@contextlib.contextmanager
def _flag(scheduler, name):
    setattr(scheduler, name, True)
    try:
        yield
    finally:
        setattr(scheduler, name, False)


def _notice_steps(optimizer):
    """Have the optimizer remember, in `_opt_called`, that it took a step: schedulers warn where it took none."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    owner, function = weakref.ref(optimizer), optimizer.step.__func__  # the optimizer must not hold itself

    @functools.wraps(function)
    def step(*args, **kwargs):
        own = owner()
        own._opt_called = True
        return function(own, *args, **kwargs)

    step._wrapped_by_lr_sched = True
    optimizer.step = step


def checked_optimizer(optimizer):
    """The optimizer, if it is one."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
    return optimizer


def copied(value):
    """A value of a group, as it is now: tensors are written in place later."""
    return value.clone() if isinstance(value, Tensor) else value


def group_values(optimizer, name):
    """What every group has under `name`, as it is now."""
    return [copied(group[name]) for group in optimizer.param_groups]


def set_value(group, name, value):
    """Write a value into a group; a tensor there stays the same tensor."""
    if isinstance(group[name], Tensor):
        group[name].fill_(float(value))
    else:
        group[name] = value


def one_per_group(name, optimizer, value):
    """`value` as a list with one entry for each group."""
    if not isinstance(value, (list, tuple)):
        value = [value] * len(optimizer.param_groups)
    if len(value) != len(optimizer.param_groups):
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
            f"param_groups has {len(optimizer.param_groups)}."
        )
    return [copied(each) for each in value]


def saved_function(function):
    """What a checkpoint keeps of a function: the attributes of an object that can be called, else nothing."""
    return None if isinstance(function, types.FunctionType) else function.__dict__.copy()
