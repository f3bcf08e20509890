"""ToDevice: the one op whose result is on another device than its argument."""

from __future__ import annotations

import numpy as np

from tritorch.autograd.apply import _wrap, record
from tritorch.autograd.grad_mode import state
from tritorch.autograd.intercept import intercepted
from tritorch.ops.base import Op
from tritorch.ops.batching import leading
from tritorch.runtime import transfer
from tritorch.runtime.device import CPU, INTERPRETER


class ToDevice(Op):
    """A copy of the elements on another device; the gradient moves back."""

    batch = leading

    @staticmethod
    def reference(input, device, non_blocking=False):
        """A copy between host devices too, so that a write to one is not seen in the other."""
        if not isinstance(input, (np.ndarray, np.generic)):
            return transfer.as_it_lies(input, lambda array: _from_gpu(array, device))
        if device.is_cuda:
            return transfer.as_it_lies(input, lambda array: transfer.from_host(array, device, non_blocking))
        return transfer.as_it_lies(np.asarray(input), np.copy)

    def forward(self, input, device, non_blocking=False):
        """The same: no kernel runs."""
        return self.reference(input, device, non_blocking)

    @classmethod
    def apply(cls, input, device, non_blocking=False):
        """As every op's, but the result is on the device that is asked for."""
        if state.interceptors:
            return intercepted(cls, (input, device, non_blocking))
        output = _wrap(cls.reference(input.array, device, non_blocking), device)
        if input.requires and state.recording:
            record(cls, (input, device, input.device), output)
        return output

    def backward(self, grad):
        """The gradient on the device that the argument is on."""
        return (ToDevice.apply(grad, self.inputs[2]),)

    @staticmethod
    def samples(draw):
        for device in (CPU, INTERPRETER):
            yield draw(5, 7), device
            yield draw(6, 4).T, device
            yield draw(0, 3), device
            yield draw(), device


def _from_gpu(array, device):
    if not device.is_cuda:
        return transfer.to_host(array)
    from tritorch.runtime.cuda.array import to_device

    return to_device(array, device.index)
