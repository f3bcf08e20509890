"""Interceptors: what stands between the callers of ops and `apply`, for a while.

A profiler, `autocast`, `vmap` and an exporter all want to see every op call and to decide what becomes of it. Each is
an Interceptor, entered like any context manager; the innermost sees a call first. While it handles a call it is itself
out of the way, so the ops it calls go to the next one out, and at last to the device.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext

from tritorch.autograd.grad_mode import expect_interceptors, state


class Interceptor:
    """Inside `with self:`, every op call of this thread becomes `self.intercept(cls, args)`.

    One that is `outermost` stands where `in_all_threads` puts it: what it sees is what the device gets. One that is
    `transparent` does not mind whether a layer calls one op or several for the same result.
    """

    outermost = False
    transparent = False

    def intercept(self, cls, args):
        """What becomes of the call of op class `cls`; `cls.apply(*args)` lets it go on."""
        raise NotImplementedError(f"{type(self).__name__} does not say what becomes of a call")

    def written(self, tensor, result):
        """Called after `result` was written over `tensor`, in place."""

    def around_backward(self, node):
        """A context in which the engine runs the gradient of `node`."""
        return nullcontext()

    def __enter__(self):
        expect_interceptors()
        state.interceptors = (*state.interceptors, self)
        return self

    def __exit__(self, *_):
        rest = list(state.interceptors)
        del rest[len(rest) - 1 - rest[::-1].index(self)]  # start() and stop() of two may cross
        state.interceptors = tuple(rest)


@contextmanager
def in_all_threads(interceptor):
    """An interceptor around the calls of every thread, also of those that begin meanwhile; it must be `outermost`.

    Threads that intercepted calls when this ended may go on to call it.
    """
    expect_interceptors()
    default = type(state)
    before, here = default.interceptors, vars(state).get("interceptors")
    default.interceptors = (interceptor, *before)
    if here is not None:
        state.interceptors = (interceptor, *here)
    try:
        yield interceptor
    finally:
        default.interceptors = before
        if "interceptors" in vars(state):
            state.interceptors = tuple([each for each in state.interceptors if each is not interceptor])


def intercepted(cls, args):
    """Hand a call to the innermost interceptor, with only those further out in place meanwhile."""
    before = state.interceptors
    state.interceptors = before[:-1]
    try:
        return before[-1].intercept(cls, args)
    finally:
        state.interceptors = before


def run_backward(node, received):
    """The gradient of `node`, inside whatever the interceptors put around it."""
    with ExitStack() as contexts:
        for interceptor in state.interceptors:
            contexts.enter_context(interceptor.around_backward(node))
        return node.backward(*received)
