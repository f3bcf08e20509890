"""Formulas: one text, three lives.

`@formula` makes a scalar function that Triton compiles inside kernels, that runs on NumPy arrays as it stands, and that
is differentiable on Tensors, where each primitive it calls is the op of that name. A primitive (exp, where) gives what
stands for it on the host; a composed formula needs nothing.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.runtime import tl
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import libdevice


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


def _log_on_host(x):
    if isinstance(x, (int, float)):  # stays a Python number, which does not take part in promotion
        return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)
    return np.log(x)


@formula(host=_log_on_host)
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
    return tl.floor(x) if x.dtype.is_floating() else x


@formula(host=np.rint)
def nearest(x):
    return libdevice.rint(x) if x.dtype.is_floating() else x


_BITS = {np.dtype(f"{kind}{size}"): np.dtype(f"i{size}") for kind in "fi" for size in (4, 8)}
# NumPy takes twice as long over a small array and a number as over it and an array without dimensions.
ZEROS, ONES = (
    {each: make((), each) for each in map(np.dtype, (np.float32, np.float64))} for make in (np.zeros, np.ones)
)
_SMALL = 4096  # elements, up to which NumPy's own `where` is the faster one


def where_on_host(condition, x, y):
    """np.where; large arrays without its branch an element, of which random masks make half mispredicted."""
    like = x if isinstance(x, np.ndarray) else y
    if getattr(condition, "size", 0) <= _SMALL or condition.dtype != np.bool_ or np.shape(like) != condition.shape:
        if type(x) is int and x == 0 and type(y) is np.ndarray and y.shape == np.shape(condition):
            found = y.copy()  # in less than half of np.where's time
            np.putmask(found, condition, ZEROS.get(y.dtype, 0))
            return found
        return np.where(condition, x, y)
    bits = _BITS.get(like.dtype)
    if bits is None or any(isinstance(each, np.ndarray) and each.dtype != like.dtype for each in (x, y)):
        return np.where(condition, x, y)
    mask = condition.view(np.int8)
    if type(y) in (int, float) and y == 0:
        return np.bitwise_and(-mask, x.view(bits)).view(like.dtype)
    if type(x) in (int, float) and x == 0:
        return np.bitwise_and(mask - 1, y.view(bits)).view(like.dtype)
    x, y = (np.asarray(each, like.dtype).view(bits) for each in (x, y))
    found = np.bitwise_xor(x, y)
    found &= -mask
    found ^= y
    return found.view(like.dtype)


@formula(host=where_on_host)
def where(condition, x, y):
    return tl.where(condition, x, y)


@formula(host=np.tanh)
def tanh(x):
    return libdevice.tanh(x)


def _sigmoid_on_host(x):
    found = np.exp(-x)  # inf far below zero, where 1 / inf is right
    found += ONES.get(found.dtype, 1)
    return np.reciprocal(found)


@formula(host=_sigmoid_on_host)
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


def by_element(function, x):
    """A function of one float, such as those of `math`, of each element of an array."""
    x = np.asarray(x)
    return np.fromiter(map(function, x.reshape(-1).tolist()), np.float64, x.size).astype(x.dtype).reshape(x.shape)


def erf_on_host(x):
    """The error function of an array, exact to double precision."""
    return by_element(math.erf, x)


# erf(x) = tanh(x P(x^2)): a polynomial fitted by weighted least squares, so that erf is within 1.4e-7 of the truth when
# evaluated in float32. Its last coefficient is positive, so that tanh is 1 wherever erf is.
_ERF = (1.12837971, 0.102765480, -1.84380573e-4, -6.25722529e-4, 8.97137934e-5, -5.98590204e-6, 1.58973066e-7)
_ERF_IN_FLOAT32 = [np.asarray(each, np.float32) for each in _ERF]


def erf_in_float32(x):
    """The error function of a float32 array within 1.4e-7; other dtypes go the exact way, element by element."""
    if x.dtype != np.float32:
        return erf_on_host(x)
    return np.tanh(_polynomial(x * x, _ERF_IN_FLOAT32) * x)


def _polynomial(x, coefficients):
    """coefficients[0] + coefficients[1] * x + ..., by Horner's rule in one buffer."""
    found = x * coefficients[-1]
    for each in coefficients[-2:0:-1]:
        found += each
        found *= x
    found += coefficients[0]
    return found


@formula(host=erf_in_float32)
def erf(x):
    return tl.erf(x)


def _polynomial_on_host(x, coefficients):
    found = coefficients[-1]
    for each in coefficients[-2::-1]:
        found = found * x + each
    return found


@formula(host=_polynomial_on_host)
def polynomial(x, coefficients):
    """coefficients[0] + coefficients[1] * x + ..., by Horner's rule."""
    found = x * 0 + coefficients[len(coefficients) - 1]
    for k in tl.static_range(len(coefficients) - 1):
        found = found * x + coefficients[len(coefficients) - 2 - k]
    return found


@formula(host=np.any)
def some(condition):
    """Whether any element of the block fulfils the condition: how long a loop runs.

    Asked at the end of the loop, in a name of its own: Triton 3.6 fails where `while` itself reduces a block.
    """
    return tl.max(condition.to(tl.int32)) != 0


@formula(host=np.maximum)
def maximum(x, y):
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@formula(host=np.minimum)
def minimum(x, y):
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)


def _sign_on_host(x):
    return np.subtract(x > 0, x < 0, dtype=x.dtype)  # NumPy's own keeps NaN, PyTorch's does not


@formula(host=_sign_on_host)
def sign(x):
    return tl.where(x > 0, 1, 0) - tl.where(x < 0, 1, 0)


@formula(host=np.true_divide)
def divide(x, y):
    return tl.div_rn(x, y) if x.dtype == tl.float32 else x / y


@formula(host=np.expm1)
def expm1(x):
    return libdevice.expm1(x)


@formula(host=np.log1p)
def log1p(x):
    return libdevice.log1p(x)


@formula(host=lambda x: np.reciprocal(np.sqrt(x)))
def rsqrt(x):
    return tl.rsqrt(x)


@formula(host=np.tan)
def tan(x):
    return libdevice.tan(x)


@formula(host=np.sinh)
def sinh(x):
    return libdevice.sinh(x)


@formula(host=np.cosh)
def cosh(x):
    return libdevice.cosh(x)
