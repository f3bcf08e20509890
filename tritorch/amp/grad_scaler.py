"""GradScaler: the loss is scaled up so that half-precision gradients do not vanish, and gradients are scaled back.

Where a gradient overflows, the step is skipped and the scale made smaller; after enough good steps it grows. Source:
Micikevicius et al., "Mixed Precision Training", 2018.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum

import numpy as np

from tritorch import creation
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.inplace import bump
from tritorch.ops.base import TABLE
from tritorch.ops.optimizer.gradients import alike
from tritorch.runtime import dtypes
from tritorch.runtime.cuda import driver
from tritorch.tensor import Tensor

Unscale = TABLE["unscale"]


class OptState(Enum):
    """Where an optimizer is between two calls of `update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _fresh():
    return {"stage": OptState.READY, "found_inf_per_device": {}}


class GradScaler:
    """Scales losses by `init_scale`, which shrinks by `backoff_factor` when a gradient is not finite.

    It grows by `growth_factor` after `growth_interval` steps in a row in which all were. With `enabled=False` nothing
    is scaled, and `step` is the optimizer's.
    """

    def __init__(
        self,
        device="cuda",
        init_scale=2.0**16,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
        enabled=True,
    ):
        self._device, self._enabled = device, enabled
        if enabled and device == "cuda" and not driver.is_available():
            warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2)
            self._enabled = False
        if not self._enabled:
            return
        if not growth_factor > 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if not backoff_factor < 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale, self._init_growth_tracker = init_scale, 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._scale = None  # a number once the first loss was scaled
        self._growth_tracker = None
        self._per_optimizer_states = defaultdict(_fresh)

    def _start(self):
        if self._scale is None:
            self._scale, self._growth_tracker = float(np.float32(self._init_scale)), self._init_growth_tracker

    def _need_scale(self, name):
        if self._scale is None:
            raise AssertionError(
                f"Attempted {name} but _scale is None.  This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )

    # -------------------------------------------------------------------------------------------- a step

    def scale(self, outputs):
        """A tensor, or all tensors in nested lists and tuples, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            self._start()
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(map(self.scale, outputs))
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer):
        """Divide the gradients of an optimizer by the scale, so that they can be clipped before its `step`."""
        if not self._enabled:
            return
        self._need_scale("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        state["found_inf_per_device"] = self._unscale(optimizer)
        state["stage"] = OptState.UNSCALED

    @no_grad()
    def _unscale(self, optimizer):
        """One launch for the gradients of each device and dtype; gives for each device whether one is not finite."""
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        gradients = [each.grad for each in parameters if each.grad is not None]
        if any(each.dtype is dtypes.float16 for each in gradients):
            raise ValueError("Attempting to unscale FP16 gradients.")
        inverse, found = float(np.float32(1.0 / self._scale)), {}
        for (device, _), some in alike(gradients).items():
            if device not in found:
                found[device] = creation.zeros(1, device=device, dtype=dtypes.float32)
            Unscale.apply(inverse, found[device], *some)
            for each in some:
                bump(each)
        return found

    def step(self, optimizer, *args, **kwargs):
        """Unscale the gradients, if that was not done, and take the optimizer's step if all of them are finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._need_scale("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        if not state["found_inf_per_device"]:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        bad = any(found.item() for found in state["found_inf_per_device"].values())
        result = None if bad else optimizer.step(*args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def update(self, new_scale=None):
        """Make the scale what the gradients since the last call ask for, or `new_scale`, a number or one element."""
        if not self._enabled:
            return
        self._need_scale("update")
        if new_scale is not None:
            self._scale = _as_scale(new_scale)
        else:
            states = self._per_optimizer_states.values()
            found = [each for state in states for each in state["found_inf_per_device"].values()]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            self._adjust(any(each.item() for each in found))
        self._per_optimizer_states = defaultdict(_fresh)

    def _adjust(self, bad):
        if bad:
            self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
            return
        self._growth_tracker += 1
        if self._growth_tracker == self._growth_interval:
            grown = self._scale * self._growth_factor
            self._growth_tracker = 0
            if grown <= np.finfo(np.float32).max:
                self._scale = grown

    # -------------------------------------------------------------------------------------------- settings and state

    def get_scale(self):
        """The scale as a number; 1 if not enabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale

    def get_growth_factor(self):
        """What the scale is multiplied by after enough good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor):
        """Set what the scale is multiplied by after enough good steps."""
        self._growth_factor = new_factor

    def get_backoff_factor(self):
        """What the scale is multiplied by when a gradient is not finite."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor):
        """Set what the scale is multiplied by when a gradient is not finite."""
        self._backoff_factor = new_factor

    def get_growth_interval(self):
        """After how many good steps in a row the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval):
        """Set after how many good steps in a row the scale grows."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self):
        if not self._enabled:
            return 0
        return self._init_growth_tracker if self._growth_tracker is None else self._growth_tracker

    def is_enabled(self):
        """Whether anything is scaled."""
        return self._enabled

    def state_dict(self):
        """Scale, factors and the count of good steps; empty if not enabled. Take it after `update`."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict):
        """Go on from what `state_dict` gave."""
        if not self._enabled:
            return
        if len(state_dict) == 0:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._init_scale, self._init_growth_tracker = state_dict["scale"], state_dict["_growth_tracker"]
        if self._scale is not None:
            self._scale, self._growth_tracker = float(self._init_scale), self._init_growth_tracker
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]

    def __getstate__(self):
        state = self.__dict__.copy()
        if self._enabled:
            if len(self._per_optimizer_states) != 0:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                    "scaler.update()."
                )
            state["_init_scale"], state["_init_growth_tracker"] = self.get_scale(), self._get_growth_tracker()
            state["_scale"] = state["_growth_tracker"] = None
        return state


def _as_scale(value):
    if isinstance(value, float):
        return value
    if not hasattr(value, "device"):
        raise AttributeError(f"{type(value).__name__!r} object has no attribute 'device'")
    if value.numel() != 1 or value.requires_grad or value.dtype is not dtypes.float32:
        raise AssertionError(
            "new_scale should be a float or a 1-element torch.cuda.FloatTensor or torch.FloatTensor with "
            "requires_grad=False."
        )
    return value.item()
