"""Differences and integrals of sampled functions: diff, gradient, trapezoid, cumulative_trapezoid."""

from __future__ import annotations

import numbers

from tritorch.autograd.variable import Variable
from tritorch.ops.base import export, write_out
from tritorch.ops.dimensions import wrap_dim, wrap_dims
from tritorch.ops.guard import need_tensors
from tritorch.ops.scan.sums import Cumsum
from tritorch.ops.shape.joining import Cat
from tritorch.runtime import dtypes


@export("diff", "Tensor.diff")
def diff(input, n=1, dim=-1, prepend=None, append=None, *, out=None):
    """input[i + 1] - input[i] along `dim`, `n` times; whether they differ, of bools."""
    need_tensors("diff", input=input)
    if not input.array.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = wrap_dim(dim, input.array.ndim)
    for each in (prepend, append):
        if each is not None:
            _check_joins(input, each, dim)
    if n == 0:
        return input.clone() if out is None else write_out(out, input)
    if prepend is not None or append is not None:
        input = Cat.call([each for each in (prepend, input, append) if each is not None], dim)
    for _ in range(min(n, input.array.shape[dim])):
        later, earlier = _shifted(input, dim)
        input = later != earlier if input.dtype is dtypes.bool_ else later - earlier
    return input if out is None else write_out(out, input)


def _check_joins(input, other, dim):
    if other.array.ndim != input.array.ndim:
        raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    for at, (size, given) in enumerate(zip(input.array.shape, other.array.shape, strict=True)):
        if size != given and at != dim:
            raise RuntimeError(
                "diff expects the shape of tensor to prepend or append to match that of input except along the "
                f"differencing dimension; input.size({at}) = {size}, but got tensor.size({at}) = {given}"
            )


def _shifted(input, dim):
    """The elements along `dim` without the first, and without the last."""
    left = max(input.array.shape[dim] - 1, 0)
    return input.narrow(dim, input.array.shape[dim] - left, left), input.narrow(dim, 0, left)


# ---------------------------------------------------------------- gradient


@export("gradient")
def gradient(input, *, spacing=None, dim=None, edge_order=1):
    """The derivative along each of the dimensions, by central differences of second order.

    `spacing` is the distance of neighbours, a number for all dimensions or one for each, or for each the coordinates, a
    vector. At the ends the differences are one-sided, of order `edge_order`. Formulas: Fornberg, "Generation of finite
    difference formulas on arbitrarily spaced grids", 1988.
    """
    need_tensors("gradient", input=input)
    if input.dtype is dtypes.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    ndim = input.array.ndim
    dims = tuple(range(ndim)) if dim is None else wrap_dims(dim, ndim)
    steps = _steps(spacing, dims, dim is not None, ndim)
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if any(input.array.shape[each] < edge_order + 1 for each in dims):
        raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    if not input.is_floating_point():
        input = input.to(dtypes.get_default_dtype())
    return tuple([_slope(input, each, step, edge_order) for each, step in zip(dims, steps, strict=True)])


def _steps(spacing, dims, given, ndim):
    """For each dimension a number, or a tensor of coordinates."""
    if spacing is None:
        return (1,) * len(dims)
    if isinstance(spacing, numbers.Number) or (isinstance(spacing, Variable) and not spacing.array.ndim):
        return (float(spacing),) * len(dims)
    if isinstance(spacing, Variable):
        raise TypeError("gradient(): argument 'spacing' must be a number or a tuple of numbers or Tensors, not Tensor")
    spacing = tuple(spacing)
    if len(spacing) != len(dims):
        if given:
            raise RuntimeError(
                "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to have "
                f"the same length, but got a spacing argument of length {len(spacing)} and a dim argument of length "
                f"{len(dims)}."
            )
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to 'self.dim() = "
            f"{ndim}', since dim argument was not given, but got a list of length {len(spacing)}"
        )
    return spacing


def _slope(input, dim, step, order):
    """The derivative along one dimension."""
    size = input.array.shape[dim]
    parts = [input.narrow(dim, start, max(size - 2, 0)) for start in range(3 if size > 2 else 0)]
    edges = [input.narrow(dim, at, 1) for at in (*range(order + 1), *range(size - order - 1, size))]
    if not isinstance(step, Variable):
        first, last = _one_sided(edges, order)
        middle = [(parts[2] - parts[0]) / 2] if parts else []
        return Cat.call([first, *middle, last], dim) / step
    shape = [-1 if at == dim else 1 for at in range(input.array.ndim)]
    later, earlier = _shifted(step, 0)
    widths = (later - earlier).reshape(shape)
    count = widths.array.shape[dim]
    a, b = widths.narrow(dim, 0, max(count - 1, 0)), widths.narrow(dim, min(count, 1), max(count - 1, 0))
    middle = []
    if parts:
        middle = [parts[0] * (-b / (a * (a + b))) + parts[1] * ((b - a) / (a * b)) + parts[2] * (a / (b * (a + b)))]
    ends = [widths.narrow(dim, at, 1) for at in ((0, count - 1) if order == 1 else (0, 1, count - 2, count - 1))]
    first, last = _one_sided_between(edges, ends)
    return Cat.call([first, *middle, last], dim)


def _one_sided(edges, order):
    """The slopes at both ends, of elements one apart."""
    if order == 1:
        return edges[1] - edges[0], edges[3] - edges[2]
    first = edges[0] * -1.5 + edges[1] * 2 - edges[2] * 0.5
    return first, edges[3] * 0.5 - edges[4] * 2 + edges[5] * 1.5


def _one_sided_between(edges, widths):
    """The slopes at both ends, of elements as far apart as `widths` say."""
    if len(widths) == 2:
        return (edges[1] - edges[0]) / widths[0], (edges[3] - edges[2]) / widths[1]
    a, b = widths[:2]
    first = edges[0] * (-(2 * a + b) / (a * (a + b))) + edges[1] * ((a + b) / (a * b)) - edges[2] * (a / (b * (a + b)))
    a, b = widths[2:]
    last = edges[3] * (b / (a * (a + b))) - edges[4] * ((a + b) / (a * b)) + edges[5] * ((2 * b + a) / (b * (a + b)))
    return first, last


# ---------------------------------------------------------------- integrals


@export("trapezoid", "trapz")
def trapezoid(y, x=None, *, dx=1, dim=-1):
    """The integral of `y` along `dim` by the trapezoidal rule: neighbours are `dx` apart, or at the coordinates `x`."""
    need_tensors("trapezoid", y=y)
    if not y.array.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = wrap_dim(dim, y.array.ndim)
    if not y.array.shape[dim]:
        return y.new_zeros([size for at, size in enumerate(y.array.shape) if at != dim])
    return _trapezoids("trapezoid", y, x, dx, dim, lambda areas: areas.sum(dim))


@export("cumulative_trapezoid")
def cumulative_trapezoid(y, x=None, *, dx=1, dim=-1):
    """The integral of `y` up to each of its points but the first, by the trapezoidal rule."""
    need_tensors("cumulative_trapezoid", y=y)
    if not y.array.ndim:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, y.array.ndim)
    return _trapezoids("cumulative_trapezoid", y, x, dx, dim, lambda areas: Cumsum.apply(areas, dim, None, False))


def _trapezoids(op, y, x, dx, dim, total):
    for name, each in (("y", y), ("x", x)):
        if each is not None and each.dtype is dtypes.bool_:
            raise RuntimeError(f"{op}: received a bool input for `{name}`, but bool is not supported")
    later, earlier = _shifted(y, dim)
    if x is None:
        if not isinstance(dx, numbers.Number):
            raise TypeError(
                f"{op}() received an invalid combination of arguments - got (Tensor, dx={type(dx).__name__}), but "
                "expected (Tensor y, Tensor x, *, int dim = -1) or (Tensor y, *, Number dx = 1, int dim = -1)"
            )
        return total(later + earlier) * dx / 2
    if x.array.ndim == 1 and y.array.ndim != 1:
        if x.array.shape[0] != y.array.shape[dim]:
            raise RuntimeError(f"{op}: There must be one `x` value for each sample point")
        x = x.reshape([-1 if at == dim else 1 for at in range(y.array.ndim)])
    elif x.array.ndim < y.array.ndim:
        x = x.reshape((*(1,) * (y.array.ndim - x.array.ndim), *x.array.shape))
    right, left = _shifted(x, dim)
    return total((later + earlier) * (right - left)) / 2
