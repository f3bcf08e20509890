"""Runs kernels on NumPy arrays, program after program, in the process that also compiles them; see README.md."""

from __future__ import annotations

import threading


class _State(threading.local):
    """Whether this thread is inside an interpreted kernel, and what it does where it sees what other programs did."""

    depth = 0

    @staticmethod
    def looked(*handles):
        """Nothing where programs run one after the other."""


state = _State()


class KernelError(RuntimeError):
    """An exception inside an interpreted kernel, with the kernel's name and the program that raised it."""


def interpret(kernel, grid, args, keywords):
    """Run every program of `grid` of a materialised kernel on arrays of the host, in place."""
    from tritorch.runtime.interpreter import run

    run.interpret(kernel, grid, args, keywords)


def body_of(kernel):
    """The Python function that an interpreted kernel runs when it is called from another one."""
    from tritorch.runtime.interpreter import rewrite

    return rewrite.body_of(kernel)
