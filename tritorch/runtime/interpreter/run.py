"""Runs the programs of a launch: one after the other, or a cooperative launch so that they can wait for each other."""

from __future__ import annotations

import itertools

import numpy as np
from triton.runtime import interpreter as stock

from tritorch.runtime.binding import binder_of, checked_grid
from tritorch.runtime.interpreter import KernelError as KernelError
from tritorch.runtime.interpreter.arguments import convert
from tritorch.runtime.interpreter.rewrite import body_of
from tritorch.runtime.interpreter.scope import scope
from tritorch.runtime.interpreter.together import run_together


def interpret(kernel, grid, args, keywords):
    """Run every program of `grid` on arrays of the host, in place."""
    values, options = binder_of(kernel)(*args, **keywords)
    grid = checked_grid(kernel, grid)
    if 0 in grid:
        return
    body, builder = body_of(kernel), stock.interpreter_builder
    # A kernel computes what hardware computes: infinities and NaNs without warnings.
    with scope, np.errstate(all="ignore"):
        converted = _converted(kernel, values)
        builder.set_grid_dim(*grid)

        def run(index):
            builder.grid_idx = index
            try:
                body(*converted)
            except Exception as error:
                raise KernelError(
                    f"kernel {kernel.__name__}, program {index} of grid {grid}: {type(error).__name__}: {error}"
                ) from error

        indices = list(itertools.product(*map(range, grid)))
        if options["launch_cooperative_grid"] and len(indices) > 1:
            run_together(indices, run)
        else:
            for index in indices:
                run(index)


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
