"""Moving a module's tensors to another device or dtype, and switching what they take part in."""

from __future__ import annotations

from tritorch.autograd.grad_mode import no_grad
from tritorch.nn.parameter import is_lazy
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes
from tritorch.tensor import Tensor


class ModuleConversion:
    """The part of Module that changes its tensors where they are."""

    def _apply(self, fn, recurse=True):
        """Put `fn(tensor)` in the place of every parameter, its gradient and every buffer."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            with no_grad():
                data = parameter.data  # which a parameter without a shape has too
                made = fn(data)
            if made is not data:
                parameter.data = made
            gradient = parameter._grad
            if gradient is not None:
                with no_grad():
                    parameter._grad = fn(gradient).detach()
        for name, buffer in self._buffers.items():
            if is_lazy(buffer):
                buffer.data = fn(buffer.data)
            elif buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def apply(self, fn):
        """Call `fn` on every module inside and on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args, **kwargs):
        """Move to a device, a floating dtype, or both: to(device, dtype), to(dtype), to(tensor).

        With a `memory_format`, parameters and buffers of four and five dimensions lie in it.
        """
        format = kwargs.pop("memory_format", None)
        device, dtype = _parse(*args, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype!r}"
            )

        def move(tensor):
            own = format if tensor.dim() in (4, 5) else None
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None, memory_format=own)

        return self._apply(move)

    def cpu(self):
        """Move to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self, device=None):
        """Move to a GPU, by default the current one."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def type(self, dst_type):
        """Cast everything to a dtype."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def _cast_floating(self, dtype):
        return self._apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def float(self):
        """Cast floating tensors to float32."""
        return self._cast_floating(dtypes.float32)

    def double(self):
        """Cast floating tensors to float64."""
        return self._cast_floating(dtypes.float64)

    def half(self):
        """Cast floating tensors to float16."""
        return self._cast_floating(dtypes.float16)

    def bfloat16(self):
        """Cast floating tensors to bfloat16."""
        return self._cast_floating(dtypes.bfloat16)

    def to_empty(self, *, device, recurse=True):
        """Move to a device without the values."""
        return self._apply(lambda tensor: tensor.new_empty(tensor.shape, device=device), recurse)

    def train(self, mode=True):
        """Switch to training, or with False to evaluation, for the modules that differ (dropout)."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self):
        """Switch to evaluation."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Say for all parameters whether they want a gradient."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none=True):
        """Forget the gradients of all parameters, or write zeros over them."""
        for parameter in self.parameters():
            if set_to_none:
                parameter._grad = None
            elif parameter._grad is not None:
                if parameter._grad.grad_fn is not None:
                    parameter._grad = parameter._grad.detach()
                parameter._grad.zero_()

    def share_memory(self):
        """Nothing to do, since worker processes get copies; what has no shape yet is refused, as in PyTorch."""
        for each in (*self.parameters(), *self.buffers()):
            if is_lazy(each):
                each.share_memory_()
        return self


def _parse(*args, device=None, dtype=None, non_blocking=False, tensor=None):
    for each in (*args, tensor):
        if isinstance(each, Tensor):
            return each.device, each.dtype
        if isinstance(each, dtypes.dtype):
            dtype = each
        elif isinstance(each, (str, int, devices.Device)) and not isinstance(each, bool):
            device = each
        elif each is not None and not isinstance(each, bool):
            raise TypeError(f"to() received an invalid combination of arguments - got {type(each).__name__}")
    return None if device is None else devices.resolve(device), dtype
