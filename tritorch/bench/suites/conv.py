"""Convolutions of a ResNet: forward, the data's gradient and the weight's gradient, channels last and first."""

from __future__ import annotations

from functools import partial

from tritorch.bench.case import Case, Input, work_of

DTYPES = ("bfloat16", "float16", "float32", "tf32")

# (channels in, channels out, kernel, stride, image, groups) of ResNet-18 and -50 on 224 x 224, and of a MobileNet
FULL = ((3, 64, 7, 2, 224, 1), (64, 64, 3, 1, 56, 1), (64, 256, 1, 1, 56, 1), (128, 128, 3, 2, 56, 1),
        (128, 128, 3, 1, 28, 1), (256, 256, 3, 1, 14, 1), (1024, 256, 1, 1, 14, 1), (512, 512, 3, 1, 7, 1),
        (144, 144, 3, 1, 56, 144))  # fmt: skip
QUICK = ((64, 64, 3, 1, 56, 1), (64, 256, 1, 1, 56, 1), (256, 256, 3, 1, 14, 1))
SMALL = ((3, 8, 3, 2, 16, 1), (8, 8, 3, 1, 8, 1), (8, 16, 1, 1, 8, 1), (8, 8, 3, 1, 8, 8))
BATCH, QUICK_BATCH, SMALL_BATCH = 64, 16, 2

LAST, FIRST = (0, 2, 3, 1), (0, 1, 2, 3)  # the order of dimensions in memory
CHANNELS_FIRST = 3  # layers that are timed in that layout too


def cases(dtypes, quick, small):
    """Every layer, its three directions; some of them channels first as well."""
    layers = SMALL if small else QUICK if quick else FULL
    batch = SMALL_BATCH if small else QUICK_BATCH if quick else BATCH
    for dtype in dtypes:
        for order, chosen in ((LAST, layers), (FIRST, layers[: 1 if quick else CHANNELS_FIRST])):
            for layer in chosen:
                for what, step in DIRECTIONS.items():
                    yield case(batch, layer, order, what, step, dtype)


def case(batch, layer, order, what, step, dtype):
    """One direction of one layer."""
    channels, features, kernel, stride, image, groups = layer
    padding = kernel // 2
    side = (image + 2 * padding - kernel) // stride + 1
    data, weight = (batch, channels, image, image), (features, channels // groups, kernel, kernel)
    out = (batch, features, side, side)
    terms = channels // groups * kernel * kernel
    pixels = batch * side * side
    elements = batch * channels * image * image + features * terms + features * pixels
    grads = {"data gradient": (True, False), "weight gradient": (False, True)}.get(what, (False, False))
    inputs = (Input(data, requires_grad=grads[0], order=order), Input(weight, requires_grad=grads[1], order=order))
    depthwise = f" groups {groups}" if groups > 1 else ""
    layout = "" if order is LAST else " channels first"
    return Case(
        name=f"{what} {channels}->{features} {kernel}x{kernel} stride {stride}{depthwise} image {image} batch {batch}"
        f"{layout}",
        dtype=dtype,
        inputs=(*inputs, *[Input(out, order=order)] * any(grads)),
        step=partial(step, stride, padding, groups),
        work=work_of(2 * pixels * features * terms, elements, dtype),
        length=pixels if grads[1] else max(terms, features // groups * kernel * kernel),
        unit="TFLOP/s" if groups == 1 else "GB/s",
        gives_gradients=any(grads),
    )


def _forward(stride, padding, groups, lib, data, weight):
    conv = partial(lib.nn.functional.conv2d, stride=stride, padding=padding, groups=groups)
    return lambda: conv(data, weight)


def _data_gradient(stride, padding, groups, lib, data, weight, grad):
    out = lib.nn.functional.conv2d(data, weight, stride=stride, padding=padding, groups=groups)
    return lambda: lib.autograd.grad(out, data, grad, retain_graph=True)


def _weight_gradient(stride, padding, groups, lib, data, weight, grad):
    out = lib.nn.functional.conv2d(data, weight, stride=stride, padding=padding, groups=groups)
    return lambda: lib.autograd.grad(out, weight, grad, retain_graph=True)


DIRECTIONS = {"forward": _forward, "data gradient": _data_gradient, "weight gradient": _weight_gradient}
