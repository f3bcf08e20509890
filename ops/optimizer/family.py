"""Optimizer steps: one formula each, and one launch for all parameters of a group, in place.

A step is a formula of the value, the gradient and the states of one element; states that a member's options do without
are None in it. The family runs it over lists of tensors that lie one behind the other: parameters, gradients, then each
state. Its kernel takes their pointers as a tuple and sees one long virtual index: a program finds the tensor that its
block belongs to by the tensors' first blocks. Groups of more than `AT_ONCE` tensors take one launch for each so many:
a kernel's arguments have room for 4 KiB.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

import numpy as np

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.ops.base import Op
from tritorch.ops.formula import Formula, formula
from tritorch.ops.layout import as_contiguous, as_they_lie
from tritorch.ops.pointwise.family import block_space
from tritorch.runtime import dtypes, tl, transfer

AT_ONCE = 64
MOST_NUMBERS = 8  # that the kernel has parameters for
_PIECE = 65536  # elements updated at once on the host, so that the passes over them find them in the cache


def step_default(device, *, count):
    """Large blocks: every element is read once. Few programs interpreted."""
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 8)), 1024), 131072), "num_warps": 4}
    return {"BLOCK": min(max(next_power_of_2(count), LEAST_BLOCK), 1024), "num_warps": 4}


@kernel
def _chosen(pointers, which, N: tl.constexpr, FIRST: tl.constexpr):
    """The pointer number `FIRST + which` of a tuple."""
    found = pointers[FIRST]
    for i in tl.static_range(1, N):
        found = tl.where(which >= i, pointers[FIRST + i], found)
    return found


@kernel
def _place(firsts, counts, N: tl.constexpr):
    """Which tensor this program works on, the number of its block in it, and the count of elements there."""
    program = tl.program_id(0)
    which, first, count = program * 0, program * 0, program * 0 + counts[0]
    for i in tl.static_range(1, N):
        later = program >= firsts[i]
        which = tl.where(later, i, which)
        first = tl.where(later, firsts[i], first)
        count = tl.where(later, counts[i], count)
    return which, program - first, count


LEAST_BLOCK = 256  # a program looks for its tensor among all of them before it does anything
STEP_SPACE = block_space(most=16, smallest=LEAST_BLOCK)


@kernel(space=STEP_SPACE, default=step_default, key=("FORMULA", "FLAGS", "N"))
def step_kernel(
    tensors,  # N parameters, N gradients and N of each state that is there, each contiguous: (counts[i],)
    firsts,  # the first block of each parameter
    counts,
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
    N: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    which, block, count = _place(firsts, counts, N)
    index = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    place = _chosen(tensors, which, N, 0) + index
    gradient = tl.load(_chosen(tensors, which, N, N) + index, mask=inside, other=0).to(COMPUTE)
    places = (place,)
    arguments = (tl.load(place, mask=inside, other=0).to(COMPUTE), gradient)
    for state in tl.static_range(STATES):
        if PRESENT & (1 << state):
            place = _chosen(tensors, which, N, (len(places) + 1) * N) + index
            places = places + (place,)  # type: ignore  # noqa: RUF005, Triton takes no starred tuples
            arguments = arguments + (tl.load(place, mask=inside, other=0).to(COMPUTE),)  # type: ignore  # noqa: RUF005
        else:
            arguments = arguments + (gradient,)  # type: ignore  # noqa: RUF005, a flag keeps the formula from reading it
    numbers = (number0, number1, number2, number3, number4, number5, number6, number7)
    for i in tl.static_range(NUMBERS):
        arguments = arguments + (numbers[i].to(COMPUTE),)  # type: ignore  # noqa: RUF005
    for i in tl.static_range(FLAG_COUNT):
        arguments = arguments + (FLAGS & (1 << i) != 0,)  # type: ignore  # noqa: RUF005
    results = FORMULA(*arguments)
    tl.store(places[0], results[0].to(places[0].dtype.element_ty), mask=inside)
    stored = (place,)
    for state in tl.static_range(STATES):
        if PRESENT & (1 << state):
            place = places[len(stored)]
            tl.store(place, results[state + 1].to(place.dtype.element_ty), mask=inside)
            stored = stored + (place,)  # type: ignore  # noqa: RUF005


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
    """

    in_place = True
    passed = tuple(f"number{at}" for at in range(MOST_NUMBERS))
    states = 0  # how many the formula takes
    plan: staticmethod
    plain: staticmethod
    step: Formula

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
        """One launch for each `AT_ONCE` parameters."""
        plan = self.plan(*args[: len(self.names)])
        lists, numbers = self.lists(args, plan.present), self.numbers(*args)
        for start in range(0, len(lists[0]), AT_ONCE):
            self._launch(plan, numbers, [each[start : start + AT_ONCE] for each in lists])
        return tuple(each for group in self.written(lists) for each in group)

    def _launch(self, plan, numbers, lists):
        rows = [as_they_lie(*row) for row in zip(*lists, strict=True) if row[0].size]
        if not rows:
            return
        first = self.with_absent([row[:1] for row in zip(*rows, strict=True)], plan.present)
        config = step_kernel.config(
            [each[0] if each else None for each in first], count=max(row[0].size for row in rows), FORMULA=self.step,
            FLAGS=plan.flags, N=len(rows),
        )  # fmt: skip
        firsts, program = [], 0
        for row in rows:
            firsts.append(program)
            program += cdiv(row[0].size, config["BLOCK"])
        lists = list(zip(*rows, strict=True))
        flat = [[as_contiguous(each) for each in group] for group in lists]
        wide = rows[0][0].dtype == np.float64
        step_kernel[(program,)](
            tuple(each for group in flat for each in group), tuple(firsts), tuple(row[0].size for row in rows),
            *numbers, FORMULA=self.step, STATES=self.states, PRESENT=_bits(plan.present), NUMBERS=len(plan.numbers),
            FLAG_COUNT=len(plan.flags), FLAGS=_bits(plan.flags), N=len(rows),
            COMPUTE=tl.float64 if wide else tl.float32, **config,
        )  # fmt: skip
        for own, used in zip(self.written(lists), self.written(flat), strict=True):
            for destination, source in zip(own, used, strict=True):
                if destination is not source and not transfer.is_contiguous(destination):
                    _copy(destination, source)


def _bits(flags):
    return sum(1 << at for at, flag in enumerate(flags) if flag)


def _copy(destination, source):
    if isinstance(destination, np.ndarray):
        destination[...] = source
    else:
        destination.copy_from(source)


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
