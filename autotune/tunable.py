"""A kernel with a space, a default config by formula, and a key: what its launches ask a config by."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from tritorch.autotune.device import DeviceInfo, device_info
from tritorch.autotune.key import POLICIES, Key, Size, array_text, bucket, fact_text, source_hash
from tritorch.autotune.space import Space
from tritorch.runtime import plans
from tritorch.runtime.kernel import Kernel, is_recording

KERNELS: dict[str, TunableKernel] = {}  # every kernel with a space, by its module and name
_MOST_CONFIGS = 4096  # launches remembered a kernel; sizes that never come back must not fill memory


class Asked(NamedTuple):
    """A config that was asked for: by which kernel, under which key, and what was answered."""

    kernel: TunableKernel
    key: Key
    device: DeviceInfo
    known: dict  # sizes and facts by name
    config: dict


class TunableKernel(Kernel):
    """A kernel whose launches ask for a config: `kernel.config(arrays, name=value, ...)`.

    The names are those of the default's sizes and of `key`, which names what else compiled code depends on (formulas,
    switches, ranks). `arrays` is a tuple of all arrays of the launch, None where one is absent. Integers count by
    bucket, and what else there is as it is. The first array is never None. `settings` are those of Kernel.
    """

    exact: frozenset[str] = frozenset()  # names whose integers count as they are

    def __init__(self, fn, space, default, key=(), **settings):
        super().__init__(fn, **settings)
        self.space, self.default = space, default
        parameters = list(inspect.signature(default).parameters.values())[1:]
        self.sizes = {each.name: each.default for each in parameters if each.kind is not each.VAR_KEYWORD}
        self.facts = tuple(key)
        self._found: dict = {}  # (device, arrays, values of sizes and facts) -> config
        self._arrays = 1  # how many a launch has, most recently
        self.config = _generate(self)
        KERNELS[self.kernel_name] = self

    @property
    def kernel_name(self):
        """Its module and name."""
        return f"{self.__module__}.{self.__qualname__}"

    def config_for(self, device, **sizes):
        """The config by formula for a launch on a device described by `device`."""
        return self.default(device, **sizes)

    def key_for(self, arrays, known, policy=POLICIES[0]):
        """The Key of a launch: `known` are its sizes and facts by name."""
        sizes = {name: value for name, value in known.items() if type(value) is int and name not in self.exact}
        pretended = _state.device is not None and _state.device.kind == "cuda"
        return Key(
            kernel=self.kernel_name,
            source=source_hash(self),
            arrays=tuple(array_text(each, pretended) for each in arrays),
            facts=tuple((name, fact_text(name, value)) for name, value in known.items() if name not in sizes),
            sizes=tuple(Size(name, *bucket(value)) for name, value in sizes.items()),
            policy=policy,
        )

    def forget_configs(self):
        """Ask anew at the next launch, since what answers has changed."""
        self._found.clear()
        plans.invalidate()

    def _missed(self, arrays, values):
        """The config of a launch on the host, or of one on a GPU that was not seen before."""
        on_host = isinstance(arrays[0], np.ndarray)
        kinds = [getattr(each, "dtype", None) if on_host else array_kind(each) for each in arrays]
        seen = (*kinds, *values) if on_host else (arrays[0].device, *kinds, *values)
        found = self._found.get(seen)
        if found is None:
            if not on_host and len(arrays) != self._arrays:
                self._expect(len(arrays))
            found = self._look_up(arrays, values)
            if len(self._found) >= _MOST_CONFIGS:
                self._found.clear()
            if _state.asked is None:  # else every launch is to ask
                self._found[seen] = found
        return found

    def _expect(self, count):
        """Let `config` be fast for launches of `count` arrays; it stays the same function, for those who hold it."""
        self._arrays, again = count, {}
        exec(_config_text(self, count), self.config.__globals__, again)
        self.config.__code__ = again["config"].__code__

    def _look_up(self, arrays, values):
        known = dict(zip((*self.sizes, *self.facts), values, strict=True))
        device = device_of(arrays[0])
        from tritorch.autotune import lookup  # which reads files: not when tritorch is imported

        answer = _state.answer or lookup.answer
        if answer is lookup.answer and not (_state.overrides or _state.asked is not None or lookup.expects(device)):
            return by_formula(self, None, device, known)  # making a key takes milliseconds where nobody looks at it
        key = self.key_for(arrays, known)
        config = _state.overrides.get((self, key))
        if config is None:
            config = answer(self, key, device, known)
        if _state.asked is not None:
            _state.asked.append(Asked(self, key, device, known, config))
        return config


def array_kind(array):
    """A number for the dtype of a device array and its alignment, as the generated `config` computes it."""
    return array is not None and array.code * 2 + (not array.pointer & 15)


def by_formula(kernel, key, device, known):
    """The config that the kernel's default gives: the last answer, where no other is known."""
    return kernel.default(device, **{name: known[name] for name in kernel.sizes})


def device_of(array):
    """The DeviceInfo that launches of `array` ask a config for: its own, or the one that a tool pretends."""
    return _state.device or device_info(array)


class _State:
    """What answers a launch that asks for a config in this process."""

    def __init__(self):
        self.device: DeviceInfo | None = None  # in the place of the arrays' own
        self.overrides: dict = {}  # (kernel, key) -> config
        self.asked: list | None = None
        self.answer: Callable | None = None  # (kernel, key, device, known) -> config; None for lookup.answer


_state = _State()


def set_answer(answer):
    """Let `answer(kernel, key, device, known)` say which config launches get, for None what lookup.py finds.

    Gives what was set before.
    """
    before, _state.answer = _state.answer, answer
    forget_all_configs()
    return before


def is_overridden(kernel, key):
    """Whether a `using` block says which config launches of `kernel` under `key` get."""
    return (kernel, key) in _state.overrides


def is_observed():
    """Whether launches are made for a tool: with configs that it chose, as for another device, or to be noted."""
    return bool(_state.overrides or _state.device is not None or _state.asked is not None or is_recording())


def forget_all_configs():
    """Let every launch ask anew."""
    for kernel in KERNELS.values():
        kernel.forget_configs()


@contextmanager
def _changed(**values):
    before = {name: getattr(_state, name) for name in values}
    vars(_state).update(values)
    forget_all_configs()
    try:
        yield
    finally:
        vars(_state).update(before)
        forget_all_configs()


def using(kernel, key, config):
    """A context in which launches of `kernel` under `key` get `config`, whatever else is known."""
    return _changed(overrides={**_state.overrides, (kernel, key): config})


def pretending(device):
    """A context in which configs are chosen for the GPU that a DeviceInfo describes, wherever arrays lie."""
    return _changed(device=device)


@contextmanager
def noting_configs():
    """A context that gives a list to which every config that is asked for is appended, as an Asked."""
    asked: list[Asked] = []
    with _changed(asked=asked), plans.forbidden():
        yield asked


def _generate(kernel):
    """The function `config`: from arrays, sizes and facts to a config that was found before, in under a microsecond."""
    defaults = {name: value for name, value in kernel.sizes.items() if value is not inspect.Parameter.empty}
    names = {f"_default_{name}": value for name, value in defaults.items()}
    names |= {"_found": kernel._found, "_miss": kernel._missed}
    exec(_config_text(kernel, 1), names)
    return names["config"]


def _config_text(kernel, count):
    """The text of `config`, which is fast for launches of `count` arrays and right for others."""
    every = (*kernel.sizes, *kernel.facts)
    optional = {name for name, value in kernel.sizes.items() if value is not inspect.Parameter.empty}
    takes = ", ".join(f"{name}=_default_{name}" if name in optional else name for name in every)
    arrays = [f"_a{at}" for at in range(count)]
    kinds = "".join(f"{each} is not None and {each}.code * 2 + (not {each}.pointer & 15), " for each in arrays)
    values = "".join(f"{name}, " for name in every)
    return (
        f"def config(_arrays{', *, ' if every else ''}{takes}):\n"
        f"    try:\n"
        f"        {', '.join(arrays)}, = _arrays\n"
        f"        return _found[_a0.device, {kinds}{values}]\n"
        f"    except (AttributeError, KeyError, ValueError):\n"
        f"        pass\n"
        f"    return _miss(_arrays, ({values}))\n"
    )


def kernel(
    fn=None,
    *,
    space=None,
    default=None,
    key=(),
    do_not_specialize=(),
    do_not_specialize_on_alignment=(),
    **tuning,
):
    """Make a Triton kernel of a function. With a space, `default(device, **sizes)` must give one config of it.

    `key` names what else, beside the default's sizes and the arrays' dtypes, decides which config can run and is best.
    With `reference=`, `inputs=` and `grid=`, which say how it is tuned, the kernel asks for its config itself, see
    `user_kernel.SelfTuned`; the default may be left out then and is that of each knob.

    Numbers that change from launch to launch, such as a step, a seed or an offset, are named in `do_not_specialize`:
    else 1, the multiples of 16 and all others are compiled for each by itself. Name no stride, and no size that
    addresses are computed from: what is known to be divisible by 16 is what lets memory be read 16 bytes at a time.
    """
    if fn is not None:
        return Kernel(fn)
    settings = {
        "do_not_specialize": do_not_specialize,
        "do_not_specialize_on_alignment": do_not_specialize_on_alignment,
    }
    if space is None:
        if tuning:
            raise TypeError(f"kernel(): {', '.join(f'{name}=' for name in tuning)} without space= has no meaning")
        return partial(Kernel, **settings)
    space = space if isinstance(space, Space) else Space(**space)
    if tuning:
        from tritorch.autotune.user_kernel import SelfTuned

        return lambda function: SelfTuned(function, space, default, key, **tuning, **settings)
    if default is None:
        raise TypeError(
            "kernel(): a kernel with a space needs default=, a config by formula: nothing must be tuned to run. Only "
            "where reference= and inputs= say how it is tuned may it be left out"
        )
    return lambda function: TunableKernel(function, space, default, key, **settings)
