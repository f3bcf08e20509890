"""Holds every op against its reference: each sample, forward and gradient, on one device.

The truth is the reference in float64. The first directional derivative of the reference, by central differences, is the
truth for the gradient on the CPU; on other devices the CPU's gradient is.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from tritorch import creation
from tritorch.autograd import grad
from tritorch.autograd.variable import Variable
from tritorch.ops.base import TABLE, Op
from tritorch.ops.draw import Draw
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes, plans, transfer
from tritorch.runtime.quiet import restore, silence
from tritorch.runtime.strides import may_overlap_itself

# The one tolerance table: (relative, absolute) by dtype; gradients get ten times, long sums grow with the root of their
# length.
TOLERANCES = {
    "float64": (1e-9, 1e-10),
    "float32": (2e-5, 2e-6),
    "float16": (2e-3, 1e-3),
    "bfloat16": (1.6e-2, 1e-2),
}


def tolerance(dtype, gradient=False, length=1):
    """The relative and absolute difference allowed for a dtype (a name, a dtype or a NumPy dtype)."""
    name = dtype if isinstance(dtype, str) else dtypes.of(getattr(dtype, "numpy", dtype)).name
    if name not in TOLERANCES:
        return 0.0, 0.0
    relative, absolute = TOLERANCES[name]
    factor = (10 if gradient else 1) * max(1.0, length**0.5)
    return relative * factor, absolute * factor


REPLAYED = 3  # samples of each op that plans are held against on a GPU


@dataclass(frozen=True)
class Finding:
    """The outcome of one comparison."""

    op: str
    sample: int
    device: str
    dtype: str
    what: str
    ok: bool
    error: float = 0.0
    message: str = ""

    def __str__(self):
        state = "ok" if self.ok else "MISMATCH"
        return f"{self.op} sample {self.sample} {self.dtype} on {self.device}, {self.what}: {state} {self.message}"


def samples_of(op, dtype=np.float32):
    """The samples of an op, the same ones at every call."""
    draw = Draw(dtype, zlib.crc32(op.op_name.encode()))
    return [tuple(_as_array(each) for each in _as_tuple(sample)) for sample in op.samples(draw)]


def _as_array(value):
    """Arithmetic on arrays without dimensions gives NumPy's scalars; samples mean tensors."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def check_op(op, device="cpu", dtype=np.float32, gradients=True):
    """Compare op (a class or a name) with its reference on every sample; yields Findings."""
    op = TABLE[op] if isinstance(op, str) else op
    where = devices.resolve(device)
    for number, sample in enumerate(samples_of(op, dtype)):
        yield from _guarded(check_forward, op, sample, number, where, dtype)
        if gradients and is_differentiable(op) and has_floating_input(sample):
            yield from _guarded(check_gradient, op, sample, number, where, dtype)
        if where.is_cuda and number < REPLAYED:
            yield from _guarded(check_replay, op, sample, number, where, dtype)


def _guarded(check, op, sample, number, device, dtype):
    try:
        yield check(op, sample, number, device, dtype)
    except Exception as error:  # a check that dies is a finding, with its cause
        text = f"{type(error).__name__}: {error}"
        what = check.__name__.removeprefix("check_")
        yield Finding(op.op_name, number, str(device), np.dtype(dtype).name, what, False, float("inf"), text)


def is_differentiable(op):
    """Whether the op defines a gradient."""
    return op.backward is not Op.backward and not op.creates and not getattr(op, "in_place", False)


def has_floating_input(sample):
    """Whether a sample has something to differentiate by."""
    return any(_is_floating(each) and each.size for each in sample)


def depends_on_dtype(op):
    """Whether the samples of an op are drawn in a floating dtype, so that other dtypes are other checks."""
    return any(_is_floating(each) for sample in samples_of(op) for each in sample)


def _is_floating(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "fV"


def check_forward(op, sample, number, device, dtype):
    """The op on `device` against its reference in float64."""
    truth = _as_tuple(reference_in_float64(op, sample))
    got = _as_tuple(call_on(op, sample, device))
    worst, message = 0.0, ""
    length = reduction_length(sample, truth)
    if len(got) != len(truth):
        return Finding(op.op_name, number, str(device), np.dtype(dtype).name, "forward", False, float("inf"),
                       f"{len(got)} results, the reference has {len(truth)}")  # fmt: skip
    for mine, true in zip(got, truth, strict=True):
        error, text = difference(transfer.to_host(mine.array), np.asarray(true), length=length)
        if error > worst:
            worst, message = error, text
    return Finding(op.op_name, number, str(device), np.dtype(dtype).name, "forward", worst <= 1, worst, message)


def reference_in_float64(op, sample):
    """The truth: the reference on doubles, or on what is there for ops that only move elements."""
    wide = _wide(sample)
    before = silence()
    try:
        return op.reference(*wide)
    finally:
        restore(before)


def call_on(op, sample, device):
    """The op through dispatch, on Tensors that have the sample's memory layout on `device`."""
    args = [on_device(each, device) for each in sample]
    return op.apply(*args, *_device_of(op, device))


def on_device(value, device, requires_grad=False):
    """A tensor of an array, strides and all; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    moved = transfer.mirror(_keep_layout(value), device)
    tensor = creation.wrap(moved, device)
    tensor.requires = requires_grad and value.dtype.kind in "fV"
    return tensor


def _keep_layout(array):
    """A copy with the same strides, so that in-place ops leave samples alone."""
    if array.flags.c_contiguous:
        return array.copy()
    copy = np.empty_like(array, subok=False)
    if copy.strides == array.strides:
        copy[...] = array
        return copy
    return array


def check_gradient(op, sample, number, device, dtype):
    """The gradient of a fixed random combination of the results, by every floating argument."""
    name, where = op.op_name, str(device)
    got = gradients_on(op, sample, device)
    if device.type == "cpu":
        error, message = 0.0, "no derivative here"
        if op.differentiable_at(*sample) and not any(np.isnan(each).any() for each in sample if _is_floating(each)):
            error, message = directional_error(op, sample, got)
    else:
        truth = gradients_on(op, _wide(sample), devices.CPU)
        error, message = 0.0, ""
        length = reduction_length(sample, truth)
        for mine, true in zip(got, truth, strict=True):
            if (mine is None) != (true is None):
                error, message = float("inf"), "a gradient is missing on one side"
            elif mine is not None:
                worse, text = difference(mine, true, gradient=True, length=length)
                error, message = max((error, message), (worse, text))
    return Finding(name, number, where, np.dtype(dtype).name, "gradient", error <= 1, error, message)


def check_replay(op, sample, number, device, dtype):
    """The third call of a signature, which a plan answers where one is possible, against `forward`, bit by bit.

    What the calls before were given is zeros by then: a plan must not look there.
    """
    plans.invalidate()  # so that the call that is noted is the second one here
    earlier = []
    for _ in range(2):
        args = [on_device(each, device) for each in sample]
        op.apply(*args, *_device_of(op, device))
        earlier += [each.array for each in args if isinstance(each, Variable)]
    for array in earlier:
        if array.size and not may_overlap_itself(array.shape, array.strides, array.itemsize):
            array.fill(0)
    got = op.apply(*[on_device(each, device) for each in sample], *_device_of(op, device))
    values = [getattr(on_device(each, device), "array", each) for each in sample]
    true = (op.reference if op.views else op().forward)(*values, *_device_of(op, device))
    mine, theirs = ([_bits(each) for each in _as_tuple(results)] for results in (got, true))
    error, message = (0.0, "") if mine == theirs else (float("inf"), "a replayed call gives something else")
    return Finding(op.op_name, number, str(device), np.dtype(dtype).name, "replay", not error, error, message)


def _device_of(op, device):
    return (device,) if op.creates else ()


def _bits(result):
    """What a result is, to the last bit."""
    if result is None:
        return None
    array = transfer.to_host(getattr(result, "array", result))
    return array.shape, array.dtype, array.tobytes()


def _cotangents(results):
    random = np.random.default_rng(1)
    return [np.asarray(random.standard_normal(each.shape)) for each in results]


def gradients_on(op, sample, device):
    """Gradients by the sample's floating arrays, on the host; None where the op gives none."""
    args = [on_device(each, device, True) for each in sample]
    results = [r for r in _as_tuple(op.apply(*args)) if r.requires_grad]
    wanted = [arg for arg in args if isinstance(arg, Variable) and arg.requires]
    if not results:
        return [None for _ in wanted]
    seeds = [
        on_device(seed.astype(r.array.dtype), device) for r, seed in zip(results, _cotangents(results), strict=True)
    ]
    found = grad(results, wanted, seeds, allow_unused=True)
    return [None if each is None else transfer.to_host(each.array) for each in found]


def directional_error(op, sample, gradients):
    """The gradient along one random direction against central differences of the reference in float64."""
    wide = _wide(sample)
    random = np.random.default_rng(2)
    directions = iter([random.standard_normal(each.shape) for each in wide if _is_floating(each)])
    steps = [next(directions) if _is_floating(each) else None for each in wide]
    mine = scale = 0.0
    found = iter(gradients)
    for step in steps:
        if step is not None:
            gradient = next(found)
            if gradient is None:
                step[...] = 0  # a gradient the op says it has not
            else:
                mine += float((gradient.astype(np.float64) * step).sum())
                scale += float(np.abs(gradient.astype(np.float64) * step).sum())

    def value(h):
        moved = [each if step is None else each + h * step for each, step in zip(wide, steps, strict=True)]
        results = [np.asarray(r) for r in _as_tuple(reference_in_float64(op, moved))]
        results = [r for r in results if r.dtype.kind == "f"]
        return sum(float((r * seed).sum()) for r, seed in zip(results, _cotangents(results), strict=True))

    h = 1e-6
    numeric = (value(h) - value(-h)) / (2 * h)
    kinds = [each.dtype for each in sample if _is_floating(each)]
    relative, absolute = tolerance(min(kinds, key=lambda kind: kind.itemsize), gradient=True)
    relative, absolute = max(relative, 1e-6), max(absolute, 1e-7)  # what differences of doubles can resolve
    error = abs(mine - numeric) / (absolute + relative * (1 + scale))
    return error, f"along a random direction {mine:.8g}, by differences {numeric:.8g}"


def reduction_length(sample, results):
    """About how many terms an element of the result sums: what rounding errors grow with."""
    most = max((each.size for each in sample if _is_floating(each)), default=1)
    sizes = [r.array.size if isinstance(r, Variable) else np.asarray(r).size for r in results if r is not None]
    least = min(sizes, default=1)
    return max(1, most // max(1, least))


def difference(mine, true, gradient=False, length=1, scale=1.0):
    """How many times the allowed difference the largest one is, and where; `scale` is what is about one of them."""
    if mine.shape != true.shape:
        return float("inf"), f"shape {mine.shape}, the reference has {true.shape}"
    if mine.size == 0:
        return 0.0, ""
    if mine.dtype.kind not in "fV":
        wrong = mine != true
        return (float("inf"), f"{int(wrong.sum())} of {mine.size} elements differ") if wrong.any() else (0.0, "")
    relative, absolute = tolerance(mine.dtype, gradient, length)
    absolute *= scale
    a, b = mine.astype(np.float64), true.astype(mine.dtype).astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    before = silence()
    error = np.where(same, 0.0, np.abs(a - true.astype(np.float64)) / (absolute + relative * np.abs(b)))
    restore(before)
    error = np.where(np.isnan(error), np.inf, error)
    at = np.unravel_index(int(error.argmax()), error.shape)
    place = [int(i) for i in at]
    return float(error[at]), f"largest difference at {place}: {a[at]:.8g}, the reference {b[at]:.8g}"


def _wide(sample):
    """A sample with its floating arrays in float64."""
    return [each.astype(np.float64) if _is_floating(each) else each for each in sample]


def _as_tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
