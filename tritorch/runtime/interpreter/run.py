"""Runs the programs of a launch one after the other, or from barrier to barrier."""

from __future__ import annotations

import itertools

import numpy as np
from triton.runtime import interpreter as stock

from tritorch.runtime.binding import binder_of, checked_grid
from tritorch.runtime.interpreter import KernelError as KernelError
from tritorch.runtime.interpreter.arguments import convert
from tritorch.runtime.interpreter.cooperative import Programs
from tritorch.runtime.interpreter.rewrite import body_of
from tritorch.runtime.interpreter.scope import scope


def interpret(kernel, grid, args, keywords):
    """Run every program of `grid` on arrays of the host, in place."""
    values, options = binder_of(kernel)(*args, **keywords)
    grid = checked_grid(kernel, grid)
    if 0 in grid:
        return
    # A kernel computes what hardware computes: infinities and NaNs without warnings.
    with scope, np.errstate(all="ignore"):
        converted = _converted(kernel, values)
        stock.interpreter_builder.set_grid_dim(*grid)
        run = _run_together if options["launch_cooperative_grid"] else _run_in_turn
        try:
            run(body_of(kernel), converted, itertools.product(*map(range, grid)))
        except Exception as error:
            index = stock.interpreter_builder.grid_idx
            raise KernelError(
                f"kernel {kernel.__name__}, program {index} of grid {grid}: {type(error).__name__}: {error}"
            ) from error


def _run_in_turn(body, arguments, indices):
    for index in indices:
        _place(index)
        body(*arguments)


def _run_together(body, arguments, indices):
    Programs(indices).run(body, arguments, _place)


def _place(index):
    stock.interpreter_builder.grid_idx = index


def _converted(kernel, values):
    converted = []
    for parameter, value in zip(kernel.params, values, strict=True):
        if not parameter.is_constexpr:
            try:
                value = convert(value, parameter.annotation_type)
            except (TypeError, OverflowError) as error:
                raise type(error)(f"kernel {kernel.__name__}: argument {parameter.name!r}: {error}") from None
        converted.append(value)
    return converted
