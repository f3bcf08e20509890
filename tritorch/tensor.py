"""Tensor: a Variable with everything people call. Most methods come from the op table; here are the rest.

Operators and methods are bound once, when the package is imported, from the names under which ops and compositions are
exported ("Tensor.add" and, by rule, `add_` and `__iadd__`).
"""

from __future__ import annotations

import warnings

import numpy as np

from tritorch import creation
from tritorch.autograd import backward as run_backward
from tritorch.autograd.assigned import check_gradient, warn_of_no_leaf
from tritorch.autograd.direct import settle
from tritorch.autograd.grad_mode import state
from tritorch.autograd.inplace import apply_inplace, check_writable
from tritorch.autograd.variable import Variable
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes, transfer
from tritorch.runtime.memory_format import strided
from tritorch.size import Size as Size


class Tensor(Variable):
    """A multi-dimensional array of one dtype on one device, whose gradient can be asked for."""

    __array_priority__ = 1000  # NumPy arrays leave mixed arithmetic to us
    is_sparse = is_sparse_csr = is_quantized = is_complex_tensor = is_nested = is_mkldnn = False
    is_xpu = is_mps = is_meta = is_ipu = is_xla = is_vulkan = is_maia = is_mtia = False  # devices there are none of
    layout = strided
    names = None

    def __new__(cls, *args, **kwargs):
        if args or kwargs:
            return creation.legacy_tensor(dtypes.get_default_dtype(), kwargs.pop("device", None), args, **kwargs)
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        if not args and "array" not in self.__dict__:
            self.array, self.device = np.empty(0, np.float32), devices.CPU

    # ---------------------------------------------------------------------------------------- what it is

    @property
    def shape(self):
        return tuple.__new__(Size, self.array.shape)

    @property
    def dtype(self):
        return dtypes.of(self.array.dtype)

    @property
    def ndim(self):
        return self.array.ndim

    @property
    def itemsize(self):
        return self.array.itemsize

    @property
    def nbytes(self):
        return self.array.nbytes

    @property
    def is_cuda(self):
        return self.device.is_cuda

    @property
    def is_cpu(self):
        return not self.device.is_cuda

    def size(self, dim=None):
        """The sizes of all dimensions, or of dimension `dim`."""
        if dim is None:
            return tuple.__new__(Size, self.array.shape)
        if not hasattr(dim, "__index__"):
            raise TypeError(f"size(): argument 'dim' (position 1) must be int, not {type(dim).__name__}")
        ndim = self.array.ndim
        if not ndim:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {dim})"
            )
        return self.array.shape[dim]

    def stride(self, dim=None):
        """The steps, in elements, between neighbours along each dimension, or along `dim`."""
        steps = tuple(step // self.array.itemsize for step in self.array.strides)
        return steps if dim is None else steps[dim]

    def storage_offset(self):
        """The number of elements before this tensor's first in the memory it views."""
        memory = transfer.memory_of(self.array)
        return (transfer.pointer(self.array) - transfer.pointer(memory)) // self.array.itemsize

    def dim(self):
        """The number of dimensions."""
        return self.array.ndim

    ndimension = dim

    def numel(self):
        """The number of elements."""
        return self.array.size

    nelement = numel

    def element_size(self):
        """The bytes an element takes."""
        return self.array.itemsize

    def data_ptr(self):
        """The address of the first element."""
        return transfer.pointer(self.array)

    def is_floating_point(self):
        """Whether the dtype is a floating-point one."""
        return self.dtype.is_floating_point

    def is_complex(self):
        """Whether the dtype is complex: never, yet."""
        return False

    def is_pinned(self, device=None):
        """Whether the memory is page-locked host memory."""
        return transfer.is_pinned(self.array)

    def get_device(self):
        """The index of the GPU, -1 on a host device."""
        return self.device.index if self.is_cuda else -1

    # ---------------------------------------------------------------------------------------- its gradient

    @property
    def requires_grad(self):
        if self.view_of is not None:
            self.gradient_edge()
        return self.requires

    @requires_grad.setter
    def requires_grad(self, value):
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad=True):
        """Say whether gradients of this leaf are wanted."""
        if state.transforms:
            raise RuntimeError(
                "You are attempting to call Tensor.requires_grad_() (or perhaps using torch.autograd.functional.* APIs)"
                " inside of a function being transformed by a functorch transform. This is unsupported, please attempt "
                "to use the functorch transforms (e.g. grad, vjp, jacrev, jacfwd, hessian) or call requires_grad_() "
                "outside of a function being transformed instead."
            )
        if not isinstance(requires_grad, bool):
            kind = type(requires_grad).__name__
            raise TypeError(f"requires_grad_(): argument 'requires_grad' (position 1) must be bool, not {kind}")
        if requires_grad and not self.dtype.is_floating_point:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if not requires_grad and not self.is_leaf:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                "a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        self.requires = bool(requires_grad)
        return self

    @property
    def grad_fn(self):
        if self.view_of is not None and self.requires:
            self.gradient_edge()
        return self.node

    @property
    def is_leaf(self):
        return self.grad_fn is None

    @property
    def output_nr(self):
        return self.slot

    @property
    def _version(self):
        return 0 if self.version is None else self.version[0]

    @property
    def _base(self):
        return None if self.view_of is None else self.view_of.root

    def _is_view(self):
        return self.view_of is not None

    @property
    def grad(self):
        if self._grad is None and self.node is not None and self.requires and not self.retains_grad:
            warn_of_no_leaf(stacklevel=2)
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is not None:
            check_gradient(self, value)
        self._grad = value

    @grad.deleter
    def grad(self):
        self._grad = None

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Add the gradient of this tensor to the `.grad` of the leaves it was computed from."""
        run_backward((self,), gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self):
        """The same memory without the history."""
        other = Tensor.__new__(Tensor)
        other.array, other.device, other.version = self.array, self.device, self.counter()
        return other

    def detach_(self):
        """Forget the history."""
        if self.view_of is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self.node, self.slot, self.requires = None, 0, False
        return self

    @property
    def data(self):
        other = Tensor.__new__(Tensor)
        other.array, other.device = self.array, self.device
        return other

    @data.setter
    def data(self, value):
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        self.array, self.device = value.array, value.device

    def retain_grad(self):
        """Keep the gradient of this tensor although it is not a leaf."""
        if not self.requires:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if not self.is_leaf and not self.retains:
            self.retains = True
            self.register_hook(self._keep_grad)

    def _keep_grad(self, gradient):
        self._grad = gradient if self._grad is None else self._grad + gradient

    @property
    def retains_grad(self):
        return self.retains

    def register_hook(self, hook):
        """Call `hook(grad)` when this tensor's gradient is computed; what it returns replaces the gradient."""
        from tritorch.autograd.hooks import register_tensor_hook

        return register_tensor_hook(self, hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Call `hook(tensor)` after a gradient was added to this leaf's `.grad`."""
        from tritorch.autograd.hooks import register_post_accumulate_hook

        return register_post_accumulate_hook(self, hook)

    # ---------------------------------------------------------------------------------------- out to Python and NumPy

    def numpy(self, *, force=False):
        """The elements as a NumPy array: the same memory on a host device, a copy from a GPU."""
        if self.requires and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return transfer.to_host(self.array)

    def item(self):
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
        return _python_number(transfer.to_host(self.array).item())

    def tolist(self):
        """The elements as nested lists, or a number for a tensor without dimensions."""
        array = transfer.to_host(self.array)
        if array.dtype.kind == "V":
            array = array.astype(np.float32)
        return array.tolist()

    def __float__(self):
        if self.requires and state.recording:
            warnings.warn(
                "Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior.\n"
                "Consider using tensor.detach() first.",
                stacklevel=2,
            )
        return float(self._only())

    def __int__(self):
        return int(self._only())

    def __complex__(self):
        return complex(self._only())

    def _only(self):
        if self.array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return self.item()

    def __bool__(self):
        if self.array.size != 1:
            many = "more than one value" if self.array.size else "no values"
            raise RuntimeError(f"Boolean value of Tensor with {many} is ambiguous")
        return bool(self.item())

    def __index__(self):
        if self.dtype.is_floating_point or self.array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self):
        if self.array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.array.shape[0]

    def __iter__(self):
        if self.array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, value):
        if not isinstance(value, (Tensor, int, float, np.generic)):
            raise RuntimeError(
                f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(value)}."
            )
        return bool((self == value).any().item())

    __hash__ = object.__hash__  # equality is by element, identity is by hash

    def __repr__(self, *, tensor_contents=None):
        from tritorch.printing import tensor_text

        return tensor_text(self, tensor_contents)

    def __format__(self, spec):
        if self.array.ndim == 0 and type(self) is Tensor:
            return format(self.item(), spec)
        return format(repr(self), spec) if not spec else object.__format__(self, spec)

    def __deepcopy__(self, memo):
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
                "moment. If you were attempting to deepcopy a module, this may be because of a "
                "torch.nn.utils.weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001"
            )
        if id(self) in memo:
            return memo[id(self)]
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.array, other.device, other.requires = transfer.duplicate(self.array), self.device, self.requires
        if self._grad is not None:
            other._grad = self._grad.__deepcopy__(memo)
        return other

    def __copy__(self):
        other = type(self).__new__(type(self))
        other.array, other.device, other.requires = self.array, self.device, self.requires
        other.version = self.counter()
        return other

    def __reduce__(self):  # the history stays behind
        return _rebuild, (type(self), transfer.to_host(self.array), str(self.device), self.requires)

    # ---------------------------------------------------------------------------------------- writes

    def copy_(self, source, non_blocking=False):
        """Write `source`, broadcast and cast, over this tensor."""
        if not isinstance(source, Tensor):
            source = creation.tensor(source, device=self.device)
        source = source.to(self.device)
        return apply_inplace(Tensor._overwritten_by, "copy_", self, source)

    def __delitem__(self, key):
        raise TypeError("Tensor does not support deleting items")

    def __setitem__(self, key, value):
        from tritorch.indexing import assign

        check_writable(self, "__setitem__", expanded=True)  # what the key selects may not be
        assign(self, key, value)


def _python_number(value):
    return float(value) if type(value).__module__ == "ml_dtypes" else value


def _rebuild(cls, array, device, requires):
    tensor = cls.__new__(cls)
    tensor.array, tensor.device = array, devices.CPU
    tensor.requires = requires
    return tensor if device == "cpu" else tensor.to(device)


Variable.size_type = Size
settle(Tensor)
