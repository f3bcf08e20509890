"""Parameter and Buffer: tensors that a Module counts among its own, and such tensors that have no shape yet."""

from __future__ import annotations

from tritorch import creation
from tritorch.autograd.grad_mode import no_grad
from tritorch.runtime import dtypes
from tritorch.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor on the memory of `data` that wants a gradient unless told otherwise."""

    def __new__(cls, data=None, requires_grad=True):
        self = object.__new__(cls)
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter(): argument 'data' (position 1) must be Tensor, not {type(data).__name__}")
        if requires_grad and not dtypes.of(data.array.dtype).is_floating_point:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        self.array, self.device, self.requires = data.array, data.device, bool(requires_grad)
        return self

    def __init__(self, data=None, requires_grad=True):
        """All is done by __new__, which copies and pickles use alone."""

    def __deepcopy__(self, memo):  # without the gradient, unlike other tensors
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self):
        return "Parameter containing:\n" + super().__repr__()


class _MarkedAsBuffer(type(Tensor)):  # type: ignore[misc]  # a metaclass by computation
    """Makes isinstance(tensor, Buffer) true of the plain tensors that Buffer gives."""

    def __instancecheck__(cls, instance):
        if cls is Buffer:
            return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)
        return super().__instancecheck__(instance)


class Buffer(Tensor, metaclass=_MarkedAsBuffer):
    """A tensor on the memory of `data` that becomes a buffer of the module it is assigned to."""

    def __new__(cls, data=None, *, persistent=True):
        made = Tensor() if data is None else data.detach().requires_grad_(data.requires_grad)
        made._is_buffer, made.persistent = True, persistent
        return made


def is_lazy(tensor):
    """Whether a tensor still waits for its shape."""
    return isinstance(tensor, UninitializedTensorMixin)


class UninitializedTensorMixin:
    """A tensor of which only dtype and device are known; `materialize(shape)` makes it one like all others."""

    cls_to_become: type = Tensor

    def __init__(self, *args, **kwargs):
        """All is done by __new__."""

    @property
    def array(self):
        raise ValueError(
            "Attempted to use an uninitialized parameter in an operation. This error happens when you are using a "
            "`LazyModule` or explicitly manipulating `torch.nn.parameter.UninitializedParameter` objects. When using "
            "LazyModules Call `forward` with a dummy batch to initialize the parameters before calling torch functions"
        )

    @property
    def shape(self):
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def data(self):
        return self.nothing

    @data.setter
    def data(self, value):
        self.nothing, self.device = value, value.device

    def materialize(self, shape, device=None, dtype=None):
        """Make this an uninitialised tensor of `shape`, of its class `cls_to_become`."""
        nothing = self.__dict__.pop("nothing")
        self.__class__ = self.cls_to_become
        with no_grad():
            made = creation.empty(shape, device=device or nothing.device, dtype=dtype or nothing.dtype)
        self.array, self.device = made.array, made.device

    def share_memory_(self):
        """Refused: there is nothing to share."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling `module.share_memory()`."
        )

    def __repr__(self):
        return f"<{type(self).__name__}>"

    def __reduce__(self):
        return type(self), (self.requires, self.device, self.dtype)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            made, arguments = self.__reduce__()
            memo[id(self)] = made(*arguments)
        return memo[id(self)]


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc, override]  # no array yet
    """A Parameter without a shape: an optimizer takes it before the first forward, which makes it."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad=True, device=None, dtype=None):
        self = object.__new__(cls)
        self.data, self.requires = creation.empty(0, device=device, dtype=dtype), bool(requires_grad)
        return self


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc, override]  # no array yet
    """A buffer without a shape."""

    def __new__(cls, requires_grad=False, device=None, dtype=None, persistent=True):
        self = object.__new__(cls)
        self.data, self.requires = creation.empty(0, device=device, dtype=dtype), bool(requires_grad)
        self._is_buffer, self.persistent = True, persistent
        return self
