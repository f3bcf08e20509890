"""torch.compile and what stands around it: functions and modules run as they are, and say so where they are asked."""

from __future__ import annotations

import contextlib
import functools

from tritorch.compiler.optimized import OptimizedModule as OptimizedModule
from tritorch.nn.modules.module import Module

MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
_BACKENDS = ("cudagraphs", "inductor")


def compile(model=None, *, fullgraph=False, dynamic=None, backend="inductor", mode=None, options=None, disable=False):
    """A function that does what `model` does, or for a module an OptimizedModule around it; also as a decorator.

    What PyTorch takes is taken; nothing is compiled ahead: every op is a compiled kernel already.
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if model is None:
        return functools.partial(
            compile,
            fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable,
        )  # fmt: skip
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    if disable:
        return model
    if isinstance(model, Module):
        return OptimizedModule(model)

    @functools.wraps(model)
    def call(*args, **kwargs):
        return model(*args, **kwargs)

    return call


def is_compiling():
    """Whether what runs is being compiled: never, it runs as it is."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def disable(fn=None, recursive=True, *, reason=None):
    """What is never compiled: the function or module itself; also as a decorator."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn):
    """What may be part of compiled code: the function or functions themselves."""
    return fn


assume_constant_result = allow_in_graph


def reset():
    """Forget what was compiled: nothing is."""


def cudagraph_mark_step_begin():
    """Say that a step begins, whose results may be written over those of the last: they are not."""


@contextlib.contextmanager
def set_stance(stance="default", *, skip_guard_eval_unsafe=False, force_backend=None):
    """Inside, say how compiled code should run; it runs as it is."""
    yield


def list_backends(exclude_tags=("debug", "experimental")):
    """The names that `backend` usually has."""
    return list(_BACKENDS)
