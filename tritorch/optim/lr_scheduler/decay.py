"""Schedulers that multiply the rates, step by step, and know the product in closed form."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter

from tritorch.optim.lr_scheduler.base import LRScheduler, group_values, saved_function


class _Factor(LRScheduler):
    """A scheduler that is two formulas: the factor of one step, and, where it has one, of all steps so far.

    `_change()` is what the rates are multiplied by on the way to epoch `last_epoch`, 1 where they stay: others may have
    changed them, so such schedulers can be chained. `_share()` is what the initial rates are multiplied by.
    """

    def get_lr(self):
        """The rates of the groups, times the factor of this step."""
        self._warn_outside_step()
        factor = self._change()
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class _ClosedFactor(_Factor):
    def _get_closed_form_lr(self):
        share = self._share()
        return [rate * share for rate in self.base_lrs]


class StepLR(_ClosedFactor):
    """Multiply the rates by `gamma` every `step_size` epochs: lr_0 gamma^floor(epoch / step_size)."""

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _change(self):
        return 1 if self.last_epoch == 0 or self.last_epoch % self.step_size else self.gamma

    def _share(self):
        return self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(_ClosedFactor):
    """Multiply the rates by `gamma` at each of the epochs `milestones`, as often as it stands there."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _change(self):
        times = self.milestones.get(self.last_epoch, 0)
        return self.gamma**times if times else 1

    def _share(self):
        return self.gamma ** bisect_right(sorted(self.milestones.elements()), self.last_epoch)


class ConstantLR(_ClosedFactor):
    """The rates times `factor` until epoch `total_iters`, then as they are."""

    def __init__(self, optimizer, factor=1.0 / 3, total_iters=5, last_epoch=-1):
        if not 0 <= factor <= 1:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _change(self):
        if self.last_epoch == 0:
            return self.factor
        return 1.0 / self.factor if self.last_epoch == self.total_iters else 1

    def _share(self):
        return self.factor + (self.last_epoch >= self.total_iters) * (1 - self.factor)


class LinearLR(_ClosedFactor):
    """The rates times a factor that goes evenly from `start_factor` to `end_factor` in `total_iters` epochs."""

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if not 0 < start_factor <= 1:
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if not 0 <= end_factor <= 1:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _change(self):
        if self.last_epoch == 0:
            return self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1
        rise = self.end_factor - self.start_factor
        return 1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)

    def _share(self):
        rise = self.end_factor - self.start_factor
        return self.start_factor + rise * min(self.total_iters, self.last_epoch) / self.total_iters


class ExponentialLR(_ClosedFactor):
    """Multiply the rates by `gamma` every epoch: lr_0 gamma^epoch."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _change(self):
        return 1 if self._is_initial else self.gamma

    def _share(self):
        return self.gamma**self.last_epoch


class PolynomialLR(_ClosedFactor):
    """lr_0 (1 - epoch / total_iters)^power, which is 0 from epoch `total_iters` on."""

    def __init__(self, optimizer, total_iters=5, power=1.0, last_epoch=-1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _change(self):
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1
        here, before = (1.0 - epoch / self.total_iters for epoch in (self.last_epoch, self.last_epoch - 1))
        return (here / before) ** self.power

    def _share(self):
        return (1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """eta_min + (lr_0 - eta_min) (1 + cos(pi epoch / T_max)) / 2: half a cosine down in `T_max` epochs, then up again.

    Computed step by step from the rates as they are, so that it can be chained. Source: Loshchilov, Hutter, "SGDR:
    stochastic gradient descent with warm restarts", 2017, without the restarts.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        """The rates of the groups, their distance from `eta_min` scaled by the ratio of two cosines."""
        self._warn_outside_step()
        if self._is_initial:
            return group_values(self.optimizer, "lr")
        if self._step_count == 1 and self.last_epoch > 0:
            return self._get_closed_form_lr()
        rates, low = [group["lr"] for group in self.optimizer.param_groups], self.eta_min
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # up from the bottom, where the ratio is 0 / 0
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [rate + (base - low) * rise for base, rate in zip(self.base_lrs, rates, strict=True)]
        ratio = self._height(self.last_epoch) / self._height(self.last_epoch - 1)
        return [ratio * (rate - low) + low for rate in rates]

    def _height(self, epoch):
        return 1 + math.cos(math.pi * epoch / self.T_max)

    def _get_closed_form_lr(self):
        low = self.eta_min
        return [low + (base - low) * self._height(self.last_epoch) / 2 for base in self.base_lrs]


class _Lambdas(LRScheduler):
    """A scheduler with a function of the epoch, or one for each group, in `lr_lambdas`."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        self.optimizer = optimizer
        count = len(optimizer.param_groups)
        lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * count
        if len(lambdas) != count:
            raise ValueError(f"Expected {count} lr_lambdas, but got {len(lambdas)}")
        self.lr_lambdas = lambdas
        super().__init__(optimizer, last_epoch)

    def state_dict(self):
        """All attributes but the optimizer; of the functions, only the attributes of objects that can be called."""
        return super().state_dict() | {"lr_lambdas": [saved_function(each) for each in self.lr_lambdas]}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict` gave; plain functions stay those that this scheduler was made with."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "lr_lambdas"})
        for own, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if attributes is not None:
                own.__dict__.update(attributes)


class LambdaLR(_Lambdas):
    """lr_0 lr_lambda(epoch), with one function of the epoch or a list with one for each group."""

    def get_lr(self):
        """The initial rates, each times its function of the epoch."""
        self._warn_outside_step()
        return [base * each(self.last_epoch) for each, base in zip(self.lr_lambdas, self.base_lrs, strict=True)]


class MultiplicativeLR(_Lambdas):
    """Multiply the rates by lr_lambda(epoch) every epoch but the first."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        for each in lr_lambda if isinstance(lr_lambda, (list, tuple)) else [lr_lambda]:
            if not callable(each):
                raise TypeError(f"lr_lambda should be a function, but got {type(each).__name__}")
        super().__init__(optimizer, lr_lambda, last_epoch)

    def get_lr(self):
        """The rates of the groups, each times its function of the epoch."""
        self._warn_outside_step()
        rates = group_values(self.optimizer, "lr")
        if self._is_initial:
            return rates
        return [rate * each(self.last_epoch) for each, rate in zip(self.lr_lambdas, rates, strict=True)]
