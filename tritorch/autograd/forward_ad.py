"""torch.autograd.forward_ad: tangents that travel with values, from `make_dual` to `unpack_dual`.

Nothing travels here: what is computed from a dual tensor is recorded, and `unpack_dual` finds the tangent by two passes
backward over that record (see func/transforms.py). So it costs most where PyTorch's costs nothing, all that is done
must have second derivatives, and a dual tensor says that it requires a gradient.
"""

from __future__ import annotations

from typing import NamedTuple

from tritorch.autograd.grad_mode import state
from tritorch.autograd.variable import Variable
from tritorch.func.graph import gradients, reaches_out, recording
from tritorch.ops.shape.views import alias_view


class UnpackedDualTensor(NamedTuple):
    """A value, and its tangent, None where it depends on no dual tensor."""

    primal: Variable
    tangent: Variable | None


class _Level:
    """The dual tensors made since `enter_dual_level`, with their tangents."""

    def __init__(self):
        self.leaves, self.tangents = [], []
        self.recorded, state.recording = state.recording, True  # also under no_grad, which does not concern tangents


_levels: list[_Level] = []


def enter_dual_level():
    """Begin a level, outside of which its tangents do not exist; returns its number, which is 0."""
    if _levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _levels.append(_Level())
    return 0


def exit_dual_level(*, level=None):
    """End the level, which forgets its tangents."""
    if not _levels or level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    state.recording = _levels.pop().recorded


class dual_level:
    """A level, as a context manager."""

    def __enter__(self):
        return enter_dual_level()

    def __exit__(self, *_):
        exit_dual_level()


def make_dual(tensor, tangent, *, level=None):
    """A tensor like `tensor` that has a tangent, of the same shape, in this level."""
    if not _levels:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for name, each in (("primal", tensor), ("tangent", tangent)):
        if not each.is_floating_point():
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {each.dtype}")
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    if tensor.requires_grad:
        dual = alias_view(tensor)
    else:
        dual = tensor.detach()
        dual.requires = True
    _levels[-1].leaves.append(dual)
    _levels[-1].tangents.append(tangent)
    return dual


def unpack_dual(tensor, *, level=None):
    """The value of a tensor, and its tangent: the Jacobian by all dual tensors times their tangents."""
    if not _levels:
        return UnpackedDualTensor(tensor, None)
    here = _levels[-1]
    if not tensor.is_floating_point() or not tensor.requires_grad:
        return UnpackedDualTensor(tensor, None)
    connected = here.recorded and reaches_out([tensor], here.leaves)
    point = tensor.detach().new_ones(tensor.shape)
    point.requires = True
    with recording(True):
        pulled = gradients([(tensor, point)], here.leaves, retain_graph=True, create_graph=True)
    pairs = [(g, tangent) for g, tangent in zip(pulled, here.tangents, strict=True) if g is not None]
    primal = tensor if connected else tensor.detach()
    if not pairs:
        return UnpackedDualTensor(primal, None)
    (found,) = gradients(pairs, [point], retain_graph=True, create_graph=connected)
    return UnpackedDualTensor(primal, point.new_zeros(point.shape) if found is None else found)
