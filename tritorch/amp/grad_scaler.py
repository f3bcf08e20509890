"""GradScaler: the loss is scaled up so that half-precision gradients do not vanish, and gradients are scaled back.

Where a gradient overflows, the step is skipped and the scale made smaller; after enough good steps it grows. All of it
is decided on the device: nobody waits, but where somebody asks for the scale, or for the step of an optimizer that
cannot skip one by itself. Source: Micikevicius et al., "Mixed Precision Training", 2018.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum

from tritorch import creation
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.inplace import bump
from tritorch.ops.base import TABLE
from tritorch.ops.optimizer.gradients import alike
from tritorch.runtime import dtypes
from tritorch.runtime.cuda import driver
from tritorch.runtime.device import CPU
from tritorch.tensor import Tensor

Unscale, AdjustScale = TABLE["unscale"], TABLE["adjust_scale"]


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
        self._scale = self._growth_tracker = None  # tensors on the device of the first loss, once it was scaled
        self._per_optimizer_states = defaultdict(_fresh)

    def _start(self, device):
        if self._scale is None:
            self._scale = creation.full((), self._init_scale, dtype=dtypes.float32, device=device)
            self._growth_tracker = creation.full((), self._init_growth_tracker, dtype=dtypes.int32, device=device)

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
            self._start(outputs.device)
            return outputs * self._scale.to(outputs.device)
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
        found: dict = {}
        for (device, _), some in alike(gradients).items():
            if device not in found:
                found[device] = creation.zeros(1, device=device, dtype=dtypes.float32)
            Unscale.apply(self._scale.to(device), found[device], *some)
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
        result = self._unless_found(optimizer, state["found_inf_per_device"], args, kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def _unless_found(self, optimizer, found, args, kwargs):
        """The optimizer's step: on a GPU it runs, and where a gradient was not finite it changes nothing.

        A parameter of the CPU has its steps counted by the host, which has to know of them.
        """
        if CPU in found or not getattr(optimizer, "can_skip", False):
            bad = any(each.item() for each in found.values())
            return None if bad else optimizer.step(*args, **kwargs)
        if len(found) > 1:
            first, *others = found.values()
            for each in others:
                first = first + each.to(first.device)
            found = {device: first.to(device) for device in found}
        optimizer.found_inf = found
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            optimizer.found_inf = None

    def update(self, new_scale=None):
        """Make the scale what the gradients since the last call ask for, or `new_scale`, a number or one element."""
        if not self._enabled:
            return
        self._need_scale("update")
        if new_scale is not None:
            _set(self._scale, new_scale)
        else:
            states = self._per_optimizer_states.values()
            found = [each for state in states for each in state["found_inf_per_device"].values()]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            AdjustScale.apply(
                self._growth_factor, self._backoff_factor, self._growth_interval, self._scale, self._growth_tracker,
                *[each.to(self._scale.device) for each in found],
            )  # fmt: skip
            bump(self._scale)
        self._per_optimizer_states = defaultdict(_fresh)

    # -------------------------------------------------------------------------------------------- settings and state

    def get_scale(self):
        """The scale as a number, for which a GPU has to be waited for; 1 if not enabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

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
        return self._init_growth_tracker if self._growth_tracker is None else self._growth_tracker.item()

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
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)
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


def _set(scale, value):
    """Write a new scale, a number or a tensor of one element, over the scale."""
    if isinstance(value, float):
        scale.fill_(value)
        return
    if not hasattr(value, "device"):
        raise AttributeError(f"{type(value).__name__!r} object has no attribute 'device'")
    if value.numel() != 1 or value.requires_grad or value.dtype is not dtypes.float32:
        raise AssertionError(
            "new_scale should be a float or a 1-element torch.cuda.FloatTensor or torch.FloatTensor with "
            "requires_grad=False."
        )
    scale.copy_(value.reshape(()))
