"""Schedulers that go up and down: triangles, one cycle, and cosines that start again."""

from __future__ import annotations

import math

from tritorch.optim.lr_scheduler.base import (
    LRScheduler,
    checked_optimizer,
    one_per_group,
    saved_function,
    set_value,
)


class _MomentumCycle(LRScheduler):
    """What CyclicLR and OneCycleLR share: the momentum, or the first of two betas, goes against the rate."""

    def _start_momentum(self, optimizer, base_momentum, max_momentum, last_epoch):
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.use_beta1 = "betas" in optimizer.defaults
        lows = one_per_group("base_momentum", optimizer, base_momentum)
        highs = one_per_group("max_momentum", optimizer, max_momentum)
        if last_epoch == -1:
            for low, high, group in zip(lows, highs, optimizer.param_groups, strict=True):
                self._set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low
        return lows, highs

    def _set_momentum(self, group, momentum):
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


def _triangular(gamma, x):
    return 1.0


def _triangular2(gamma, x):
    return 1 / 2.0 ** (x - 1)


def _exp_range(gamma, x):
    return gamma**x


# how the height of a triangle is scaled, and whether by the number of the cycle or of the step
_SHAPES = {
    "triangular": (_triangular, "cycle"),
    "triangular2": (_triangular2, "cycle"),
    "exp_range": (_exp_range, "iterations"),
}


class CyclicLR(_MomentumCycle):
    """Straight up from `base_lr` to `max_lr` in `step_size_up` steps and down again, cycle after cycle.

    mode      "triangular": all cycles are equal; "triangular2": each is half as high as the one before;
              "exp_range": the height at step t is scaled by gamma^t.
    scale_fn  a function in the place of `mode`, of the cycle's number, or of the step's: `scale_mode` "iterations".
    The momentum goes the other way, between `base_momentum` and `max_momentum`, if `cycle_momentum`.
    Source: Smith, "Cyclical learning rates for training neural networks", 2017.
    """

    def __init__(self, optimizer, base_lr, max_lr, step_size_up=2000, step_size_down=None, mode="triangular", gamma=1.0,
                 scale_fn=None, scale_mode="cycle", cycle_momentum=True, base_momentum=0.8, max_momentum=0.9,
                 last_epoch=-1):  # fmt: skip
        self.optimizer = checked_optimizer(optimizer)
        base_lrs = one_per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for rate, group in zip(base_lrs, optimizer.param_groups, strict=True):
                set_value(group, "lr", rate)
        self.max_lrs = one_per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        if mode not in _SHAPES and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else _SHAPES[mode][1]
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._start_momentum(
                optimizer, base_momentum, max_momentum, last_epoch
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x):
        """The scale of the triangle number `x`, or at step `x`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return _SHAPES[self.mode][0](self.gamma, x)

    def get_lr(self):
        """The rates at this step of the cycle; writes the momenta, too."""
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            momenta = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in momenta:
                self._set_momentum(group, high - (high - low) * height * scale)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self):
        """All attributes but the optimizer; of `scale_fn`, only the attributes of an object that can be called."""
        own = self._scale_fn_custom
        return super().state_dict() | {"_scale_fn_custom": None if own is None else saved_function(own)}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict` gave; a `scale_fn` that is a plain function stays this scheduler's own."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "_scale_fn_custom"})
        if state_dict["_scale_fn_custom"] is not None:
            self._scale_fn_custom.__dict__.update(state_dict["_scale_fn_custom"])


class OneCycleLR(_MomentumCycle):
    """One cycle over the whole training: from max_lr / div_factor up to `max_lr`, then down to far below the start.

    total_steps      or, in its place, `epochs` times `steps_per_epoch`: how many steps there are.
    pct_start        the share of the steps that goes up.
    anneal_strategy  "cos" or "linear": how rates go from one value to the next.
    final_div_factor the last rate is the first one divided by it.
    three_phase      up, down to the start in as many steps, and then to the end.
    The momentum goes the other way if `cycle_momentum`.
    Source: Smith, Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2019.
    """

    def __init__(self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3,
                 anneal_strategy="cos", cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0,
                 final_div_factor=1e4, three_phase=False, last_epoch=-1):  # fmt: skip
        self.optimizer = checked_optimizer(optimizer)
        self.total_steps = _counted_steps(total_steps, epochs, steps_per_epoch)
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, float):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in _ANNEALING:
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_func_type = anneal_strategy
        highs = one_per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for high, group in zip(highs, optimizer.param_groups, strict=True):
                group["initial_lr"] = high / div_factor
                group["max_lr"] = high
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(optimizer, base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        """The rates at this step of the cycle; writes the momenta, too."""
        self._warn_outside_step()
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"Tried to step {self.last_epoch} times. The specified number of total steps is {self.total_steps}"
            )
        start = 0.0
        for phase in self._schedule_phases:
            if self.last_epoch <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        share = (self.last_epoch - start) / (phase["end_step"] - start)
        between = _ANNEALING[self._anneal_func_type]
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, between(*ends, share))
        return [between(g[phase["start_lr"]], g[phase["end_lr"]], share) for g in self.optimizer.param_groups]


def _counted_steps(total_steps, epochs, steps_per_epoch):
    if total_steps is not None:
        return _positive("total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
    return _positive("epochs", epochs) * _positive("steps_per_epoch", steps_per_epoch)


def _positive(name, value):
    if value <= 0 or not isinstance(value, int):
        raise ValueError(f"Expected positive integer {name}, but got {value}")
    return value


def _phases(total, share, three):
    """The phases of a cycle: where each ends, and the group's entries that rate and momentum go from and to."""
    up = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
    ends = [(float(share * total) - 1, up)]
    if three:
        ends.append((float(2 * share * total) - 2, ("max_lr", "initial_lr", "base_momentum", "max_momentum")))
        ends.append((total - 1, ("initial_lr", "min_lr", "max_momentum", "max_momentum")))
    else:
        ends.append((total - 1, ("max_lr", "min_lr", "base_momentum", "max_momentum")))
    names = "start_lr", "end_lr", "start_momentum", "end_momentum"
    return [{"end_step": end} | dict(zip(names, entries, strict=True)) for end, entries in ends]


def _along_cosine(start, end, share):
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _along_line(start, end, share):
    return (end - start) * share + start


_ANNEALING = {"cos": _along_cosine, "linear": _along_line}


class CosineAnnealingWarmRestarts(LRScheduler):
    """eta_min + (lr_0 - eta_min) (1 + cos(pi T_cur / T_i)) / 2, with T_cur epochs since the last of the restarts.

    The first restart comes after T_i = `T_0` epochs, and each time is `T_mult` times as long as the one before.
    Source: Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        _positive("T_0", T_0)
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0, self.T_i, self.T_mult = T_0, T_0, T_mult
        self.eta_min = eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        """The rates, this far down the cosine."""
        self._warn_outside_step()
        low, height = self.eta_min, 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [low + (base - low) * height / 2 for base in self.base_lrs]

    def step(self, epoch=None):
        """Go on by one epoch, or to `epoch`, which may be a fraction: batch after batch within an epoch."""
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            self._find_place(epoch)
        super()._update_lr(math.floor(epoch))

    def _find_place(self, epoch):
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            restarts = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**restarts - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**restarts
