"""What views select, in memory of its own: `permute_copy` is `permute`, copied, and so on."""

from __future__ import annotations

from tritorch.functional import shapes, splitting
from tritorch.functional.queries import detach
from tritorch.ops.base import EXPORTS, export
from tritorch.ops.outputs import takes_out
from tritorch.ops.shape.views import alias_view, reshape
from tritorch.runtime.dtypes import dtype
from tritorch.runtime.memory_format import contiguous_format


def _copying(name, view):
    def copying(input, *args, **kwargs):
        return view(input, *args, **kwargs).clone(memory_format=contiguous_format)

    copying.__name__ = f"{name}_copy"
    copying.__doc__ = f"What `{name}` selects, in memory of its own."
    export(f"{name}_copy")(takes_out(copying))


def _copying_parts(name, view):
    def copying(input, *args, **kwargs):
        return tuple([part.clone(memory_format=contiguous_format) for part in view(input, *args, **kwargs)])

    copying.__name__ = f"{name}_copy"
    copying.__doc__ = f"The parts that `{name}` selects, each in memory of its own."
    export(f"{name}_copy")(copying)


def _slice(input, dim=0, start=None, end=None, step=1):
    return shapes.slice_dim(input, dim % max(input.array.ndim, 1), start, end, step)


def _view(input, size):
    """As Tensor.view, but also where the strides do not allow a view."""
    return input.view(size) if isinstance(size, dtype) else reshape(input, size)


@export("narrow_copy", "Tensor.narrow_copy")
@takes_out
def narrow_copy(input, dim, start, length):
    """What `narrow` selects, in memory of its own."""
    if 0 < input.array.ndim <= dim:
        raise RuntimeError(f"narrow_copy: expected dim < {input.array.ndim}, but got {dim}")
    return shapes.narrow(input, dim, start, length).clone(memory_format=contiguous_format)


_copying("alias", alias_view)
_copying("detach", detach)
_copying("slice", _slice)
_copying("view", _view)
for _name in ("as_strided", "diagonal", "expand", "permute", "select", "squeeze", "t", "transpose", "unfold",
              "unsqueeze"):  # fmt: skip
    _copying(_name, EXPORTS[f"Tensor.{_name}"])
for _name, _view in (("split", splitting.split), ("split_with_sizes", splitting.split_with_sizes),
                     ("unbind", shapes.unbind)):  # fmt: skip
    _copying_parts(_name, _view)
