"""Windows by their old names in torch (`hann_window`), and the curves that `signal.windows` shares with them."""

from __future__ import annotations

import functools
import inspect
import math

from tritorch.creation import arange, full_of
from tritorch.ops.base import TABLE, export
from tritorch.runtime import dtypes

_KEYWORDS = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
    for name, default in (("dtype", None), ("layout", None), ("device", None), ("requires_grad", False))
]


def window(curve):
    """A function of signal.windows: all but M by keyword, M and the dtype checked, short windows without a curve."""
    name = curve.__name__
    own = list(inspect.signature(curve).parameters.values())[1:-1]
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]

    @functools.wraps(curve)
    def call(M, *, dtype=None, layout=None, device=None, requires_grad=False, **named):
        kind = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype, name)
        if M < 0:
            raise ValueError(f"{name} requires non-negative window length, got M={M}")
        if layout is not None and "strided" not in str(layout):
            raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
        if kind not in (dtypes.float32, dtypes.float64):
            raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind!r}")
        made = curve(M, **named, dtype=kind, device=device)
        return made.requires_grad_() if requires_grad else made

    call.__signature__ = inspect.Signature(
        [inspect.Parameter("M", inspect.Parameter.POSITIONAL_OR_KEYWORD), *own, *_KEYWORDS]
    )
    return call


def points(count, start, step, kind):
    """`count` numbers from `start` at a distance of `step`."""
    return arange(count, **kind) * step + start


def _spread(count, start, end, sym, kind):
    """Numbers from `start` to `end`, which is the last one (`sym`) or the first of the next period."""
    return points(count, start, (end - start) / max(count - 1 if sym else count, 1), kind)


def _short(count, kind):
    """The window of one number, 1, or of none."""
    return full_of("window", (count,), 1, kind["dtype"], kind["device"])


def cosine_sum(count, coefficients, sym, kind):
    """coefficients[0] - coefficients[1] cos(k) + coefficients[2] cos(2 k) - ..., k from 0 to 2 pi."""
    if count < 2:
        return _short(count, kind)
    angle = _spread(count, 0.0, 2 * math.pi, sym, kind)
    found = coefficients[0]
    for order, each in enumerate(coefficients[1:], 1):
        found = found + (angle * order).cos() * (-each if order % 2 else each)
    return found if len(coefficients) > 1 else full_of("window", (count,), found, kind["dtype"], kind["device"])


def triangle(count, sym, kind):
    """1 - |k|, k from -1 to 1."""
    return _short(count, kind) if count < 2 else 1 - _spread(count, -1.0, 1.0, sym, kind).abs()


def gaussian_curve(count, std, sym, kind):
    """exp(-k^2), k the distance from the middle over sqrt(2) std."""
    scale = 1 / (std * math.sqrt(2))
    middle = (count - 1 if sym or count < 2 else count) / 2
    return points(count, -middle * scale, scale, kind).square().neg().exp()


def kaiser_curve(count, beta, sym, kind):
    """i0(sqrt(beta^2 - k^2)) / i0(beta), k from -beta to beta."""
    if count < 2:
        return _short(count, kind)
    i0 = TABLE["i0"].apply
    place = _spread(count, -1.0, 1.0, sym, kind)
    inside = (1 - place.square()).clamp_min(0)
    return i0(inside.sqrt() * beta) / i0(full_of("window", (), beta, kind["dtype"], kind["device"]))


def _options(name, window_length, dtype, device):
    kind = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype, name)
    if not kind.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {kind!r}")
    if window_length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={window_length}")
    return {"dtype": kind, "device": device}


def _finished(made, requires_grad):
    return made.requires_grad_() if requires_grad else made


@export("hann_window")
def hann_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, requires_grad=False):
    """(1 - cos(k)) / 2, k from 0 to 2 pi."""
    kind = _options("hann_window", window_length, dtype, device)
    return _finished(cosine_sum(window_length, (0.5, 0.5), not periodic, kind), requires_grad)


@export("hamming_window")
def hamming_window(
    window_length, periodic=True, alpha=0.54, beta=0.46, *, dtype=None, layout=None, device=None, requires_grad=False
):
    """alpha - beta cos(k), k from 0 to 2 pi."""
    kind = _options("hamming_window", window_length, dtype, device)
    return _finished(cosine_sum(window_length, (alpha, beta), not periodic, kind), requires_grad)


@export("blackman_window")
def blackman_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, requires_grad=False):
    """0.42 - 0.5 cos(k) + 0.08 cos(2 k), k from 0 to 2 pi."""
    kind = _options("blackman_window", window_length, dtype, device)
    return _finished(cosine_sum(window_length, (0.42, 0.5, 0.08), not periodic, kind), requires_grad)


@export("bartlett_window")
def bartlett_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, requires_grad=False):
    """1 - |k|, k from -1 to 1: a triangle."""
    kind = _options("bartlett_window", window_length, dtype, device)
    return _finished(triangle(window_length, not periodic, kind), requires_grad)


@export("kaiser_window")
def kaiser_window(
    window_length, periodic=True, beta=12.0, *, dtype=None, layout=None, device=None, requires_grad=False
):
    """i0(sqrt(beta^2 - k^2)) / i0(beta), k from -beta to beta."""
    kind = _options("kaiser_window", window_length, dtype, device)
    return _finished(kaiser_curve(window_length, beta, not periodic, kind), requires_grad)
