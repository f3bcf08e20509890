"""assert_close: two tensors, numbers, or sequences and mappings of them, are equal within a tolerance."""

from __future__ import annotations

import cmath
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tritorch import creation
from tritorch.runtime import dtypes
from tritorch.runtime.device import CPU
from tritorch.tensor import Tensor

# (relative, absolute) as PyTorch has them; all that is not listed must be equal.
TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5), dtypes.bfloat16: (1.6e-2, 1e-5), dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7),
}  # fmt: skip


@dataclass(frozen=True)
class _Rules:
    """What `assert_close` was told."""

    allow_subclasses: bool
    rtol: float | None
    atol: float | None
    equal_nan: bool
    check_device: bool
    check_dtype: bool
    check_stride: bool

    def tolerances(self, *kinds):
        """(rtol, atol) as given, else the widest that any of the dtypes has."""
        if self.rtol is not None:
            return self.rtol, self.atol
        found = [TOLERANCES.get(kind, (0.0, 0.0)) for kind in kinds]
        return max(each[0] for each in found), max(each[1] for each in found)


def assert_close(
    actual, expected, *, allow_subclasses=True, rtol=None, atol=None, equal_nan=False, check_device=True,
    check_dtype=True, check_layout=True, check_stride=False, msg=None,
):  # fmt: skip
    """Raise AssertionError unless |actual - expected| <= atol + rtol |expected| everywhere.

    Takes tensors, NumPy arrays, Python numbers, None, and sequences and mappings of these. Without `rtol` and `atol`
    they come from the dtypes. Shapes, devices and dtypes must be equal, the two last unless told otherwise. `msg` is
    another message, or a function that makes one of ours.
    """
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.")
    rules = _Rules(allow_subclasses, rtol, atol, equal_nan, check_device, check_dtype, check_stride)
    message = _compare(actual, expected, rules, "")
    if message is not None:
        raise AssertionError(msg(message) if callable(msg) else message if msg is None else msg)


def assert_allclose(actual, expected, rtol=None, atol=None, equal_nan=True, msg=""):
    """The old `assert_close`: takes what can become a tensor, and dtypes need not agree."""
    warnings.warn(
        "`torch.testing.assert_allclose()` is deprecated since 1.12 and will be removed in a future release. Please "
        "use `torch.testing.assert_close()` instead.",
        FutureWarning,
        stacklevel=2,
    )
    expected = expected if isinstance(expected, Tensor) else creation.tensor(expected)
    actual = actual if isinstance(actual, Tensor) else creation.tensor(actual, dtype=expected.dtype)
    if rtol is None and atol is None:
        kinds = {dtypes.float16: (1e-3, 1e-3), dtypes.float32: (1e-4, 1e-5), dtypes.float64: (1e-5, 1e-8)}
        rtol, atol = (max(pair) for pair in zip(*(kinds.get(t.dtype, (0, 0)) for t in (actual, expected)), strict=True))
    assert_close(
        actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False,
        msg=msg or None,
    )  # fmt: skip


def _compare(actual, expected, rules, item):
    """What is wrong with two values at the place `item`, or None."""
    if isinstance(actual, Sequence) and isinstance(expected, Sequence) and not isinstance(actual, str):
        return _compare_sequences(actual, expected, rules, item)
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        return _compare_mappings(actual, expected, rules, item)
    message = _compare_leaves(actual, expected, rules)
    return message + (f"\n\nThe failure occurred for item {item}" if item else "") if message else None


def _compare_sequences(actual, expected, rules, item):
    if len(actual) != len(expected):
        return f"The length of the sequences mismatch: {len(actual)} != {len(expected)}"
    pairs = enumerate(zip(actual, expected, strict=True))
    return next(filter(None, (_compare(*pair, rules, f"{item}[{i}]") for i, pair in pairs)), None)


def _compare_mappings(actual, expected, rules, item):
    if actual.keys() != expected.keys():
        return (
            "The keys of the mappings do not match:\n"
            f"Missing keys in the actual mapping: {sorted(expected.keys() - actual.keys())}\n"
            f"Additional keys in the actual mapping: {sorted(actual.keys() - expected.keys())}"
        )
    found = (_compare(actual[key], expected[key], rules, f"{item}[{key!r}]") for key in sorted(expected))
    return next(filter(None, found), None)


def _compare_leaves(actual, expected, rules):
    pair = (actual, expected)
    if actual is None and expected is None:
        return None
    if all(isinstance(each, (bool, np.bool_)) for each in pair):
        return None if actual == expected else f"Booleans mismatch: {actual} is not {expected}"
    if all(isinstance(each, (int, float, np.number)) for each in pair):
        return _compare_numbers(actual, expected, rules)
    if all(isinstance(each, np.ndarray) for each in pair):
        pair = tuple(creation.wrap(each, CPU) for each in pair)
    related = rules.allow_subclasses or type(actual) is type(expected)
    if all(isinstance(each, Tensor) for each in pair) and related:
        return _compare_tensors(*pair, rules)
    raise TypeError(f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.")


def _compare_numbers(actual, expected, rules):
    if rules.check_dtype and type(actual) is not type(expected):
        return f"The (d)types do not match: {type(actual)} != {type(expected)}."
    kinds = [dtypes.float64 if isinstance(each, float) else dtypes.int64 for each in (actual, expected)]
    return _compare_values(actual, expected, *rules.tolerances(*kinds), rules.equal_nan)


def _compare_values(actual, expected, rtol, atol, equal_nan):
    both_nan = equal_nan and cmath.isnan(actual) and cmath.isnan(expected)
    if both_nan or actual == expected or abs(actual - expected) <= atol + rtol * abs(expected) < cmath.inf:
        return None
    difference = abs(actual - expected)
    relative = difference / abs(expected) if expected else cmath.inf
    exact = not (rtol or atol)
    return (
        f"Scalars are not {'equal' if exact else 'close'}!\n\nExpected {expected} but got {actual}.\n"
        f"Absolute difference: {difference}{_allowed(atol, exact)}\n"
        f"Relative difference: {relative}{_allowed(rtol, exact)}"
    )


def _allowed(tolerance, exact):
    return "" if exact else f" (up to {tolerance} allowed)"


def _compare_tensors(actual, expected, rules):
    for name, one, other, checked in (
        ("shape", actual.shape, expected.shape, True),
        ("device", actual.device, expected.device, rules.check_device),
        ("dtype", actual.dtype, expected.dtype, rules.check_dtype),
        ("stride()", actual.stride(), expected.stride(), rules.check_stride),
    ):
        if checked and one != other:
            return f"The values for attribute {name!r} do not match: {one} != {other}."
    rtol, atol = rules.tolerances(actual.dtype, expected.dtype)
    kind = dtypes.promote_types(actual.dtype, expected.dtype)
    found, wanted = (each.detach().cpu().to(kind).numpy() for each in (actual, expected))
    if not found.ndim:
        return _compare_values(actual.item(), expected.item(), rtol, atol, rules.equal_nan)
    return _compare_arrays(found, wanted, rtol, atol, rules.equal_nan)


def _compare_arrays(found, wanted, rtol, atol, equal_nan):
    if found.dtype.kind == "b":
        found, wanted = found.astype(np.int64), wanted.astype(np.int64)
    with np.errstate(all="ignore"):
        difference = np.abs(found - wanted)
        near = difference.astype(np.float64) <= atol + rtol * np.abs(wanted.astype(np.float64))
        near = (found == wanted) | (near & np.isfinite(wanted.astype(np.float64)))
        if equal_nan:
            near |= (found != found) & (wanted != wanted)
        if near.all():
            return None
        floating = difference.astype(np.float32) if found.dtype.kind in "iu" else difference
        relative = floating / np.abs(wanted).astype(floating.dtype)
    exact, count = not (rtol or atol), int((~near).sum())
    lines = [f"Tensor-likes are not {'equal' if exact else 'close'}!", ""]
    lines.append(f"Mismatched elements: {count} / {near.size} ({count / near.size:.1%})")
    for name, values, tolerance in (("absolute", difference, atol), ("relative", relative, rtol)):
        values = np.where(near, values.dtype.type(0), values)
        place = np.unravel_index(int(np.argmax(values.astype(np.float64))), values.shape)
        index, value = tuple(map(int, place)), creation.wrap(values, CPU)[place].item()
        lines.append(f"Greatest {name} difference: {value} at index {index}{_allowed(tolerance, exact)}")
    return "\n".join(lines)
