"""How a pointwise op runs on the host: the usual case, all arguments alike, goes straight to NumPy.

Each is a function with what it needs of its class at hand, and there is one for each number of arguments: a small op
spends as long on looking things up as on its elements.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from tritorch.ops.parallel import for_each, pieces_of

_FLOAT32 = np.dtype(np.float32)
_TILE = 1 << 14  # elements, which lie in the cache together with the steps in between


def direct_host(cls):
    """The reference of the op `cls` under the family's rules for dtypes, as a function of the arguments' arrays."""
    if len(cls.arguments) == 1:
        return _of_one(cls)
    return _of_two(cls) if len(cls.arguments) == 2 and not cls.condition else _of_many(cls)


def _usual(straight):
    """Of the dtypes that need no rule the one that most tensors have: it is told by identity, without a hash."""
    return _FLOAT32 if _FLOAT32 in straight else None


def in_tiles(function):
    """A function of arrays, element by element in several steps, that takes large ones tile by tile.

    The steps in between then stay in the cache, and need no fresh memory, which would have to be zeroed first.
    """
    if isinstance(function, np.ufunc):
        return function

    def run(*arrays):
        shape = None
        for each in arrays:
            if type(each) is ndarray:
                if each.size <= _TILE or not each.flags.c_contiguous or each.shape != (shape or each.shape):
                    return function(*arrays)
                shape = each.shape
        if shape is None:
            return function(*arrays)
        flat = [each.reshape(-1) if type(each) is ndarray else each for each in arrays]

        def tile(start):
            part = slice(start, start + _TILE)
            return function(*[each[part] if type(each) is ndarray else each for each in flat])

        first = tile(0)
        result = np.empty(shape, first.dtype)
        out = result.reshape(-1)
        out[:_TILE] = first

        def fill(piece):
            for start in range(max(piece.start, _TILE), piece.stop, _TILE):
                out[start : start + _TILE] = tile(start)

        for_each(fill, pieces_of(out.size, 1))
        return result

    return run


def _of_one(cls):
    quick, straight, by_memory, by_rule = cls.quick, cls.straight, cls.by_memory, cls.host_by_rule
    usual = _usual(straight)

    def host(x):
        if type(x) is ndarray and (x.dtype is usual or x.dtype in straight):
            return quick(x) if x.flags.c_contiguous else by_memory(x)
        return by_rule((x,))

    return host


def _of_two(cls):
    quick, straight, check_shapes, otherwise = cls.quick, cls.straight, cls.check_shapes, _of_many(cls)
    usual = _usual(straight)

    def host(x, y):
        if (
            type(x) is type(y) is ndarray and (kind := x.dtype) is y.dtype and (kind is usual or kind in straight)
            and x.flags.c_contiguous and y.flags.c_contiguous
        ):  # fmt: skip
            try:
                return quick(x, y)
            except ValueError:
                check_shapes((x, y))
                raise
        return otherwise(x, y)

    return host


def _of_many(cls):
    by_memory, check_shapes, by_rule = cls.by_memory, cls.check_shapes, cls.host_by_rule
    straight, condition = cls.straight, cls.condition

    def host(*arrays):
        typed = arrays[1:] if condition else arrays
        kind = getattr(typed[0], "dtype", None) or getattr(typed[-1], "dtype", None)
        plain = straight.get(kind)
        if plain is None or (condition and getattr(arrays[0], "dtype", None) != np.bool_):
            return by_rule(arrays)
        for each in typed:
            if type(each) not in plain and getattr(each, "dtype", None) is not kind:
                return by_rule(arrays)
        try:
            return by_memory(*arrays)
        except ValueError:
            check_shapes(arrays)
            raise

    return host
