"""The text of a tensor, as PyTorch prints it: aligned columns, four digits, large tensors by their corners."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tritorch.ops.base import export
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes, transfer


@dataclass(frozen=True)
class Options:
    """How tensors print. sci_mode: None decides by the numbers."""

    precision: int = 4  # digits behind the point
    threshold: float = 1000  # elements from which on a tensor is summarised
    edgeitems: int = 3  # indices shown at each end then
    linewidth: int = 80
    sci_mode: bool | None = None


PROFILES = {
    "default": Options(),
    "short": Options(precision=2, edgeitems=2),
    "full": Options(threshold=math.inf),
}
_options = Options()


@export("set_printoptions")
def set_printoptions(precision=None, threshold=None, edgeitems=None, linewidth=None, profile=None, sci_mode=None):
    """Set how tensors print: a profile ("default", "short", "full"), and whatever is given beside it."""
    global _options
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"set_printoptions(): profile is one of {', '.join(PROFILES)}, got {profile!r}")
    base = _options if profile is None else PROFILES[profile]
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    # Without sci_mode the numbers decide again: that is how a fixed mode is left.
    _options = replace(base, sci_mode=sci_mode, **{name: value for name, value in given.items() if value is not None})


@export("get_printoptions")
def get_printoptions():
    """The current options, as a dictionary."""
    return dict(vars(_options))


def tensor_text(tensor, contents=None):
    """The text of `repr(tensor)`: its elements, or `contents` for them, then what is not as usual about it."""
    prefix = "tensor("
    shape = tensor.array.shape
    notes = _notes(tensor)
    if contents is not None:
        body = contents
    elif 0 in shape:
        body = "[]"
    else:
        summarised = tensor.array.size > _options.threshold
        array = transfer.to_host(_corners(tensor.array) if summarised else tensor.array)
        body = _nested(array, shape, len(prefix), summarised, element_format(array))
    return _with_notes(prefix + body, notes, len(prefix))


def bare_text(tensor):
    """The text of a tensor's elements alone, with the size of an empty one."""
    if 0 in tensor.array.shape:
        return f"tensor([], size={tuple(tensor.array.shape)})"
    text = tensor_text(tensor)
    return text[: text.rindex("]") + 1] + ")"


def sparse_text(tensor, indices, values):
    """The text of a sparse tensor of which `indices` and `values` are the parts."""
    where = bare_text(indices).replace("\n", "\n" + " " * 15)
    what = bare_text(values.detach()).replace("\n", "\n" + " " * 14)
    text = f"tensor(indices={where},\n       values={what},\n       size={tuple(tensor.shape)}, nnz={len(values)}"
    notes = _device_note(tensor) + _dtype_note(tensor, False) + [f"layout={tensor.layout!r}"] + _gradient_note(tensor)
    return _with_notes(text, notes, len("tensor("))


def _notes(tensor):
    empty = 0 in tensor.array.shape
    size = [f"size={tuple(tensor.array.shape)}"] if empty and tensor.array.ndim != 1 else []
    return _device_note(tensor) + size + _dtype_note(tensor, empty) + _gradient_note(tensor)


def _device_note(tensor):
    return [] if tensor.device is devices.get_default_device() else [f"device='{tensor.device}'"]


def _dtype_note(tensor, empty):
    usual = (dtypes.get_default_dtype(),) if empty else (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_)
    return [] if tensor.dtype in usual else [f"dtype={tensor.dtype!r}"]


def _gradient_note(tensor):
    if not tensor.requires_grad:
        return []
    return ["requires_grad=True" if tensor.grad_fn is None else f"grad_fn=<{tensor.grad_fn.name()}>"]


def _with_notes(text, notes, indent):
    length = len(text) - text.rfind("\n") + 1
    for note in notes:
        if length + len(note) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + note
            length = indent + len(note)
        else:
            text += ", " + note
            length += len(note) + 2
    return text + ")"


# ---------------------------------------------------------------- numbers


def element_format(array):
    """A function that formats one element, and the width that all elements of `array` take."""
    if array.dtype.kind not in "fV":
        width = max(len(str(value)) for value in array.reshape(-1).tolist())
        return (lambda value: str(value).rjust(width)), width
    wide = array.astype(np.float64)
    counted = np.abs(wide[np.isfinite(wide) & (wide != 0)])
    whole = bool((counted == np.ceil(counted)).all())
    low, high = (counted.min(), counted.max()) if counted.size else (1.0, 1.0)
    scientific = _options.sci_mode if counted.size else False
    if scientific is None:
        scientific = bool(high / low > 1000 or high > 1e8 or (not whole and low < 1e-4))
    if scientific:
        pattern, point = f"{{:.{_options.precision}e}}", ""
    elif whole:
        pattern, point = "{:.0f}", "."
    else:
        pattern, point = f"{{:.{_options.precision}f}}", ""

    def text(value):
        return pattern.format(value) + (point if math.isfinite(value) else "")

    shown = wide[np.isfinite(wide) & (wide != 0)]
    width = max((len(text(value)) for value in shown.tolist()), default=1)
    return (lambda value: text(value).rjust(width)), width


# ---------------------------------------------------------------- layout


def _corners(array):
    """The elements a summary shows: both ends of every dimension that has a middle."""
    edge = _options.edgeitems
    for dim, size in enumerate(array.shape):
        if size > 2 * edge:
            before = (slice(None),) * dim
            ends = [transfer.to_host(array[(*before, part)]) for part in (slice(0, edge), slice(size - edge, size))]
            if dim + 1 < array.ndim and array.size > _options.threshold:
                ends = [_corners_after(end, dim + 1) for end in ends]
            return np.concatenate(ends, dim)
    return array


def _corners_after(array, first):
    edge = _options.edgeitems
    for dim in range(first, array.ndim):
        size = array.shape[dim]
        if size > 2 * edge:
            array = array.take([*range(edge), *range(size - edge, size)], dim)
    return array


def _nested(array, shape, indent, summarised, form):
    """The elements of `array`, or the corners of a tensor of `shape`, in nested brackets."""
    text, width = form
    if not shape:
        return text(_number(array.reshape(-1)[0]))
    edge = _options.edgeitems
    cut = summarised and shape[0] > 2 * edge
    if len(shape) == 1:
        parts = [text(_number(value)) for value in array]
        if cut:
            parts[edge:edge] = [" ..."]
        in_line = max((_options.linewidth - indent) // (width + 2), 1)
        lines = [", ".join(parts[start : start + in_line]) for start in range(0, len(parts), in_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    parts = [_nested(each, shape[1:], indent + 1, summarised, form) for each in array]
    if cut:
        parts[edge:edge] = ["..."]
    return "[" + ("," + "\n" * (len(shape) - 1) + " " * (indent + 1)).join(parts) + "]"


def _number(value):
    found = value.item()
    return found if isinstance(found, (int, float)) else float(found)
