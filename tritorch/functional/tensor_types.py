"""The old tensor types: `FloatTensor(2, 3)`, `x.type(LongTensor)`, `isinstance(x, cuda.FloatTensor)`, `x.new(3)`.

A type stands for a dtype and for where tensors are: those of `tritorch.cuda` for a GPU, the others for the device that
new tensors land on. So a script that names `FloatTensor` and no device runs where its model does.
"""

from __future__ import annotations

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.functional.conversion import convert
from tritorch.ops.base import export
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes
from tritorch.runtime.device import Device

_KINDS = {
    "FloatTensor": dtypes.float32, "DoubleTensor": dtypes.float64, "HalfTensor": dtypes.float16,
    "BFloat16Tensor": dtypes.bfloat16, "LongTensor": dtypes.int64, "IntTensor": dtypes.int32,
    "ShortTensor": dtypes.int16, "CharTensor": dtypes.int8, "ByteTensor": dtypes.uint8, "BoolTensor": dtypes.bool_,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _KINDS.items()}


class tensortype(type):
    """The class of the old tensor types, which make tensors and recognise those of their dtype and place."""

    dtype: dtypes.dtype
    is_cuda: bool

    def __call__(cls, *args, device=None):
        if device is not None and Device(device).is_cuda is not cls.is_cuda and Device(device) is not _place(cls):
            kind = "cuda" if cls.is_cuda else "cpu"
            raise RuntimeError(
                f"legacy constructor expects device type: {kind} but device type: {Device(device).type} was passed"
            )
        return creation.legacy_tensor(cls.dtype, _place(cls) if device is None else device, args, cls)

    def __instancecheck__(cls, instance):
        return (
            isinstance(instance, Variable)
            and instance.array.dtype == cls.dtype.numpy
            and instance.device.is_cuda is cls.is_cuda
        )

    def __repr__(cls):
        return f"<class '{cls.text}'>"

    @property
    def text(cls):
        """The type's name with its room, as `Tensor.type` gives it."""
        return f"torch.{'cuda.' if cls.is_cuda else ''}{cls.__name__}"


def _place(cls):
    return Device("cuda") if cls.is_cuda else devices.get_default_device()


def _types(is_cuda, room):
    return {
        name: tensortype(name, (), {"__module__": room, "__doc__": f"The type of tensors of {dtype!r}.",
                                    "dtype": dtype, "is_cuda": is_cuda, "layout": creation.strided})
        for name, dtype in _KINDS.items()
    }  # fmt: skip


TYPES = _types(False, __name__)
CUDA_TYPES = _types(True, "tritorch.cuda")
_BY_TEXT = {each.text: each for each in (*TYPES.values(), *CUDA_TYPES.values())}
globals().update(TYPES)
for _name, _type in TYPES.items():
    export(_name)(_type)


@export("Tensor.type")
def type_(self, dtype=None, non_blocking=False):
    """The old name of the tensor's type, such as "torch.FloatTensor"; with an argument, the tensor as that type."""
    if dtype is None:
        name = _NAMES.get(self.dtype)
        if name is None:
            name = f"{self.dtype.name.capitalize()}Tensor"
        return f"torch.cuda.{name}" if self.is_cuda else f"torch.{name}"
    if isinstance(dtype, dtypes.dtype):
        return convert(self, None, dtype, non_blocking)
    if isinstance(dtype, str):
        if dtype == "torch.Tensor":
            return convert(self, None, dtypes.get_default_dtype(), non_blocking)
        if dtype not in _BY_TEXT:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = _BY_TEXT[dtype]
    if isinstance(dtype, tensortype):
        return convert(self, _place(dtype), dtype.dtype, non_blocking)
    if isinstance(dtype, type) and issubclass(dtype, Variable):
        return convert(self, devices.get_default_device(), dtypes.get_default_dtype(), non_blocking)
    if isinstance(dtype, type):
        raise ValueError(f"invalid type: '{dtype.__name__}'")
    raise TypeError("dtype must be a type, str, or dtype object")


@export("Tensor.new")
def new(self, *args, device=None):
    """The old constructor with this tensor's dtype and device: from sizes, or from a sequence or array."""
    return creation.legacy_tensor(self.dtype, device or self.device, args, self.dtype)


@export("set_default_tensor_type")
def set_default_tensor_type(t):
    """Make a type's dtype what Python floats become, and its place where new tensors land."""
    found = _BY_TEXT.get(t) if isinstance(t, str) else t
    if not isinstance(found, tensortype):
        raise TypeError(f"invalid type object: set_default_tensor_type() takes a tensor type, got {t!r}")
    if not found.dtype.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    devices.set_default_device("cuda" if found.is_cuda else None)
    dtypes.set_default_dtype(found.dtype)
