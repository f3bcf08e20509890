"""Cases of what is bound by memory: a family's ops over a range of sizes, in GB/s of the bytes that must move.

Those are each input once, each result once, and for a gradient the slope of the result, what it needs of the inputs or
the result, and the gradients it gives; what a library reads or writes besides is its loss. A copy on the device of as
many bytes, half of them read and half written, is timed in the same turns: `copy` is its GB/s, `of_copy` how much of
that ours reached.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from tritorch.autotune.problem import Work
from tritorch.bench.case import Case, short
from tritorch.runtime import dtypes, launcher, transfer

LONG = 8  # bytes of an integer of indices


class Op(NamedTuple):
    """A member of a family; its functions of a shape take the shape's numbers.

    name      what it is called in cases and figures
    function  function(lib, *tensors) does it
    inputs    inputs(*shape): the Inputs; those with `requires_grad` have gradients
    out       out(*shape): the shape of the result, the first of several
    kept      kept(*shape): how many elements a gradient must read beside the slope of the result; None without gradient
    moved     moved(itemsize, *shape): the bytes a forward moves, where those are not inputs and result, once each
    reduced   reduced(lib, result): what both sides are compared by, where the result itself is each library's own
    """

    name: str
    function: Callable
    inputs: Callable
    out: Callable
    kept: Callable | None = None
    moved: Callable | None = None
    reduced: Callable | None = None


@dataclass(frozen=True)
class BandwidthCase(Case):
    """An op on one shape, forward or backward, beside a copy of as many bytes."""

    reduced: Callable | None = None

    def results(self, step):
        """What the step gives, reduced to what libraries have in common."""
        return step() if self.reduced is None else self.reduced(step())

    def beside(self, device):
        """A copy; none where launches do not reach a GPU, since there is nothing to see of it."""
        if device.is_cuda and launcher.is_diverted():
            return []
        return [device_copy(self.work.bytes // 2, device)]

    def facts(self, device, sides, beside):
        """Where the row stands in the family's figure, and the copy."""
        found = {"line": self.line, "size": self.size}
        for seconds in beside:
            found |= {"copy": short(self.figure(seconds)), "of_copy": short(seconds / sides["ours"].seconds)}
        return found


def device_copy(count, device):
    """A function that copies so many bytes within the device."""
    source, target = (transfer.empty((max(count, 1),), np.dtype(np.uint8), device) for _ in range(2))
    if not device.is_cuda:
        return lambda: np.copyto(target, source)
    from tritorch.runtime.cuda import copies

    return lambda: copies.copy_elements(source, target)


def family(ops, shapes, dtypes, size=math.prod, length=lambda shape: shape[-1]):
    """Every op on every shape in every dtype, forward and backward; `size(shape)` is where a case stands on its line,
    `length(shape)` how many terms the longest sums have."""
    for dtype in dtypes:
        for op in ops:
            for backward in (False, True) if op.kept is not None else (False,):
                for shape in shapes:
                    yield case(op, shape, backward, dtype, size(shape), length(shape))


def case(op, shape, backward, dtype, size, length):
    """One of them."""
    inputs, out = op.inputs(*shape), tuple(op.out(*shape))
    line = f"{op.name} {'backward' if backward else 'forward'}"
    given = [each._replace(requires_grad=each.requires_grad and backward) for each in inputs]
    if backward:
        given.append(inputs[0]._replace(shape=out, requires_grad=False, order=_order(inputs[0], out), below=None))
    return BandwidthCase(
        name=f"{line} {'x'.join(map(str, shape))}",
        dtype=dtype,
        inputs=tuple(given),
        step=partial(_backward if backward else _forward, op.function),
        work=Work(0, _moved(op, inputs, out, shape, backward, dtype), dtype),
        length=length,
        unit="GB/s",
        gives_gradients=backward,
        compiles=True,
        line=line,
        size=size,
        reduced=op.reduced,
    )


def _order(given, out):
    """The slope of a result lies in memory as the op's input does, where it has as many dimensions."""
    return given.order if given.order is not None and len(given.order) == len(out) else None


def _moved(op, inputs, out, shape, backward, dtype):
    width = dtypes.NAMES[dtype].itemsize
    if backward:
        gradients = sum(each.size for each in inputs if each.requires_grad)
        return width * (math.prod(out) + op.kept(*shape) + gradients)
    if op.moved is not None:
        return op.moved(width, *shape)
    return sum(each.size * (width if each.below is None else LONG) for each in inputs) + width * math.prod(out)


def _called(function, lib, wrap):
    def call(*tensors):
        return function(lib, *tensors)

    return call if wrap is None else wrap(call)


def _forward(function, lib, *tensors, wrap=None):
    call = _called(function, lib, wrap)
    return lambda: call(*tensors)


def _backward(function, lib, *tensors, wrap=None):
    *inputs, grad = tensors
    out = _called(function, lib, wrap)(*inputs)
    out = out[0] if isinstance(out, tuple) else out
    wanted = [each for each in inputs if each.requires_grad]
    return lambda: lib.autograd.grad(out, wanted, grad, retain_graph=True)


# ------------------------------------------------------------------------------------------- shapes of several families

ELEMENTS = tuple((1 << power,) for power in range(14, 29, 2))
QUICK_ELEMENTS, SMALL_ELEMENTS, TINY_ELEMENTS = ((1 << 20,), (1 << 26,)), ((1 << 12,), (1 << 18,)), ((1 << 11,),)

ROWS = ((65536, 128), (65536, 512), (32768, 1024), (16384, 2048), (8192, 4096), (4096, 8192), (2048, 16384),
        (1024, 32768), (512, 65536), (128, 131072), (32, 262144))  # fmt: skip
QUICK_ROWS, SMALL_ROWS, TINY_ROWS = ((32768, 1024), (1024, 32768)), ((512, 128), (64, 2048)), ((8, 128),)

# images, channels, side
IMAGES = tuple((count, 64, 56) for count in (1, 4, 16, 64, 256))
QUICK_IMAGES, SMALL_IMAGES, TINY_IMAGES = ((64, 64, 56),), ((1, 16, 16), (4, 16, 32)), ((1, 8, 8),)


def chosen(full, quick_ones, small_ones, tiny, quick, small):
    """Of a family's shapes those that are asked for."""
    if small:
        return tiny if quick else small_ones
    return quick_ones if quick else full


elements = partial(chosen, ELEMENTS, QUICK_ELEMENTS, SMALL_ELEMENTS, TINY_ELEMENTS)
rows = partial(chosen, ROWS, QUICK_ROWS, SMALL_ROWS, TINY_ROWS)
images = partial(chosen, IMAGES, QUICK_IMAGES, SMALL_IMAGES, TINY_IMAGES)


def columns(shape):
    """Where rows stand on their line: how long they are."""
    return shape[-1]
