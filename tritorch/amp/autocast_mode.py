"""autocast: inside, products run in half precision, and what would lose digits or overflow in float32.

Which op does which is said by each op; see ops/autocast.py. Backward passes run each gradient in the dtype that
autocast chose for its op, as the casts are recorded; they need not stand inside.
"""

from __future__ import annotations

import functools
import threading
import warnings

from tritorch.autograd.grad_mode import expect_interceptors
from tritorch.autograd.grad_mode import state as graph
from tritorch.autograd.intercept import Interceptor
from tritorch.autograd.variable import Variable
from tritorch.ops.autocast import state as current
from tritorch.runtime import dtypes
from tritorch.runtime.cuda import driver
from tritorch.runtime.device import Device

_HALVES = (dtypes.bfloat16, dtypes.float16)


class _Settings(threading.local):
    """What is set for each device type in this thread."""

    def __init__(self):
        self.enabled = dict.fromkeys(("cpu", "cuda", "interpreter"), False)
        self.dtypes = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16, "interpreter": dtypes.float16}
        self.caches, self.nesting = True, 0


_settings = _Settings()


class _Caster(Interceptor):
    """Casts the arguments of ops that were not called by their public functions, which do it themselves."""

    transparent = True

    def intercept(self, cls, args):
        """The call with its arguments cast."""
        if current.active is not None and cls.autocast is not None:
            cast = cls.autocast.cast(args)
            args = args if cast is None else cast
        return cls.apply(*args)


_caster = _Caster()


def _update():
    """Make what is set what calls see; the caster stands outermost, so that a profiler sees what was called."""
    active = {kind: _settings.dtypes[kind] for kind, on in _settings.enabled.items() if on}
    current.active = active or None
    others = [each for each in graph.interceptors if each is not _caster]
    if active:
        expect_interceptors()
        others.insert(sum(each.outermost for each in others), _caster)
    graph.interceptors = tuple(others)


def _kind_of(device_type):
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    return Device(device_type).type


def is_autocast_available(device_type):
    """Whether autocast can be asked for on a device type."""
    return _kind_of(device_type) in _settings.enabled


def is_autocast_enabled(device_type="cuda"):
    """Whether autocast is on for a device type in this thread."""
    return _settings.enabled[_kind_of(device_type)]


def set_autocast_enabled(device_type, enabled=None):
    """Turn autocast on or off; with one argument for GPUs, as in old scripts."""
    if enabled is None:
        device_type, enabled = "cuda", device_type
    _settings.enabled[_kind_of(device_type)] = bool(enabled)
    _update()


def get_autocast_dtype(device_type):
    """The lower dtype of a device type: bfloat16 on CPUs and float16 on GPUs unless set otherwise."""
    return _settings.dtypes[_kind_of(device_type)]


def set_autocast_dtype(device_type, dtype):
    """Set the lower dtype of a device type."""
    _settings.dtypes[_kind_of(device_type)] = dtype
    _update()


def is_autocast_cache_enabled():
    """Whether a parameter that is used twice is cast once."""
    return _settings.caches


def set_autocast_cache_enabled(enabled):
    """Say whether a parameter that is used twice is cast once."""
    _settings.caches = bool(enabled)
    current.cache = {} if _settings.caches and _settings.nesting else None


def clear_autocast_cache():
    """Forget the casts of parameters."""
    if current.cache is not None:
        current.cache.clear()


def autocast_increment_nesting():
    """Count one more autocast around what follows; casts of parameters are kept from the first on."""
    _settings.nesting += 1
    if _settings.nesting == 1 and _settings.caches:
        current.cache = {}
    return _settings.nesting


def autocast_decrement_nesting():
    """Count one less; with the last one, casts of parameters are let go of."""
    _settings.nesting -= 1
    if _settings.nesting == 0:
        current.cache = None
    return _settings.nesting


class autocast:
    """Inside, or in a function it decorates, ops run in the dtype that suits them.

    device_type    "cuda", "cpu" or "interpreter", which does as "cuda" does; tensors elsewhere are left alone
    dtype          the lower dtype: float16 on GPUs, bfloat16 on CPUs unless given
    enabled        False leaves all alone, inside an enabled one too
    cache_enabled  whether a parameter used twice is cast once

    Source: Micikevicius et al., "Mixed Precision Training", 2018.
    """

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        self.device = _kind_of(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        self._enabled = enabled and self._is_possible()
        self._before = []

    def _is_possible(self):
        if self.device == "cuda" and not driver.is_available():
            warnings.warn("CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=3)
            return False
        if self.device == "cpu" and self.fast_dtype not in _HALVES:
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                "CPU Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=3,
            )
            return False
        if self.device == "cuda" and self.fast_dtype is dtypes.bfloat16 and driver.properties().capability < (8, 0):
            raise RuntimeError("Current CUDA Device does not support bfloat16. Please switch dtype to float16.")
        return True

    def __enter__(self):
        kind = self.device
        self._before.append((_settings.enabled[kind], _settings.dtypes[kind], _settings.caches))
        _settings.enabled[kind], _settings.dtypes[kind] = bool(self._enabled), self.fast_dtype
        if self._cache_enabled != _settings.caches:
            set_autocast_cache_enabled(self._cache_enabled)
        autocast_increment_nesting()
        _update()
        return self

    def __exit__(self, *_):
        enabled, dtype, caches = self._before.pop()
        _settings.enabled[self.device], _settings.dtypes[self.device] = enabled, dtype
        autocast_decrement_nesting()
        if caches != _settings.caches:
            set_autocast_cache_enabled(caches)
        _update()
        return False

    def __call__(self, function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        return call


def autocast_states():
    """What makes the autocast that stands around here again, elsewhere: a function for each device type."""
    return [
        functools.partial(autocast, kind, _settings.dtypes[kind], on, _settings.caches)
        for kind, on in _settings.enabled.items()
    ]


def _cast(value, device_type, dtype):
    """Floating-point tensors of a device in `dtype`, also in containers."""
    if isinstance(value, Variable):
        eligible = value.is_floating_point() and value.device.type == device_type and value.dtype is not dtypes.float64
        return value.to(dtype) if eligible else value
    if isinstance(value, dict):
        return {_cast(key, device_type, dtype): _cast(each, device_type, dtype) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(each, device_type, dtype) for each in value)
    return value


def custom_fwd(fwd=None, *, device_type, cast_inputs=None):
    """Decorates `forward` of a Function: with `cast_inputs`, tensors are cast to it and autocast is off inside."""
    device_type = _kind_of(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(*args, **kwargs):
        ctx = args[0]
        ctx._dtype = get_autocast_dtype(device_type)
        if cast_inputs is None:
            ctx._fwd_used_autocast = is_autocast_enabled(device_type)
            return fwd(*args, **kwargs)
        casts, ctx._fwd_used_autocast = is_autocast_enabled(device_type), False
        if not casts:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(*_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs))

    return forward


def custom_bwd(bwd=None, *, device_type):
    """Decorates `backward` of a Function: autocast is on inside if it was in `forward`."""
    device_type = _kind_of(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(*args, **kwargs):
        ctx = args[0]
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(*args, **kwargs)

    return backward
