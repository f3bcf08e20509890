"""Interpret tier: results lie in memory as PyTorch's do, on the CPU and through kernels.

The strides in the tables are those that PyTorch 2.13 gives.
"""

from __future__ import annotations

import pytest

import tritorch as torch
from tritorch.nn import functional as F

SHAPES = (2, 4, 6, 5), (1, 4, 6, 6), (2, 1, 6, 5), (2, 4, 1, 6), (2, 4, 1, 1)


def channels_last(t):
    return t.contiguous(memory_format=torch.channels_last)


def transposed(t):
    """The last two dimensions lie the other way round."""
    return t.transpose(-1, -2).contiguous().transpose(-1, -2)


def expanded(t):
    """All channels are one."""
    return t[:, :1].expand(*t.shape)


def half(t):
    """The first half of the channels of a tensor whose channels lie innermost."""
    return channels_last(torch.cat([t, t], 1))[:, : t.shape[1]]


LAYOUTS = channels_last, transposed, expanded, half


def ones(t):
    return torch.ones(t.shape[1])


LAST, ROWS = torch.channels_last, torch.contiguous_format

# The strides of results, a row for each of SHAPES, in it one for each of LAYOUTS.
STRIDES = [
    (
        {
            "relu": F.relu, "exp": torch.exp, "add": lambda t: t + t, "number": lambda t: t + 1,
            "by channel": lambda t: t * ones(t)[:, None, None], "channel first": lambda t: ones(t)[:, None, None] * t,
            "with contiguous": lambda t: t + torch.ones(t.shape), "compared": lambda t: t > 0.5,
            "where": lambda t: torch.where(t > 0.5, t, t * 2), "gelu": F.gelu, "silu": F.silu,
            "prelu": lambda t: F.prelu(t, ones(t)), "dropout": lambda t: F.dropout(t, 0.5), "clone": torch.clone,
            "copy": lambda t: t.to(torch.float32, copy=True), "flip": lambda t: t.flip(3),
            "zeros_like": torch.zeros_like, "rand_like": torch.rand_like, "in place": lambda t: t.clone().mul_(2),
        },
        ((120, 1, 20, 4), (120, 30, 1, 6), (120, 30, 5, 1), (120, 1, 20, 4)),
        ((144, 1, 24, 4), (144, 36, 1, 6), (144, 36, 6, 1), (144, 1, 24, 4)),
        ((30, 30, 5, 1), (30, 30, 1, 6), (30, 30, 5, 1), (30, 1, 5, 1)),
        ((24, 1, 24, 4), (24, 6, 6, 1), (24, 6, 6, 1), (24, 1, 24, 4)),
        ((4, 1, 1, 1), (4, 1, 1, 1), (4, 1, 1, 1), (4, 1, 1, 1)),
    ),
    (
        {"contiguous first": lambda t: torch.ones(t.shape) + t},
        ((120, 30, 5, 1), (120, 30, 5, 1), (120, 30, 5, 1), (120, 30, 5, 1)),
        ((144, 36, 6, 1), (144, 36, 6, 1), (144, 36, 6, 1), (144, 36, 6, 1)),
        ((30, 30, 5, 1), (30, 30, 5, 1), (30, 30, 5, 1), (30, 30, 5, 1)),
        ((24, 6, 24, 1), (24, 6, 6, 1), (24, 6, 6, 1), (24, 6, 24, 1)),
        ((4, 1, 1, 1), (4, 1, 1, 1), (4, 1, 1, 1), (4, 1, 1, 1)),
    ),
    (
        {
            "clone": lambda t: t.clone(memory_format=LAST), "cast": lambda t: t.to(torch.float64, memory_format=LAST),
            "zeros_like": lambda t: torch.zeros_like(t, memory_format=LAST),
            "double": lambda t: t.double(memory_format=LAST),
            "empty": lambda t: torch.empty(t.shape, memory_format=LAST),
        },
        ((120, 1, 20, 4), (120, 1, 20, 4), (120, 1, 20, 4), (120, 1, 20, 4)),
        ((144, 1, 24, 4), (144, 1, 24, 4), (144, 1, 24, 4), (144, 1, 24, 4)),
        ((30, 1, 5, 1), (30, 1, 5, 1), (30, 1, 5, 1), (30, 1, 5, 1)),
        ((24, 1, 24, 4), (24, 1, 24, 4), (24, 1, 24, 4), (24, 1, 24, 4)),
        ((4, 1, 4, 4), (4, 1, 4, 4), (4, 1, 4, 4), (4, 1, 4, 4)),
    ),
    (
        {
            "clone": lambda t: t.clone(memory_format=ROWS), "contiguous": lambda t: t.contiguous(),
            "zeros_like": lambda t: torch.zeros_like(t, memory_format=ROWS),
            "new_zeros": lambda t: t.new_zeros(t.shape),
            "softmax": lambda t: F.softmax(t, 1), "log_softmax": lambda t: F.log_softmax(t, 3),
            "layer_norm": lambda t: F.layer_norm(t, t.shape[3:]),
        },
        ((120, 30, 5, 1), (120, 30, 5, 1), (120, 30, 5, 1), (120, 30, 5, 1)),
        ((144, 36, 6, 1), (144, 36, 6, 1), (144, 36, 6, 1), (144, 36, 6, 1)),
        ((30, 30, 5, 1), (30, 30, 5, 1), (30, 30, 5, 1), (30, 30, 5, 1)),
        ((24, 6, 6, 1), (24, 6, 6, 1), (24, 6, 6, 1), (24, 6, 6, 1)),
        ((4, 1, 1, 1), (4, 1, 1, 1), (4, 1, 1, 1), (4, 1, 1, 1)),
    ),
    (
        {"contiguous": channels_last},
        ((120, 1, 20, 4), (120, 1, 20, 4), (120, 1, 20, 4), (120, 1, 20, 4)),
        ((144, 1, 24, 4), (144, 1, 24, 4), (144, 1, 24, 4), (144, 1, 24, 4)),
        ((30, 30, 5, 1), (30, 1, 5, 1), (30, 30, 5, 1), (30, 1, 5, 1)),
        ((24, 1, 24, 4), (24, 1, 24, 4), (24, 1, 24, 4), (24, 1, 24, 4)),
        ((4, 1, 1, 1), (4, 1, 1, 1), (4, 1, 4, 4), (4, 1, 4, 4)),
    ),
    (
        {"to": lambda t: t.to(memory_format=LAST)},
        ((120, 1, 20, 4), (120, 1, 20, 4), (120, 1, 20, 4), (240, 1, 40, 8)),
        ((144, 1, 24, 4), (144, 1, 24, 4), (144, 1, 24, 4), (288, 1, 48, 8)),
        ((30, 1, 5, 1), (30, 1, 5, 1), (30, 1, 5, 1), (60, 1, 10, 2)),
        ((24, 1, 24, 4), (24, 1, 24, 4), (24, 1, 24, 4), (48, 1, 48, 8)),
        ((4, 1, 4, 4), (4, 1, 4, 4), (4, 1, 4, 4), (4, 1, 4, 4)),
    ),
    (
        {"to": lambda t: t.to(memory_format=ROWS)},
        ((120, 30, 5, 1), (120, 30, 1, 6), (120, 0, 5, 1), (120, 30, 5, 1)),
        ((144, 36, 6, 1), (144, 36, 1, 6), (144, 0, 6, 1), (144, 36, 6, 1)),
        ((30, 30, 5, 1), (30, 30, 1, 6), (30, 30, 5, 1), (30, 30, 5, 1)),
        ((24, 6, 6, 1), (24, 6, 6, 1), (24, 0, 6, 1), (24, 6, 6, 1)),
        ((4, 1, 1, 1), (4, 1, 1, 1), (4, 0, 1, 1), (8, 1, 1, 1)),
    ),
    (
        {"to": lambda t: t.to(memory_format=torch.preserve_format)},
        ((120, 1, 20, 4), (120, 30, 1, 6), (120, 0, 5, 1), (240, 1, 40, 8)),
        ((144, 1, 24, 4), (144, 36, 1, 6), (144, 0, 6, 1), (288, 1, 48, 8)),
        ((30, 30, 5, 1), (30, 30, 1, 6), (30, 30, 5, 1), (60, 1, 10, 2)),
        ((24, 1, 24, 4), (24, 6, 6, 1), (24, 0, 6, 1), (48, 1, 48, 8)),
        ((4, 1, 1, 1), (4, 1, 1, 1), (4, 0, 1, 1), (8, 1, 1, 1)),
    ),
]  # fmt: skip

# What gives a tensor of some other shape, whose channels lie innermost where those of the input do. Below, for each of
# SHAPES and LAYOUTS, whether they are taken to.
FORMATTED = {
    "batch_norm": lambda t: F.batch_norm(t, None, None, ones(t), ones(t), True),
    "batch_norm of given": lambda t: F.batch_norm(t, ones(t), ones(t), ones(t), ones(t)),
    "group_norm": lambda t: F.group_norm(t, 1, ones(t), ones(t)),
    "max_pool": lambda t: F.max_pool2d(t, 2, 1, 1), "avg_pool": lambda t: F.avg_pool2d(t, 2, 1, 1),
    "places": lambda t: F.max_pool2d(t, 2, 1, 1, return_indices=True)[1].float(),
    "means": lambda t: F.adaptive_avg_pool2d(t, 3), "largest": lambda t: F.adaptive_max_pool2d(t, 2),
    "nearest": lambda t: F.interpolate(t, scale_factor=2), "pad": lambda t: F.pad(t, (1, 1, 1, 1)),
    "bilinear": lambda t: F.interpolate(t, scale_factor=2, mode="bilinear"),
    "replicate": lambda t: F.pad(t, (1, 1, 1, 1), mode="replicate"), "cat": lambda t: torch.cat([t, t], 1),
    "cat of a batch": lambda t: torch.cat([t, t]),
}  # fmt: skip
INNERMOST = (True, False, False, True), (True, False, False, True), (False, False, False, True), \
    (True, False, False, True), (False,) * 4  # fmt: skip


@pytest.fixture(params=["cpu", "interpreter"])
def device(request):
    torch.set_default_device(request.param)
    return request.param


def inputs():
    for row, shape in enumerate(SHAPES):
        values = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape) / 100
        for column, layout in enumerate(LAYOUTS):
            yield row, column, layout(values)


@pytest.mark.parametrize("number", range(len(STRIDES)))
def test_strides_are_pytorchs(number, device):
    calls, *rows = STRIDES[number]
    for row, column, given in inputs():
        for name, call in calls.items():
            found = call(given)
            assert found.stride() == rows[row][column], f"{name} of {tuple(given.shape)}, {LAYOUTS[column].__name__}"


def strides_of(shape, innermost):
    _, channels, height, width = shape
    if innermost:
        return height * width * channels, 1, width * channels, channels
    return channels * height * width, height * width, width, 1


@pytest.mark.parametrize("name", FORMATTED)
def test_images_keep_their_format_and_so_do_their_gradients(name, device):
    for row, column, given in inputs():
        leaf = given.detach().requires_grad_()
        gradients = []
        leaf.register_hook(gradients.append)
        found = FORMATTED[name](leaf)
        innermost = INNERMOST[row][column]
        where = f"{tuple(given.shape)}, {LAYOUTS[column].__name__}"
        assert found.stride() == strides_of(found.shape, innermost), where
        contiguous = FORMATTED[name](given.contiguous())
        assert torch.allclose(found, contiguous, atol=1e-5)
        if found.requires_grad:
            found.backward(torch.ones_like(found))
            if innermost and "cat" not in name:  # the gradients of parts are views
                assert gradients[0].is_contiguous(memory_format=torch.channels_last), where
