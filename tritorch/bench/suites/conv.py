"""Convolutions of a ResNet, channels first: forward, the data's gradient and the weight's gradient."""

from __future__ import annotations

from functools import partial

from tritorch.bench.case import Case, Input, work_of

DTYPES = ("bfloat16", "float16", "float32", "tf32")

# (channels in, channels out, kernel, stride, image) of ResNet-18 and -50 on 224 x 224
FULL = ((3, 64, 7, 2, 224), (64, 64, 3, 1, 56), (64, 256, 1, 1, 56), (128, 128, 3, 2, 56), (128, 128, 3, 1, 28),
        (256, 256, 3, 1, 14), (1024, 256, 1, 1, 14), (512, 512, 3, 1, 7))  # fmt: skip
QUICK = ((64, 64, 3, 1, 56), (64, 256, 1, 1, 56), (256, 256, 3, 1, 14))
SMALL = ((3, 8, 3, 2, 16), (8, 8, 3, 1, 8), (8, 16, 1, 1, 8))
BATCH, QUICK_BATCH, SMALL_BATCH = 64, 16, 2


def cases(dtypes, quick, small):
    """Every layer, its three directions."""
    layers = SMALL if small else QUICK if quick else FULL
    batch = SMALL_BATCH if small else QUICK_BATCH if quick else BATCH
    for dtype in dtypes:
        for layer in layers:
            for what, step in DIRECTIONS.items():
                yield case(batch, layer, what, step, dtype)


def case(batch, layer, what, step, dtype):
    """One direction of one layer."""
    channels, features, kernel, stride, image = layer
    padding = kernel // 2
    side = (image + 2 * padding - kernel) // stride + 1
    data, weight, out = (batch, channels, image, image), (features, channels, kernel, kernel), (batch, features, side,
                                                                                               side)  # fmt: skip
    terms = channels * kernel * kernel
    pixels = batch * side * side
    elements = batch * channels * image * image + features * terms + features * pixels
    grads = {"data gradient": (True, False), "weight gradient": (False, True)}.get(what, (False, False))
    return Case(
        name=f"{what} {channels}->{features} {kernel}x{kernel} stride {stride} image {image} batch {batch}",
        dtype=dtype,
        inputs=(Input(data, requires_grad=grads[0]), Input(weight, requires_grad=grads[1]), *[Input(out)] * any(grads)),
        step=partial(step, stride, padding),
        work=work_of(2 * pixels * features * terms, elements, dtype),
        length=pixels if grads[1] else max(terms, features * kernel * kernel),
        unit="TFLOP/s",
        gives_gradients=any(grads),
    )


def _forward(stride, padding, lib, data, weight):
    return lambda: lib.nn.functional.conv2d(data, weight, stride=stride, padding=padding)


def _data_gradient(stride, padding, lib, data, weight, grad):
    out = lib.nn.functional.conv2d(data, weight, stride=stride, padding=padding)
    return lambda: lib.autograd.grad(out, data, grad, retain_graph=True)


def _weight_gradient(stride, padding, lib, data, weight, grad):
    out = lib.nn.functional.conv2d(data, weight, stride=stride, padding=padding)
    return lambda: lib.autograd.grad(out, weight, grad, retain_graph=True)


DIRECTIONS = {"forward": _forward, "data gradient": _data_gradient, "weight gradient": _weight_gradient}
