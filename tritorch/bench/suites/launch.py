"""What Python costs: microseconds from a call until its launch is queued, without and with gradients.

Two empty kernels of 6 and 16 arguments are launched by themselves too, where there is a GPU.
"""

from __future__ import annotations

from tritorch.bench.case import Case, Input
from tritorch.runtime import tl
from tritorch.runtime.kernel import Kernel

DTYPES = ("float32",)
SIDE = 16  # of the matrices: what the device does with them is over sooner than the next call is made


@Kernel
def six(
    x,  # nothing is read: (16, 16)
    y,  # nothing is read: (16, 16)
    out,  # nothing is written: (16, 16)
    n,
    alpha,
    BLOCK: tl.constexpr,
):
    tl.static_assert(BLOCK == 128)


@Kernel
def sixteen(
    a,  # nothing is read: (16, 16)
    b,  # nothing is read: (16, 16)
    c,  # nothing is read: (16, 16)
    d,  # nothing is read: (16, 16)
    e,  # nothing is written: (16, 16)
    rows,
    columns,
    inner,
    a_row,
    a_column,
    b_row,
    b_column,
    alpha,
    beta,
    BLOCK: tl.constexpr,
    EVEN: tl.constexpr,
):
    tl.static_assert(BLOCK == 128)


def cases(dtypes, quick, small):
    """The kernels, and ops of one launch each."""
    for dtype in dtypes:
        yield kernel_case("kernel of 6 arguments", 1, _six, dtype)
        yield kernel_case("kernel of 16 arguments", 5, _sixteen, dtype)
        for name, shapes, step in OPS[:1] if quick else OPS:
            for gradient in (False, True):
                yield op_case(name, shapes, step, gradient, dtype)


def kernel_case(name, count, step, dtype):
    """A kernel by itself, which needs a GPU."""
    return Case(name, dtype, (Input((SIDE, SIDE)),) * count, step, on_host=True, alone=True, needs_gpu=True)


def op_case(name, shapes, step, gradient, dtype):
    """An op's call, which notes what its gradient needs if asked."""
    inputs = tuple(Input(shape, requires_grad=gradient) for shape in shapes)
    return Case(f"{name} {'with' if gradient else 'without'} gradients", dtype, inputs, step, length=SIDE, on_host=True)


def _six(lib, x):
    array = x.array
    return lambda: six[(4,)](array, array, array, 1000, 0.5, BLOCK=128, num_warps=4)


def _sixteen(lib, *tensors):
    x, y, z, u, v = (each.array for each in tensors)
    return lambda: sixteen[(4, 2)](
        x, y, z, u, v, 1000, 64, 48, 64, 1, 48, 1, 0.5, 2.0, BLOCK=128, EVEN=True, num_warps=4
    )


MATRIX = (SIDE, SIDE)
OPS = (
    ("add", (MATRIX, MATRIX), lambda lib, a, b: lambda: a + b),
    ("relu", (MATRIX,), lambda lib, a: lambda: lib.relu(a)),
    ("sum", (MATRIX,), lambda lib, a: lambda: a.sum()),
    ("matmul", (MATRIX, MATRIX), lambda lib, a, b: lambda: a @ b),
    ("linear", (MATRIX, MATRIX, (SIDE,)), lambda lib, x, w, b: lambda: lib.nn.functional.linear(x, w, b)),
)
