"""What PyTorch's files may name without being asked: tensors and their parts, plain containers, NumPy's arrays."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque

import numpy as np

from tritorch.nn.parameter import Parameter, UninitializedBuffer, UninitializedParameter
from tritorch.runtime import dtypes
from tritorch.runtime.device import Device
from tritorch.runtime.memory_format import sparse_coo, strided
from tritorch.serialization import container
from tritorch.serialization.errors import Refused
from tritorch.serialization.packing import INTERNAL
from tritorch.serialization.unpickler import Global
from tritorch.tensor import Size, Tensor

STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
}  # fmt: skip
UNSUPPORTED = {
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor on the meta device",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a wrapper class",
    "torch.ComplexFloatStorage": "a complex tensor",
    "torch.ComplexDoubleStorage": "a complex tensor",
    "torch.jit._pickle.build_intlist": "a TorchScript program",
}
LAYOUTS = {repr(each): each for each in (strided, sparse_coo)}
PLAIN_FACTORIES = (None, dict, list, set, tuple, int, float, str, bool, OrderedDict, Counter)


class StorageKind:
    """A class of storages: `dtype` is what its sizes count, None where they count bytes."""

    def __init__(self, dtype):
        self.dtype = dtype


def _set_attributes(instance, state):
    instance.__dict__.update(state)


def _container(kind, call=None):
    """A container with attributes of its own, such as the `_metadata` of a state dict."""
    return Global(kind, call or kind, lambda *args: kind.__new__(kind, *args), kind, _set_attributes)


def _default_dict(factory=None, *items):
    if factory not in PLAIN_FACTORIES:
        raise Refused("Trying to make a defaultdict of what is not a plain container or number")
    return defaultdict(factory, *items)


def _byte_array(*arguments):
    if arguments and isinstance(arguments[0], int):
        raise Refused("Trying to make a bytearray by its size")
    return bytearray(*arguments)


def _encode(text, encoding="latin1", *errors):
    if encoding not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise Refused(f"Trying to encode text as {encoding!r}")
    return text.encode(encoding)


# -------------------------------------------------------------------------------------------- NumPy


def _dtype(spec, *_):
    return np.dtype(container.plain_dtype(spec, kinds="?biufcSU"), copy=True)


def _set_dtype(instance, state):
    """The state of a plain dtype. NumPy believes what it is given, so only the byte order is taken from the file."""
    order, fields = state[1], state[2:5]
    sizes = (instance.itemsize, instance.alignment) if instance.kind in "SU" else (-1, -1)
    if order not in ("<", ">", "|", "=") or fields != (None, None, None) or state[5:7] != sizes or len(state) > 8:
        raise Refused("Trying to make a NumPy dtype that is not a plain one")
    instance.__setstate__((3, order, None, None, None, *sizes, 0))


def _empty_array(kind, shape, code):
    if kind is not np.ndarray or shape not in ((0,), ()):
        raise Refused("Trying to make a NumPy array by its size")
    return np.ndarray.__new__(np.ndarray, shape, np.int8)


def _set_array(instance, state):
    """The state of an array, checked, since NumPy believes what it is given."""
    _, shape, dtype, fortran, data = state
    plain = isinstance(shape, tuple) and len(shape) <= 32 and all(type(size) is int and size >= 0 for size in shape)
    if not plain or not isinstance(dtype, np.dtype) or dtype.hasobject or type(data) is not bytes:
        raise Refused("Trying to fill a NumPy array with something else than elements")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise Refused(f"Trying to fill a NumPy array of shape {shape} with {len(data)} bytes")
    instance.__setstate__((1, shape, dtype, bool(fortran), data))


def _scalar(dtype, data):
    if not isinstance(dtype, np.dtype) or dtype.hasobject or len(data) != dtype.itemsize:
        raise Refused("Trying to make a NumPy scalar of something else")
    return np.frombuffer(data, dtype)[0]


def _from_buffer(data, dtype, shape, order):
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order=order)


NUMPY = {
    "numpy.dtype": Global(np.dtype, _dtype, kind=np.dtype, build=_set_dtype),
    "numpy.ndarray": Global(np.ndarray),
}
for _module in ("numpy.core", "numpy._core"):
    NUMPY[f"{_module}.multiarray._reconstruct"] = Global(_empty_array, _empty_array, kind=np.ndarray, build=_set_array)
    NUMPY[f"{_module}.multiarray.scalar"] = Global(_scalar, _scalar)
    NUMPY[f"{_module}.numeric._frombuffer"] = Global(_from_buffer, _from_buffer)

# -------------------------------------------------------------------------------------------- all that is allowed

CONTAINERS = {
    "collections.OrderedDict": _container(OrderedDict),
    "collections.Counter": _container(Counter),
    "collections.defaultdict": _container(defaultdict, _default_dict),
    "collections.deque": Global(deque, deque),
    "_codecs.encode": Global(_encode, _encode),
    "builtins.bytearray": Global(bytearray, _byte_array),
    "builtins.complex": Global(complex, complex),
    "builtins.set": Global(set, set),
    "builtins.frozenset": Global(frozenset, frozenset),
    "builtins.slice": Global(slice, slice),
    "builtins.range": Global(range, range),
} | {f"builtins.{each.__name__}": Global(each) for each in (dict, list, tuple, int, float, str, bool, bytes)}


def _layout(name):
    if name not in LAYOUTS:
        raise Refused(f"Trying to load a tensor with layout {name}, which tritorch does not have")
    return LAYOUTS[name]


def _fixed():
    """The names of PyTorch that mean the same in every file."""
    found = {f"torch.{name}": Global(each) for name, each in dtypes.NAMES.items()}
    for prefix, name in STORAGES.items():
        for place in ("torch", "torch.cuda"):
            found[f"{place}.{prefix}Storage"] = Global(StorageKind(dtypes.NAMES[name]))
            found[f"{place}.{prefix}Tensor"] = Global(Tensor)
    for name in ("torch.storage.UntypedStorage", "torch.UntypedStorage"):
        found[name] = Global(StorageKind(None))
    found["torch.Size"] = Global(Size, Size)
    found["torch.device"] = Global(Device, Device)
    found["torch.Tensor"] = found["torch._tensor.Tensor"] = Global(Tensor)
    found["torch.nn.parameter.Parameter"] = Global(Parameter)
    for kind in (UninitializedParameter, UninitializedBuffer):
        found[f"torch.nn.parameter.{kind.__name__}"] = Global(kind, kind)
    found["torch.serialization._get_layout"] = Global(_layout, _layout)
    return found


ALWAYS = CONTAINERS | NUMPY | _fixed()


def _with_attributes(made, state):
    """A tensor with what the user had put on it, of a state that is a dict of attributes."""
    for name, value in state.items() if isinstance(state, dict) else ():
        if name in INTERNAL or hasattr(type(made), name):
            raise Refused(f"Trying to set {name!r} of a tensor")
        setattr(made, name, value)
    return made


def tensor_makers(assembly):
    """The names that make tensors, on the storages that persistent ids stand for."""

    def rebuild(storage, offset, size, stride, requires_grad=False, *_):
        return assembly.tensor(storage, storage.dtype, offset, size, stride, requires_grad)

    def rebuild_typed(storage, offset, size, stride, requires_grad, hooks, dtype, *_):
        return assembly.tensor(storage, dtype, offset, size, stride, requires_grad)

    def rebuild_parameter(data, requires_grad, *_):
        return assembly.parameter(data, requires_grad)

    def rebuild_from_type(function, kind, arguments, state):
        if function not in makers:
            raise Refused("Trying to make a tensor by what makes none")
        return _with_attributes(function(*arguments), state)

    def rebuild_parameter_with_state(data, requires_grad, hooks, state):
        return _with_attributes(rebuild_parameter(data, requires_grad), state)

    def rebuild_sparse(layout, data):
        from tritorch.sparse import sparse_coo_tensor

        if layout is not sparse_coo:
            raise Refused(f"it holds a tensor of layout {layout}, which tritorch does not have")
        indices, values, size, *coalesced = data
        return sparse_coo_tensor(indices, values, size, is_coalesced=bool(coalesced and coalesced[0]))

    makers = (rebuild, rebuild_typed, rebuild_parameter)
    return {
        "torch._utils._rebuild_tensor": Global(rebuild, rebuild),
        "torch._utils._rebuild_tensor_v2": Global(rebuild, rebuild),
        "torch._utils._rebuild_tensor_v3": Global(rebuild_typed, rebuild_typed),
        "torch._utils._rebuild_parameter": Global(rebuild_parameter, rebuild_parameter),
        "torch._utils._rebuild_parameter_with_state": Global(
            rebuild_parameter_with_state, rebuild_parameter_with_state
        ),
        "torch._utils._rebuild_sparse_tensor": Global(rebuild_sparse, rebuild_sparse),
        "torch._tensor._rebuild_from_type_v2": Global(rebuild_from_type, rebuild_from_type),
    }
