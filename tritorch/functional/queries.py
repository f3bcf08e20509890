"""What tensors are asked, as functions; and their diagonal, order and memory."""

from __future__ import annotations

from tritorch.ops.base import export
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import element_strides
from tritorch.ops.shape.reordered import Flip
from tritorch.ops.shape.strided_views import AsStrided
from tritorch.runtime import dtypes, transfer


@export("numel")
def numel(input):
    """The number of elements."""
    return input.array.size


@export("get_device")
def get_device(input):
    """The index of the tensor's GPU, -1 on a host device."""
    return input.get_device()


@export("detach")
def detach(input):
    """The same memory without the history."""
    return input.detach()


@export("is_complex")
def is_complex(input):
    """Whether the dtype is complex: never, yet."""
    need_tensors("is_complex", input=input)
    return False


def _never(*names):
    """A question whose answer is False for every tensor."""
    for name in names:

        def answer(input, name=name):
            need_tensors(name, input=input)
            return False

        answer.__doc__ = "Always False: tritorch has no such tensors."
        export(name, f"Tensor.{name}")(answer)


_never("is_conj", "is_neg", "is_distributed")


@export("is_inference", "Tensor.is_inference")
def is_inference(input):
    """Always False: tensors made in inference mode can be used everywhere."""
    need_tensors("is_inference", input=input)
    return False


@export("Tensor.dim_order")
def dim_order(self, ambiguity_check=False):
    """The dimensions by how they lie in memory, outermost first."""
    steps = element_strides(self.array)
    return tuple(sorted(range(len(steps)), key=lambda dim: -steps[dim]))


@export("Tensor.const_data_ptr")
def const_data_ptr(self):
    """The address of the first element."""
    return transfer.pointer(self.array)


@export("Tensor.record_stream")
def record_stream(self, stream):
    """Let a GPU tensor's memory live until the work that is now queued on `stream` is done."""
    if not self.is_cuda:
        raise NotImplementedError(f"record_stream(): only for tensors on a GPU, this one is on {self.device}")
    self.array.record_stream(stream)


@export("is_signed", "Tensor.is_signed")
def is_signed(input):
    """Whether the dtype has negative numbers."""
    return dtypes.of(input.array.dtype).is_signed


@export("is_same_size", "Tensor.is_same_size")
def is_same_size(input, other):
    """Whether two tensors have the same shape."""
    return input.array.shape == other.array.shape


@export("Tensor.is_set_to")
def is_set_to(self, tensor):
    """Whether both tensors are the same elements of the same memory."""
    mine, other = self.array, tensor.array
    same = mine.shape == other.shape and element_strides(mine) == element_strides(other)
    return same and transfer.pointer(mine) == transfer.pointer(other)


@export("can_cast")
def can_cast(from_, to):
    """Whether a result of dtype `from_` may be written to an output of dtype `to`."""
    return from_.category <= to.category


@export("Tensor.__reversed__")
def reverse(self):
    """The slices along dimension 0, the last one first."""
    return Flip.apply(self, (0,)) if self.array.ndim else self


@export("Tensor.fill_diagonal_")
def fill_diagonal_(self, fill_value, wrap=False):
    """Write `fill_value` along the main diagonal; with `wrap`, again below it in a tall matrix, one row in between."""
    shape, steps = self.array.shape, element_strides(self.array)
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    size = min(shape)
    step = sum(steps)
    regions = [(size, 0)]
    if wrap and len(shape) == 2 and shape[0] > shape[1] + 1:
        width = shape[1] + 1
        regions.append(((self.array.size + size) // width - size, steps[0] * width))
    for count, offset in regions:
        AsStrided.apply(self, (count,), (step,), offset, steps).fill_(fill_value)
    return self
