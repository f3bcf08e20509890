"""Convolution, its transpose, and pooling."""

from __future__ import annotations

from tritorch.onnx.registry import UnsupportedOperatorError, translates


def _pads(padding):
    """Pairs of (before, after), or one number for both, as ONNX has them: all before, then all after."""
    pairs = [each if isinstance(each, tuple) else (each, each) for each in padding]
    return [before for before, _ in pairs] + [after for _, after in pairs]


@translates("convolution")
def convolution(graph, out, input, weight, bias, stride, padding, dilation, groups):
    return graph.node(
        "Conv", input, weight, bias, strides=list(stride), pads=_pads(padding), dilations=list(dilation), group=groups,
        kernel_shape=list(weight.shape[2:]),
    )  # fmt: skip


@translates("convolution_input_gradient")
def transposed(graph, out, grad, weight, size, stride, padding, dilation, groups):
    pads, taps = _pads(padding), weight.shape[2:]
    reached = [
        (length - 1) * step + (tap - 1) * spread + 1 - pads[at] - pads[at + len(taps)]
        for at, (length, step, tap, spread) in enumerate(zip(grad.shape[2:], stride, taps, dilation, strict=True))
    ]
    return graph.node(
        "ConvTranspose", grad, weight, strides=list(stride), pads=pads, dilations=list(dilation), group=groups,
        kernel_shape=list(taps), output_padding=[want - have for want, have in zip(size, reached, strict=True)],
    )  # fmt: skip


@translates("max_pool")
def max_pool(graph, out, input, kernel_size, stride, padding, dilation, ceil_mode, taps=False):
    return graph.node(
        "MaxPool", input, kernel_shape=list(kernel_size), strides=list(stride), pads=_pads(padding),
        dilations=list(dilation), ceil_mode=int(ceil_mode),
    )  # fmt: skip


@translates("avg_pool")
def avg_pool(graph, out, input, kernel_size, stride, padding, ceil_mode, with_padding, divisor, channels_last):
    if divisor is not None:
        raise UnsupportedOperatorError("onnx.export: average pooling with divisor_override")
    return graph.node(
        "AveragePool", input, kernel_shape=list(kernel_size), strides=list(stride), pads=_pads(padding),
        ceil_mode=int(ceil_mode), count_include_pad=int(with_padding),
    )  # fmt: skip
