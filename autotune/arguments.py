"""Arguments of ops as JSON: tensors by shape, dtype and layout, everything else by value.

A description is read from files that people write and that come from elsewhere: what it names is looked up in the
tables of ops, dtypes and makers, nothing is imported or executed, and its sizes have limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from tritorch.autograd.variable import Variable
from tritorch.autotune.values import MOST_BYTES, look
from tritorch.ops.base import MAKERS, TABLE, Op
from tritorch.ops.layout import element_strides
from tritorch.runtime import dtypes, strides, transfer

_MOST_ITEMS = 1 << 16  # values in one description, in lists too
_DEEPEST = 8  # lists in lists
_MOST_DIMENSIONS = 64
_MOST_MADE = 1 << 24  # the largest number that a maker is given
_LONGEST_TEXT = 1000
_VECTOR = 16  # bytes that a kernel loads at once, where an array begins at a multiple of it


@dataclass(frozen=True)
class TensorSpec:
    """A tensor without its values.

    strides  in elements; None for elements in order
    offset   how many elements behind a multiple of 16 bytes it begins
    low, high      the least and the largest value: of integers, and of floating-point numbers that all have one sign
    sorted, unique whether values ascend, and whether none stands twice, along the last dimension
    share          of the values of a bool tensor that are true, where it is not half of them
    values         all of them in a row, where they are a few integers: what says where things lie must be as it was
    """

    shape: tuple
    dtype: str
    strides: tuple | None = None
    offset: int = 0
    low: float | None = None
    high: float | None = None
    sorted: bool = False
    unique: bool = False
    share: float | None = None
    values: tuple | None = None

    @property
    def numpy(self):
        """Its NumPy dtype."""
        return dtypes.NAMES[self.dtype].numpy

    @property
    def steps(self):
        """Its strides in bytes."""
        itemsize = self.numpy.itemsize
        if self.strides is None:
            return strides.contiguous_strides(self.shape, itemsize)
        return tuple(step * itemsize for step in self.strides)

    @property
    def room(self):
        """(elements of the memory that holds it, which of them is its first)."""
        itemsize = self.numpy.itemsize
        low, high = strides.extent(self.shape, self.steps, itemsize)
        before = -low // itemsize
        gap = (self.offset - before) % max(_VECTOR // itemsize, 1)
        return gap + (high - low) // itemsize, gap + before

    @property
    def distinct_bytes(self):
        """Bytes of the elements that do not share their place with others of it."""
        sizes = [size for size, step in zip(self.shape, self.steps, strict=True) if step or not size]
        return math.prod(sizes) * self.numpy.itemsize

    def __str__(self):
        return f"({', '.join(map(str, self.shape))}{',' if len(self.shape) == 1 else ''})"


@dataclass(frozen=True)
class Made:
    """What a function of ops.base.MAKERS makes of arguments."""

    maker: str
    arguments: tuple


# ------------------------------------------------------------------------------------------------ from what an op gets


def described(value, where, values=True):
    """A value as an op gets it, with TensorSpecs in the place of tensors; `where` names it in the error.

    Without `values` nothing is read from tensors.
    """
    if isinstance(value, (Variable, np.ndarray)) or hasattr(value, "pointer"):
        return spec_of(value.array if isinstance(value, Variable) else value, where, values)
    if value is None or value is ... or isinstance(value, (bool, int, float, str, np.dtype)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, slice):
        return slice(*[described(each, where) for each in (value.start, value.stop, value.step)])
    if isinstance(value, type) and issubclass(value, (Op, np.generic)):
        return value if issubclass(value, Op) else np.dtype(value)
    made_by = (type(value).__name__, tuple(value)) if hasattr(value, "_fields") else getattr(value, "made_by", None)
    if made_by is not None and made_by[0] in MAKERS:
        return Made(made_by[0], tuple(described(each, where) for each in made_by[1]))
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return (tuple if isinstance(value, tuple) else list)(described(each, where, values) for each in value)
    raise ValueError(f"{where} is a {type(value).__name__}, which cannot be described")


def spec_of(array, where, values=True):
    """The TensorSpec of an array on any device."""
    itemsize = array.dtype.itemsize
    if array.dtype not in dtypes.BY_NUMPY:
        raise ValueError(f"{where} is an array of {array.dtype}, which no tensor holds")
    contiguous = strides.is_contiguous(array.shape, array.strides, itemsize)
    gap = transfer.pointer(array) % _VECTOR if array.size else 0
    return TensorSpec(
        shape=tuple(map(int, array.shape)),
        dtype=dtypes.of(array.dtype).name,
        strides=None if contiguous else tuple(map(int, element_strides(array))),
        offset=0 if gap % itemsize else gap // itemsize,
        **(look(array) if values else {}),
    )


def made(value):
    """The value that an op gets for a described one; TensorSpecs stay."""
    if isinstance(value, Made):
        return MAKERS[value.maker](*[made(each) for each in value.arguments])
    if type(value) in (tuple, list):  # what was made is there whole
        return type(value)(made(each) for each in value)
    return value


def specs_in(value):
    """Every TensorSpec in a described value, in order."""
    if isinstance(value, TensorSpec):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from specs_in(each)


# ------------------------------------------------------------------------------------------------------------- to JSON


def to_json(value):
    """A described value as JSON's own types."""
    if isinstance(value, TensorSpec):
        found = {"tensor": list(value.shape), "dtype": value.dtype}
        more = {each.name: getattr(value, each.name) for each in fields(value)[2:]}
        found |= {name: kept for name, kept in more.items() if kept is not None and kept is not False}
        found |= {name: list(kept) for name, kept in found.items() if isinstance(kept, tuple)}
        if not value.offset:
            del found["offset"]
        return found
    if isinstance(value, Made):
        return {"made": value.maker, "of": [to_json(each) for each in value.arguments]}
    if isinstance(value, tuple):
        return {"tuple": [to_json(each) for each in value]}
    if isinstance(value, list):
        return [to_json(each) for each in value]
    if isinstance(value, np.dtype):
        return {"dtype": dtypes.of(value).name}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, type):
        return {"op": value.op_name}
    if value is ...:
        return {"ellipsis": True}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


# ----------------------------------------------------------------------------------------------------------- from JSON


def from_json(found, where):
    """The described value that `to_json` wrote; a ValueError in clear words where it is none."""
    return _Reader(where).value(found, 0)


class _Reader:
    """Reads one argument, and counts what is in it."""

    def __init__(self, where):
        self.where, self.items = where, 0

    def fail(self, text):
        raise ValueError(f"{self.where}: {text}")

    def value(self, found, depth):
        self.items += 1
        if depth > _DEEPEST or self.items > _MOST_ITEMS:
            self.fail(f"more than {_DEEPEST} lists in each other, or {_MOST_ITEMS} values")
        if found is None or isinstance(found, bool):
            return found
        if isinstance(found, int):
            return found if abs(found) < 1 << 64 else self.fail("a number of more than 64 bits")
        if isinstance(found, float):
            return found
        if isinstance(found, str):
            return found if len(found) <= _LONGEST_TEXT else self.fail(f"a text of {len(found)} characters")
        if isinstance(found, list):
            return [self.value(each, depth + 1) for each in found]
        if isinstance(found, dict):
            return self.special(found, depth)
        return self.fail(f"a {type(found).__name__}")

    def special(self, found, depth):
        if "tensor" in found:
            return self.tensor(found)
        if set(found) == {"made", "of"}:
            return self.made(found["made"], found["of"], depth)
        kind = next(iter(found)) if len(found) == 1 else None
        if kind not in _SPECIAL:
            kinds = ", ".join(repr(each) for each in ("tensor", "made", *_SPECIAL))
            self.fail(f"an object with {_shown(list(found))}; one of {kinds} says what it is")
        return _SPECIAL[kind](self, found[kind], depth)

    def tuple(self, found, depth):
        if not isinstance(found, list):
            self.fail(f"a tuple is given by a list, not by {_shown(found)}")
        return tuple(self.value(each, depth + 1) for each in found)

    def dtype(self, found, depth=0):
        if not isinstance(found, str) or found not in dtypes.NAMES:
            self.fail(f"no dtype named {_shown(found)}; there are {', '.join(each.name for each in dtypes.ALL)}")
        return dtypes.NAMES[found].numpy

    def op(self, found, depth):
        if not isinstance(found, str) or found not in TABLE:
            self.fail(f"no op named {_shown(found)}")
        return TABLE[found]

    def slice(self, found, depth):
        if not isinstance(found, list) or len(found) != 3:
            self.fail(f"a slice is given by [start, stop, step], not by {_shown(found)}")
        return slice(*[None if each is None else self.whole(each, "a slice") for each in found])

    def ellipsis(self, found, depth):
        return ...

    def float(self, found, depth):
        return float(found) if found in ("inf", "-inf", "nan") else self.fail(f"{_shown(found)} is none of inf, nan")

    def made(self, maker, arguments, depth):
        if not isinstance(maker, str) or maker not in MAKERS:
            self.fail(f"nothing is made by {_shown(maker)}; there are {', '.join(sorted(MAKERS))}")
        found = Made(maker, self.tuple(arguments, depth))
        if any(abs(each) > _MOST_MADE for each in _whole_numbers(found.arguments)):
            self.fail(f"{maker} is given a number above {_MOST_MADE}")
        try:
            made(found)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            self.fail(f"{maker} refuses its arguments: {error}")
        return found

    def tensor(self, found):
        names = {each.name for each in fields(TensorSpec)} - {"shape"} | {"tensor"}
        unknown = sorted(set(found) - names)
        if unknown:
            self.fail(f"a tensor has no {unknown[0]!r}; it has {', '.join(sorted(names))}")
        shape, kind = self.sizes(found["tensor"], "the shape", least=0), self.dtype(found.get("dtype"))
        steps = found.get("strides")
        if steps is not None:
            steps = self.sizes(steps, "the strides", least=-(1 << 62))
            if len(steps) != len(shape):
                self.fail(f"{len(steps)} strides for {len(shape)} dimensions")
        spec = TensorSpec(
            shape, dtypes.of(kind).name, steps, self.whole(found.get("offset", 0), "the offset"),
            self.bound(found.get("low"), kind), self.bound(found.get("high"), kind),
            found.get("sorted") is True, found.get("unique") is True, self.bound(found.get("share"), kind, float),
            self.numbers(found.get("values"), shape, kind),
        )  # fmt: skip
        self.check(spec)
        return spec

    def check(self, spec):
        """Refuse what no memory holds and no values fit."""
        if not 0 <= spec.offset < max(_VECTOR // spec.numpy.itemsize, 1):
            self.fail(f"an offset of {spec.offset} elements, which is less than none or {_VECTOR} bytes and more")
        if math.prod(spec.shape) * spec.numpy.itemsize > MOST_BYTES or spec.room[0] * spec.numpy.itemsize > MOST_BYTES:
            self.fail(f"a tensor that takes more than {MOST_BYTES >> 30} GiB")
        low, high = spec.low, spec.high
        if low is not None and high is not None and low > high:
            self.fail(f"low is {low}, which is above high, {high}")
        if (low is None) != (high is None):
            self.fail("low and high go together")
        if spec.unique:
            if low is None or spec.numpy.kind not in "iu":
                self.fail("unique is for integers between low and high")
            if spec.shape and spec.shape[-1] > high - low + 1:
                self.fail(f"{spec.shape[-1]} different integers between {low} and {high}")
        if spec.share is not None and not (spec.dtype == "bool" and 0 <= spec.share <= 1):
            self.fail("share is of the true values of a bool tensor, from 0 to 1")

    def bound(self, found, kind, of=None):
        """One of low, high and share: a number that the dtype holds."""
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
            self.fail(f"{_shown(found)} is no number that bounds values")
        if kind.kind in "iu":
            info = np.iinfo(kind)
            if int(found) != found or not info.min <= found <= info.max:
                self.fail(f"{found} is no {kind.name}")
            return int(found)
        if kind == np.bool_ and of is None:
            self.fail("a bool tensor has a share, and no low and high")
        return float(found)

    def numbers(self, found, shape, kind):
        """The values of a tensor of integers, by one list."""
        if found is None:
            return None
        if kind.kind not in "iu" or not isinstance(found, list) or len(found) != math.prod(shape) <= _MOST_ITEMS:
            self.fail(f"values are a list of as many integers as a tensor of them has, up to {_MOST_ITEMS}")
        return tuple(self.bound(self.whole(each, "values"), kind) for each in found)

    def sizes(self, found, what, least):
        if not isinstance(found, list) or len(found) > _MOST_DIMENSIONS:
            self.fail(f"{what} is a list of up to {_MOST_DIMENSIONS} whole numbers, not {_shown(found)}")
        return tuple(self.whole(each, what, least) for each in found)

    def whole(self, found, what, least=-(1 << 62)):
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found < 1 << 62:
            self.fail(
                f"{what} takes whole numbers{' that are not negative' if least == 0 else ''}, not {_shown(found)}"
            )
        return found


_SPECIAL = {"tuple": _Reader.tuple, "dtype": _Reader.dtype, "op": _Reader.op, "slice": _Reader.slice,
            "ellipsis": _Reader.ellipsis, "float": _Reader.float}  # fmt: skip


def _whole_numbers(values):
    for each in values:
        if isinstance(each, tuple):
            yield from _whole_numbers(each)
        elif isinstance(each, int):
            yield each


def _shown(found):
    """A value in an error, not at any length."""
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:57]}..."
