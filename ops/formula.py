"""Formulas: one text, three lives.

`@formula` makes a scalar function that Triton compiles inside kernels, that runs on NumPy arrays as it stands, and that is
differentiable on Tensors, where each primitive it calls is the op of that name. A primitive (exp, where) gives what stands
for it on the host; a composed formula needs nothing.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.runtime import tl
from tritorch.runtime.kernel import Kernel


class Formula(Kernel):
    """A lane-wise scalar function; see the module's text."""

    def __init__(self, fn, host=None):
        super().__init__(fn)
        self.host, self.op = host, None

    def host_call(self, *args):
        """Call it outside a kernel: on Tensors through the op it is the value of, on arrays by NumPy."""
        if any(hasattr(arg, "requires_grad") for arg in args) and self.op is not None:
            return self.op.apply(*args)
        return (self.host or self.fn)(*args)


def formula(fn=None, *, host=None):
    """Make a formula of a function; `host` is what stands for it on NumPy arrays, if its text cannot run there."""
    if fn is not None:
        return Formula(fn)
    return lambda function: Formula(function, host)


@formula(host=np.exp)
def exp(x):
    return tl.exp(x)


@formula(host=np.log)
def log(x):
    return tl.log(x)


@formula(host=np.sqrt)
def sqrt(x):
    return tl.sqrt_rn(x) if x.dtype == tl.float32 else tl.sqrt(x)


@formula(host=np.sin)
def sin(x):
    return tl.sin(x)


@formula(host=np.cos)
def cos(x):
    return tl.cos(x)


@formula(host=np.abs)
def absolute(x):
    return tl.abs(x)


@formula(host=np.floor)
def floor(x):
    return tl.floor(x)


@formula(host=np.where)
def where(condition, x, y):
    return tl.where(condition, x, y)


@formula(host=np.tanh)
def tanh(x):
    # 1 - 2 / (e^2x + 1), which neither overflows nor loses the sign; near zero the odd series keeps full precision.
    square = x * x
    series = x * (1 - square * (0.3333333333333333 - square * (0.13333333333333333 - square * 0.05396825396825397)))
    return tl.where(tl.abs(x) < 0.05, series, 1 - 2 / (tl.exp(2 * x) + 1))


def _sigmoid_on_host(x):
    # exp of a negative number only, so that neither end overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


@formula(host=_sigmoid_on_host)
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


def erf_on_host(x):
    """The error function of an array, exact to double precision."""
    x = np.asarray(x)
    return np.fromiter(map(math.erf, x.reshape(-1).tolist()), np.float64, x.size).astype(x.dtype).reshape(x.shape)


@formula(host=erf_on_host)
def erf(x):
    return tl.erf(x)


@formula(host=np.maximum)
def maximum(x, y):
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@formula(host=np.minimum)
def minimum(x, y):
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)
