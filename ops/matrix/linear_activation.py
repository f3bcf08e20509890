"""A linear map and the activation behind it in one launch: a family, with a member for each activation named below.

Where an activation's slope is known from its result (relu, sigmoid, tanh), that is what is saved. For the others there
is a second op, whose launch writes what the activation is given beside the result, for the gradient: computing it again
would be the whole product.
"""

from __future__ import annotations

from typing import NamedTuple

from tritorch.ops.autocast import LOWER
from tritorch.ops.base import RESULT, Op
from tritorch.ops.layout import empty_like
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.matrix.matmul import Linear, linear_shape
from tritorch.ops.matrix.products import turned
from tritorch.ops.pointwise.activation import Gelu, GeluTanh, Relu, Silu
from tritorch.ops.pointwise.exponential import Sigmoid, Tanh


class LinearActivation(Op, abstract=True):
    """activation(input @ weight^T + bias); with `keeps` also what the activation is given."""

    activation: type  # a pointwise op of one argument
    keeps = False
    autocast = LOWER
    multiplications, sized = Linear.multiplications, Linear.sized
    samples, errors = Linear.samples, Linear.errors

    @classmethod
    def results(cls, before, result):
        """What a call gives."""
        return (before, result) if cls.keeps else result

    @classmethod
    def batch(cls, call):
        before = Linear.batch(call)
        return cls.results(before, cls.activation.apply(before))

    @classmethod
    def host(cls, input, weight, bias):
        before = Linear.host(input, weight, bias)
        return cls.results(before, cls.activation.host(before))

    def forward(self, input, weight, bias):
        """One launch, or two where the sums are split into parts."""
        shape = linear_shape(input, weight, bias)
        a, rows = (input, shape) if input.ndim > 1 else (input[None], (1, *shape))
        before = empty_like(a, rows) if self.keeps else None
        out = launch_matmul(a, turned(weight), rows, bias, self.activation.value, before=before)
        return self.results(before.reshape(shape) if self.keeps else None, out.reshape(shape))


class Differentiable(LinearActivation, abstract=True):
    """One whose gradient finds what it needs among the results."""

    saves = ("input", "weight", "output")

    def backward(self, *grads):
        """The gradient of the activation, in a launch of its own, and Linear's."""
        op, value, _ = self.activation.gradients[0]
        grad, known = grads[-1] if len(grads) > self.keeps else None, self.output
        if grad is not None:
            grad = value.fn(grad, known) if self.recording else op.apply(grad, known)
        if self.keeps and grads[0] is not None:
            grad = grads[0] if grad is None else grad + grads[0]
        return Linear.backward(self, grad)


class Keeping(Differentiable, abstract=True):
    """One with two results: what the activation is given, which the gradient needs, and what it makes of that."""

    keeps = True
    saved_results = (0,)


class Fused(NamedTuple):
    """The ops of an activation behind a linear map."""

    plain: type[LinearActivation]  # which need not have a gradient
    recorded: type[LinearActivation]  # with a gradient; its last result counts


def fused(activation):
    """Make the ops of an activation."""

    def make(base, name, suffix=""):
        def reference(input, weight, bias=None):
            before = Linear.reference(input, weight, bias)
            return op.results(before, activation.reference(before))

        parts = {
            "__doc__": f"{activation.op_name}(input @ weight^T + bias) in one launch{suffix}.",
            "__module__": __name__,
            "activation": activation,
            "shown_as": activation.shown_as or activation.__name__,
            "reference": staticmethod(reference),
        }
        op = type(name, (base,), parts)
        return op

    name = f"Linear{activation.__name__}"
    if activation.saved == {RESULT}:
        op = make(Differentiable, name)
        return Fused(op, op)
    keeping = make(Keeping, f"{name}Kept", ", and what the activation is given")
    return Fused(make(LinearActivation, name), keeping)


FUSED: dict[type[Op], Fused] = {each: fused(each) for each in (Relu, Sigmoid, Tanh, Gelu, GeluTanh, Silu)}
