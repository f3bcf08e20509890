"""A convolution and the activation behind it in one launch: a family, with a member for each activation named below.

The kernels add the bias and apply the formula to a tile before they store it, so that what lies between the two is
never written. There is no gradient: one of both would hold its own and the one it gets at the same time.
"""

from __future__ import annotations

from tritorch.ops.autocast import LOWER
from tritorch.ops.base import Op
from tritorch.ops.convolution.arguments import out_size
from tritorch.ops.convolution.convolution import Convolution, with_channels_innermost
from tritorch.ops.convolution.launch import launch_forward
from tritorch.ops.pointwise.activation import Relu
from tritorch.ops.pointwise.exponential import Sigmoid, Tanh


class ConvolutionActivation(Op, abstract=True):
    """activation(convolution(input, weight) + bias), without a gradient."""

    activation: type  # a pointwise op of one argument
    autocast = LOWER
    multiplications, sized, errors = Convolution.multiplications, Convolution.sized, Convolution.errors

    @classmethod
    def batch(cls, call):
        return cls.activation.apply(Convolution.batch(call))

    @classmethod
    def host(cls, *arguments):
        return cls.activation.host(Convolution.host(*arguments))

    def forward(self, input, weight, bias, stride, padding, dilation, groups):
        """One launch, as of a convolution."""
        size = out_size(input.shape[2:], weight.shape[2:], stride, padding, dilation)
        return launch_forward(input, weight, bias, size, stride, padding, dilation, groups, self.activation.value)

    @staticmethod
    def samples(draw):
        """One for each kernel: by taps, depthwise, as a product, of few channels, and of channels innermost."""
        one, same, none = (1, 1), ((1, 1), (1, 1)), ((0, 0), (0, 0))
        yield draw(2, 3, 7, 9), draw(4, 3, 3, 3), draw(4), one, same, one, 1
        yield draw(3, 4, 8, 7), draw(6, 2, 3, 2), None, (2, 3), ((1, 0), (2, 1)), (1, 2), 2
        yield draw(2, 4, 6, 6), draw(4, 1, 3, 3), draw(4), one, same, one, 4
        yield draw(2, 17, 5, 5), draw(33, 17, 1, 1), draw(33), one, none, one, 1
        yield draw(2, 4, 11), draw(6, 2, 3), draw(6), (2,), ((1, 2),), (2,), 2
        yield with_channels_innermost(draw(2, 16, 6, 5)), draw(16, 16, 3, 3), draw(16), one, same, one, 1
        yield with_channels_innermost(draw(45, 16, 2, 3)), draw(16, 16, 2, 2), draw(16), one, none, one, 1
        yield with_channels_innermost(draw(2, 3, 6, 5)), draw(16, 3, 3, 4), draw(16), (2, 2), none, one, 1


def convolved(activation):
    """Make the op of an activation."""

    def reference(input, weight, bias, stride, padding, dilation, groups):
        return activation.reference(Convolution.reference(input, weight, bias, stride, padding, dilation, groups))

    parts = {
        "__doc__": f"{activation.op_name}(convolution(input, weight) + bias) in one launch.",
        "__module__": __name__,
        "activation": activation,
        "shown_as": activation.shown_as or activation.__name__,
        "reference": staticmethod(reference),
    }
    return type(f"Convolution{activation.__name__}", (ConvolutionActivation,), parts)


CONVOLVED: dict[type[Op], type[Op]] = {each: convolved(each) for each in (Relu, Sigmoid, Tanh)}
