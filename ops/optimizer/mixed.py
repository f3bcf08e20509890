"""Steps of mixed precision: skipped on the device where gradients overflowed, counted there, and of wider weights.

Each step of an optimizer has one beside it, `Step.mixed`, made here. It takes three more options:

- `master`: after the states comes a list of float32 copies of the parameters. The step is theirs, and the parameters
  get them rounded, in the same launch.
- `counted`: the first so many tensors are the scalars, such as the count of steps, that the formula's numbers depend
  on. They are on the device; a launch of one program advances them and works the numbers out by `Step.counted`.
- `found`, (1,) or None: where it is not 0, neither parameters nor states nor scalars change.
"""

from __future__ import annotations

import inspect

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.layout import empty_like
from tritorch.ops.optimizer.family import MOST_NUMBERS, Step
from tritorch.ops.optimizer.tables import Lists
from tritorch.runtime import dtypes, tl, transfer

MOST_RATES = 6  # numbers that a formula of the device takes


@kernel
def _advance(
    scalars,  # each (): what the steps so far have come to
    given,  # the numbers of the step: (MOST_NUMBERS,), or None where they depend on no scalar
    found,  # not 0 where nothing is to be done: (1,), or None
    rate0: tl.float64,
    rate1: tl.float64,
    rate2: tl.float64,
    rate3: tl.float64,
    rate4: tl.float64,
    rate5: tl.float64,
    FORMULA: tl.constexpr,
    SCALARS: tl.constexpr,
    RATES: tl.constexpr,
    NUMBERS: tl.constexpr,
):
    rates = (rate0, rate1, rate2, rate3, rate4, rate5)
    arguments = ()
    for i in tl.static_range(SCALARS):
        arguments = arguments + (tl.load(scalars[i]).to(tl.float64),)  # type: ignore  # noqa: RUF005
    for i in tl.static_range(RATES):
        arguments = arguments + (rates[i],)  # type: ignore  # noqa: RUF005
    results = FORMULA(*arguments)
    good = True if found is None else tl.load(found) == 0
    for i in tl.static_range(SCALARS):
        tl.store(scalars[i], results[i].to(scalars[i].dtype.element_ty), mask=good)
    for i in tl.static_range(NUMBERS):
        tl.store(given + i, results[SCALARS + i])


class Call:
    """The arguments of a call, apart."""

    def __init__(self, cls, args):
        own = len(cls.inner.names)
        self.options, (self.master, counted, self.found) = args[:own], args[own : own + 3]
        self.scalars, tensors = args[own + 3 : own + 3 + counted], args[own + 3 + counted :]
        self.plan = cls.inner.counted_plan(*self.options) if counted else cls.inner.plan(*self.options)
        kinds = 2 + sum(self.plan.present) + bool(self.master)
        size = len(tensors) // kinds
        self.lists = [tensors[at * size : (at + 1) * size] for at in range(kinds)]

    @property
    def skipped(self):
        """Whether nothing is to be done, for arrays of the host."""
        return self.found is not None and self.found.reshape(-1)[0] != 0

    @property
    def written(self):
        """All that is written, list by list."""
        return (*self.scalars, *[each for at, group in enumerate(self.lists) if at != 1 for each in group])


class Mixed(Step, abstract=True):
    """See the module's text; `inner` is the step that this is."""

    inner: type[Step]

    @classmethod
    def register(cls):
        """Make the reference of the inner step's."""
        options = list(inspect.signature(cls.inner.reference).parameters.values())[:-1]
        more = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("master", "counted", "found")
        ]
        tensors = inspect.Parameter("tensors", inspect.Parameter.VAR_POSITIONAL)

        def reference(*args):
            return cls._truth(Call(cls, args))

        reference.__signature__ = inspect.Signature([*options, *more, tensors])
        cls.reference = staticmethod(reference)
        super(Step, cls).register()

    @classmethod
    def _truth(cls, call):
        if call.skipped:
            return call.written
        scalars, options = call.scalars, call.options
        if scalars:
            scalars, options = cls.inner.after([float(each) for each in scalars], *options)
            scalars = [np.asarray(new, old.dtype) for new, old in zip(scalars, call.scalars, strict=True)]
        lists, found = list(call.lists), []
        if call.master:
            found, (lists[0], lists[1]) = lists[0], (lists.pop(), [each.astype(np.float32) for each in lists[1]])
        results = cls.inner.reference(*options, *[each for group in lists for each in group])
        if call.master:
            values = results[: len(found)]
            rounded = [np.asarray(value, old.dtype) for value, old in zip(values, found, strict=True)]
            results = (*rounded, *results[len(found) :], *values)
        return (*scalars, *results)

    @classmethod
    def host(cls, *args):
        """The same, written over what is given."""
        call = Call(cls, args)
        if call.skipped:
            return call.written
        options, lists = call.options, list(call.lists)
        if call.scalars:
            scalars, options = cls.inner.after([float(each) for each in call.scalars], *options)
            for each, value in zip(call.scalars, scalars, strict=True):
                each[...] = value
        if call.master:
            lists[0], lists[1] = lists.pop(), [each.astype(np.float32) for each in lists[1]]
        cls.inner.host(*options, *[each for group in lists for each in group])
        if call.master:
            for narrow, wide in zip(call.lists[0], lists[0], strict=True):
                narrow[...] = wide
        return call.written

    @classmethod
    def numbers(cls, *args):
        """Those of the formula, zeros where the device counts, and those that the device counts with."""
        options, counted = args[: len(cls.inner.names)], args[len(cls.inner.names) + 1]
        own = (0.0,) * MOST_NUMBERS if counted and cls.inner.counts_numbers else cls.inner.numbers(*options)
        rates = tuple(map(float, cls.inner.rates(*options))) if counted else ()
        return (*own, *rates, *[0.0] * (MOST_RATES - len(rates)))

    @classmethod
    def rest(cls, *args):
        """The flags, which states there are, the new options, and the tensors."""
        call, own = Call(cls, args), len(cls.inner.names)
        return call.plan.flags, call.plan.present, *args[own:]

    def forward(self, *args):
        """One launch for all parameters, after one that counts."""
        call = Call(type(self), args)
        walk, numbers = Lists(call.lists), self.numbers(*args)
        given = self._advancing(call)(call.scalars, call.found, numbers)
        if walk:
            start, spans = self.inner.launch_of(walk, call.plan, call.master)
            start(walk.tables(spans), given, call.found, numbers[:MOST_NUMBERS])
            walk.put_back()
        return call.written

    @classmethod
    def replay(cls, *args):
        """A function that takes the step of a call like this one."""
        call, at = Call(cls, args), len(cls.inner.names) + 2
        walk, scalars = Lists(call.lists), len(call.scalars)
        if not walk:
            return None
        (start, spans), advance = cls.inner.launch_of(walk, call.plan, call.master), cls._advancing(call)
        kept, first, size = walk.kept(spans), at + 1 + scalars, len(call.lists[0])

        def again(*args):
            numbers, found = cls.numbers(*args), args[at]
            given = advance(args[at + 1 : first], found, numbers)
            start(kept(args[first:]), given, found, numbers[:MOST_NUMBERS])
            return args[at + 1 : first + size] + args[first + 2 * size :]

        return kept and again

    @classmethod
    def _advancing(cls, call):
        """What advances the scalars of a call like this and gives the numbers on the device, if they depend on them."""
        if not call.scalars:
            return lambda scalars, found, numbers: None
        inner, device = cls.inner, getattr(call.scalars[0], "device", None)
        own = len(call.plan.numbers) if inner.counts_numbers else 0
        constants = {
            "FORMULA": inner.counted, "SCALARS": len(call.scalars), "RATES": len(inner.rates(*call.options)),
            "NUMBERS": own,
        }  # fmt: skip
        is_host = isinstance(call.scalars[0], np.ndarray)

        def advance(scalars, found, numbers):
            given = None
            if own:
                shape, dtype = (MOST_NUMBERS,), np.dtype(np.float64)
                given = empty_like(scalars[0], shape, dtype) if is_host else transfer.empty(shape, dtype, device)
            _advance[(1,)](tuple(scalars), given, found, *numbers[MOST_NUMBERS:], **constants)
            return given

        return advance

    @classmethod
    def samples(cls, draw):
        """Those of the inner step: with wider weights, or skipped, or counted where it can be."""
        for at, sample in enumerate(cls.inner.samples(draw)):
            options = sample[: len(cls.inner.names)]
            lists = cls.inner.lists(sample, cls.inner.plan(*options).present)
            tensors = [each for group in lists for each in group]
            if draw.dtype in _HALVES:
                wide = [each.astype(np.float32) for each in lists[0]]
                states = [each.astype(np.float32) for group in lists[2:] for each in group]
                yield *options, True, 0, None, *lists[0], *lists[1], *states, *wide
            yield *options, False, 0, np.full(1, at % 2, np.float32), *tensors
            if cls.inner.counted is not None:
                scalars = [np.asarray(each, np.float32) for each in cls.inner.before(*options)]
                found = (None, np.zeros(1, np.float32), np.ones(1, np.float32))[at % 3]
                yield *options, False, len(scalars), found, *scalars, *tensors

    @classmethod
    def sized(cls, draw, N=1 << 20, tensors=8):
        options, (*_, found) = cls.inner.sized(draw, N, tensors), (None,)
        own = len(cls.inner.names)
        return *options[:own], False, 0, found, *options[own:]

    @classmethod
    def fitted(cls, *arguments):
        """As the inner step's are."""
        own = len(cls.inner.names)
        fitted = cls.inner.fitted(*arguments[:own], *arguments[own + 3 :])
        return *fitted[:own], *arguments[own : own + 3], *fitted[own:]


_HALVES = (dtypes.float16.numpy, dtypes.bfloat16.numpy)


def mixed_step(cls):
    """The mixed step beside a step."""
    text = f"{cls.__name__} for mixed precision: skipped, counted on the device, and of wider weights; see mixed.py."
    members = {"inner": cls, "__doc__": text, "__module__": __name__, "__qualname__": f"Mixed{cls.__name__}"}
    return type(f"Mixed{cls.__name__}", (Mixed,), members | {"states": cls.states, "step": cls.step})
