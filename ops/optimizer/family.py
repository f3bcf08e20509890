"""Optimizer steps: one formula each, and one launch for all parameters of a group, in place.

A step is a formula of the value, the gradient and the states of one element; states that a member's options do without
are None in it. The family runs it over lists of tensors that lie one behind the other: parameters, gradients, then each
state. Its kernel finds them by tables (tables.py), so that a group is one launch however many tensors it has.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

import numpy as np

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.ops.base import Op
from tritorch.ops.formula import Formula, formula
from tritorch.ops.layout import as_they_lie
from tritorch.ops.optimizer.tables import Lists, load, pointer, span, store
from tritorch.ops.pointwise.family import block_space
from tritorch.runtime import dtypes, tl

MOST_NUMBERS = 8  # that the kernel has parameters for
_PIECE = 65536  # elements updated at once on the host, so that the passes over them find them in the cache


def step_default(device, *, count):
    """Large blocks: every element is read once. Few programs interpreted."""
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 8)), 1024), 131072), "num_warps": 4}
    return {"BLOCK": min(max(next_power_of_2(count), LEAST_BLOCK), 1024), "num_warps": 4}


LEAST_BLOCK = 256  # a program looks for its tensor in a table before it does anything
STEP_SPACE = block_space(most=16, smallest=LEAST_BLOCK)


@kernel(space=STEP_SPACE, default=step_default, key=("FORMULA", "FLAGS", "PRESENT", "MASTER", "ALIGNED"))
def step_kernel(
    addresses,  # of parameters, gradients, each state that is there, and with MASTER the masters: (lists, tensors)
    spans,  # see tables.py: (2 * tensors + programs,)
    given,  # the formula's numbers where they are counted on the device: (MOST_NUMBERS,), or None
    found,  # not 0 where nothing is to be done: (1,), or None
    tensors,
    number0: tl.float64,  # the formula's numbers: as parameters of their own they change without a recompilation
    number1: tl.float64,
    number2: tl.float64,
    number3: tl.float64,
    number4: tl.float64,
    number5: tl.float64,
    number6: tl.float64,
    number7: tl.float64,
    FORMULA: tl.constexpr,
    STATES: tl.constexpr,  # how many the formula takes
    PRESENT: tl.constexpr,  # bit i: state i is there
    NUMBERS: tl.constexpr,
    FLAG_COUNT: tl.constexpr,
    FLAGS: tl.constexpr,  # bit i: the formula's flag number i
    MASTER: tl.constexpr,  # the step is that of a wider copy, which the parameter gets rounded
    TYPES: tl.constexpr,  # of the elements of each list
    ALIGNED: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    which, start, count = span(spans, tensors, tl.program_id(0), BLOCK)
    if found is not None:
        count = tl.where(tl.load(found) == 0, count, 0)
    places = ()
    for row in tl.static_range(len(TYPES)):
        places = places + (pointer(addresses, row, which, tensors, TYPES[row], ALIGNED),)  # type: ignore  # noqa: RUF005
    numbers = (number0, number1, number2, number3, number4, number5, number6, number7)
    if given is not None:
        numbers = ()
        for i in tl.static_range(NUMBERS):
            numbers = numbers + (tl.load(given + i),)  # type: ignore  # noqa: RUF005
    if start + BLOCK <= count:
        _update(places, start, count, numbers, FORMULA, STATES, PRESENT, NUMBERS, FLAG_COUNT, FLAGS, MASTER, COMPUTE,
                False, BLOCK)  # fmt: skip
    else:
        _update(places, start, count, numbers, FORMULA, STATES, PRESENT, NUMBERS, FLAG_COUNT, FLAGS, MASTER, COMPUTE,
                True, BLOCK)  # fmt: skip


@kernel
def _update(
    places,
    start,
    count,
    numbers,
    FORMULA: tl.constexpr,
    STATES: tl.constexpr,
    PRESENT: tl.constexpr,
    NUMBERS: tl.constexpr,
    FLAG_COUNT: tl.constexpr,
    FLAGS: tl.constexpr,
    MASTER: tl.constexpr,
    COMPUTE: tl.constexpr,
    MASKED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The step of one block, whole or (MASKED) the last of a tensor."""
    index = start + tl.arange(0, BLOCK)
    inside = index < count
    value = places[len(places) - 1] if MASTER else places[0]
    gradient = load(places[1] + index, inside, MASKED).to(COMPUTE)
    arguments = (load(value + index, inside, MASKED).to(COMPUTE), gradient)
    read = (value, gradient)
    for state in tl.static_range(STATES):
        if PRESENT & (1 << state):
            place = places[len(read)]
            read = read + (place,)  # type: ignore  # noqa: RUF005, Triton takes no starred tuples
            arguments = arguments + (load(place + index, inside, MASKED).to(COMPUTE),)  # type: ignore  # noqa: RUF005
        else:
            arguments = arguments + (gradient,)  # type: ignore  # noqa: RUF005, a flag keeps the formula from reading it
    for i in tl.static_range(NUMBERS):
        arguments = arguments + (numbers[i].to(COMPUTE),)  # type: ignore  # noqa: RUF005
    for i in tl.static_range(FLAG_COUNT):
        arguments = arguments + (FLAGS & (1 << i) != 0,)  # type: ignore  # noqa: RUF005
    results = FORMULA(*arguments)
    store(value + index, results[0], inside, MASKED)
    if MASTER:
        store(places[0] + index, results[0], inside, MASKED)
    written = (value, gradient)
    for state in tl.static_range(STATES):
        if PRESENT & (1 << state):
            place = places[len(written)]
            written = written + (place,)  # type: ignore  # noqa: RUF005
            store(place + index, results[state + 1], inside, MASKED)


class Plan(NamedTuple):
    """What the options of a step make of its formula."""

    numbers: tuple = ()
    flags: tuple = ()
    present: tuple = ()  # for each state, whether it is there


class Step(Op, abstract=True):
    """An op that updates the tensors it is given, where they lie; `reference` gives new ones. See the module's text.

    plan    from the op's options, the numbers and flags of the formula, and which states there are
    plain   the step of one parameter in NumPy: options, value, gradient, states; gives the new value and states
    step    the formula: value, gradient, states, numbers, flags; gives the new value and states
    quick   the formula on NumPy arrays in place, where a measurement asked for it; absent states are None

    And for what the device counts (mixed.py), where the step depends on scalars such as the number of steps:

    counted  a formula of the scalars and `rates`: the new scalars, and behind them the numbers if `counts_numbers`
    rates    of the options, the numbers that it takes
    before   the scalars before the step that the options are of
    after    of the scalars before a step and options: those after it, and the options of that step
    """

    in_place = True
    passed = tuple(f"number{at}" for at in range(MOST_NUMBERS))
    states = 0  # how many the formula takes
    plan: staticmethod
    plain: staticmethod
    step: Formula
    mixed: type[Step]
    counted: Formula | None = None
    counts_numbers = True

    @classmethod
    def register(cls):
        """Make the reference of `plain`."""
        options = list(inspect.signature(cls.plain).parameters.values())
        options = options[: [each.name for each in options].index("value")]

        def reference(*args):
            chosen = args[: len(options)]
            present = cls.plan(*chosen).present
            columns = cls.with_absent(cls.lists(args, present), present)
            results = [cls.plain(*chosen, *row) for row in zip(*columns, strict=True)]
            kept = [[each for each in result if each is not None] for result in results]
            dtype = args[-1].dtype
            return tuple(np.asarray(each, dtype) for group in zip(*kept, strict=True) for each in group)

        tensors = inspect.Parameter("tensors", inspect.Parameter.VAR_POSITIONAL)
        reference.__signature__ = inspect.Signature([*options, tensors])
        cls.reference = staticmethod(reference)
        super().register()
        from tritorch.ops.optimizer.mixed import mixed_step  # which is made of steps

        cls.mixed = mixed_step(cls)

    @staticmethod
    def rates(*options):
        return ()

    @classmethod
    def before(cls, *options):
        """The count of steps, which is the last option."""
        return (options[-1] - 1,)

    @classmethod
    def after(cls, scalars, *options):
        """One step more, which is the last option."""
        (step,) = scalars
        return (step + 1,), (*options[:-1], int(step) + 1)

    @classmethod
    def counted_plan(cls, *options):
        """The plan of a step whose numbers the device works out: these are of no account."""
        return cls.plan(*options)

    @classmethod
    def numbers(cls, *args):
        """The numbers of the formula, which the options give, and zeros behind them."""
        found = cls.plan(*args[: len(cls.names)]).numbers
        return (*map(float, found), *[0.0] * (MOST_NUMBERS - len(found)))

    @classmethod
    def rest(cls, *args):
        """The flags, which states there are, and the tensors."""
        plan, options = cls.plan(*args[: len(cls.names)]), len(cls.names)
        return plan.flags, plan.present, *args[options:]

    @classmethod
    def lists(cls, args, present):
        """The tensors among `args`, as equally long lists: parameters, gradients and the states there are."""
        tensors, kinds = args[len(cls.names) :], 2 + sum(present)
        size = len(tensors) // kinds
        return [tensors[at * size : (at + 1) * size] for at in range(kinds)]

    @classmethod
    def sized(cls, draw, N=1 << 20, tensors=8):
        """The options of the first sample, with `tensors` parameters of N elements."""
        sample = next(iter(cls.samples(draw)))
        options = sample[: len(cls.names)]
        largest = [max(each, key=np.size) for each in cls.lists(sample, cls.plan(*options).present)]
        return *options, *[draw.again(each, N) for each in largest for _ in range(tensors)]

    @staticmethod
    def with_absent(lists, present):
        """The lists with one of None for each state that is not there."""
        if all(present):
            return lists
        states, absent = iter(lists[2:]), [None] * len(lists[0])
        return [*lists[:2], *[next(states) if there else absent for there in present]]

    @staticmethod
    def written(lists):
        """What is written: all but the gradients."""
        return [lists[0], *lists[2:]]

    @classmethod
    def quick(cls, *args):
        """The formula's results, written over the value and the states."""
        results = cls.step.fn(*args)
        for each, result in zip(cls.written(args[: 2 + cls.states]), results, strict=True):
            if each is not None:
                each[...] = result

    @classmethod
    def host(cls, *args):
        """The update in place: each tensor in pieces that stay in the cache."""
        numbers, flags, present = cls.plan(*args[: len(cls.names)])
        lists, more = cls.lists(args, present), (*numbers, *flags)
        dtype = lists[0][0].dtype
        narrow = dtype != dtypes.COMPUTE[dtype]
        for row in zip(*cls.with_absent(lists, present), strict=True):
            if narrow:
                cls._update_narrow(row, more)
            elif row[0].ndim and row[0].size <= _PIECE:
                cls.quick(*row, *more)
            else:
                cls._update_in_pieces(row, more)
        return tuple([each for group in cls.written(lists) for each in group])

    @classmethod
    def _update_narrow(cls, row, more):
        wide = [each if each is None else each.astype(np.float32) for each in row]
        results = cls.step.fn(*wide, *more)
        for each, result in zip(cls.written(row), results, strict=True):
            if each is not None:
                each[...] = result

    @classmethod
    def _update_in_pieces(cls, row, more):
        if not row[0].ndim:  # NumPy computes with arrays without dimensions as with numbers, out of place
            cls.quick(*[each if each is None else each.reshape(1) for each in row], *more)
            return
        row = as_they_lie(*row)
        if not all(each is None or each.flags.c_contiguous for each in row):
            cls.quick(*row, *more)
        else:
            flat = [each if each is None else each.reshape(-1) for each in row]
            for start in range(0, row[0].size, _PIECE):
                piece = slice(start, start + _PIECE)
                cls.quick(*[each if each is None else each[piece] for each in flat], *more)

    def forward(self, *args):
        """One launch for all parameters."""
        plan = self.plan(*args[: len(self.names)])
        lists = self.lists(args, plan.present)
        walk = Lists(lists)
        if walk:
            start, spans = self.launch_of(walk, plan)
            start(walk.tables(spans), None, None, self.numbers(*args))
            walk.put_back()
        return tuple(each for group in self.written(lists) for each in group)

    @classmethod
    def replay(cls, *args):
        """A function that takes the step of a call like this one."""
        plan, options = cls.plan(*args[: len(cls.names)]), len(cls.names)
        lists = cls.lists(args, plan.present)
        walk, size = Lists(lists), len(lists[0])
        if not walk:
            return None
        start, spans = cls.launch_of(walk, plan)
        kept = walk.kept(spans)

        def again(*args):
            start(kept(args[options:]), None, None, cls.numbers(*args))
            return args[options : options + size] + args[options + 2 * size :]

        return kept and again

    @classmethod
    def launch_of(cls, walk, plan, master=False):
        """What launches `Lists` with its tables, numbers on the device, `found` and numbers, and the spans it takes."""
        aligned, wide = walk.aligned, walk.first[0].dtype == np.float64
        config = step_kernel.config(
            walk.first, count=max(walk.counts), FORMULA=cls.step, FLAGS=plan.flags, PRESENT=plan.present,
            MASTER=master, ALIGNED=aligned,
        )  # fmt: skip
        constants = {
            "FORMULA": cls.step, "STATES": cls.states, "PRESENT": _bits(plan.present), "NUMBERS": len(plan.numbers),
            "FLAG_COUNT": len(plan.flags), "FLAGS": _bits(plan.flags), "MASTER": master, "TYPES": walk.element_types,
            "ALIGNED": aligned, "COMPUTE": tl.float64 if wide else tl.float32, **config,
        }  # fmt: skip
        spans, programs = walk.spans(config["BLOCK"])
        tensors = len(walk.counts)

        def start(tables, given, found, numbers):
            addresses, (spans,) = tables
            step_kernel[(programs,)](addresses, spans, given, found, tensors, *numbers, **constants)

        return start, spans


def _bits(flags):
    return sum(1 << at for at, flag in enumerate(flags) if flag)


@formula
def one_more(step):
    return (step + 1,)


class Timeless(Step, abstract=True):
    """A step that does not depend on how many were taken before, though they are counted."""

    counted, counts_numbers = one_more, False

    @classmethod
    def before(cls, *options):
        return (0.0,)

    @classmethod
    def after(cls, scalars, *options):
        return (scalars[0] + 1,), options


@formula
def decayed(value, gradient, weight_decay, DECAY: tl.constexpr, MAXIMIZE: tl.constexpr):
    """The gradient that a step starts from: turned round to maximize, with weight_decay times the value added."""
    if MAXIMIZE:
        gradient = -gradient
    if DECAY:
        gradient = gradient + weight_decay * value
    return gradient


def tensors_for(draw, signed, positive):
    """Tensors for a sample: lists of `signed` kinds, parameters first, then of `positive` ones, without signs."""
    shapes = (5, 7), (1025,), (), (0, 3)
    made = [draw(*shape) for _ in range(signed) for shape in shapes]
    return made + [np.asarray(np.abs(draw(*shape))) for _ in range(positive) for shape in shapes]
