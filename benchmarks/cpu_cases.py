"""What benchmarks/cpu.py measures: for each case a function of a library that makes a step, and the ratio allowed.

Single ops have the sizes of a CIFAR ResNet (batch 64) and of a small GPT (8 times 128 tokens of width 128, 4096 words).
"""

from __future__ import annotations

import numpy as np

from tritorch.bench.nets import nets
from tritorch.bench.training import Steps


def chain(lib):
    """((a*b+a)@b).relu().sum() on 8x8, without gradients."""
    a, b = (lib.from_numpy(np.random.default_rng(k).standard_normal((8, 8)).astype("f")) for k in range(2))
    return lambda: ((a * b + a) @ b).relu().sum()


def chain_gradient(lib):
    """The same with its gradient."""
    a, b = (
        lib.from_numpy(np.random.default_rng(k).standard_normal((8, 8)).astype("f")).requires_grad_() for k in range(2)
    )

    def step():
        a.grad = b.grad = None
        ((a * b + a) @ b).relu().sum().backward()

    return step


def regression(lib):
    """A step of the two-layer regression: forward, loss, gradient, SGD."""
    net = lib.nn.Sequential(lib.nn.Linear(1, 10), lib.nn.ReLU(), lib.nn.Linear(10, 1))
    optimizer = lib.optim.SGD(net.parameters(), lr=0.01)
    criterion = lib.nn.MSELoss()
    x = lib.from_numpy(np.random.default_rng(0).random((100, 1)).astype("f"))
    y = x * 0.1 + 1

    def step():
        loss = criterion(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def net_step(name):
    """A step of a net of `tritorch bench step`, as small as it is there on a processor."""
    training = nets()[name].training(quick=False, small=True)

    def make(lib):
        random = np.random.default_rng(0)
        tensors = [lib.from_numpy(each.numbers(random)) for each in training.inputs]
        return Steps(training, False, lib, tensors)

    return make


def of_op(function, *shapes, gradient=True, numbers=()):
    """A step of one op: `function(lib, *tensors)` of normal tensors of `shapes`, each with its gradient if asked.

    `numbers` are (shape, below) of integer tensors that come after them.
    """

    def make(lib):
        random = np.random.default_rng(0)
        tensors = [lib.from_numpy(random.standard_normal(shape).astype("f")) for shape in shapes]
        integers = [lib.from_numpy(random.integers(0, below, shape)) for shape, below in numbers]
        if not gradient:
            return lambda: function(lib, *tensors, *integers)
        shape = function(lib, *tensors, *integers).shape
        seed = lib.from_numpy(random.standard_normal(tuple(shape)).astype("f"))
        for each in tensors:
            each.requires_grad_()

        def step():
            for each in tensors:
                each.grad = None
            function(lib, *tensors, *integers).backward(seed)

        return step

    return make


def batch_norm(training):
    """batch_norm with running statistics."""
    running = {}

    def function(lib, x, weight, bias):
        channels = x.shape[1]
        if (lib, channels) not in running:
            running[lib, channels] = lib.zeros(channels), lib.ones(channels)
        return lib.nn.functional.batch_norm(x, *running[lib, channels], weight, bias, training)

    return function


def layer_norm(lib, x, weight, bias):
    """layer_norm over the last dimension."""
    return lib.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias)


def softmax(lib, x):
    """softmax over the last dimension."""
    return lib.nn.functional.softmax(x, -1)


def cross_entropy(lib, x, target):
    """The mean cross entropy."""
    return lib.nn.functional.cross_entropy(x, target)


def embedding(lib, weight, numbers):
    """Rows by number."""
    return lib.nn.functional.embedding(numbers, weight)


def rms_norm(lib, x, weight):
    """rms_norm over the last dimension."""
    return lib.nn.functional.rms_norm(x, (x.shape[-1],), weight)


def group_norm(lib, x, weight, bias):
    """group_norm of eight groups."""
    return lib.nn.functional.group_norm(x, 8, weight, bias)


def attention(lib, query, key, value):
    """Causal attention."""
    return lib.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def conv2d(lib, x, weight):
    """A convolution that keeps the size of images."""
    return lib.nn.functional.conv2d(x, weight, padding=1)


def max_pool2d(lib, x):
    """The maximum of each window of 2x2."""
    return lib.nn.functional.max_pool2d(x, 2)


def avg_pool2d(lib, x):
    """The mean of each window of 2x2."""
    return lib.nn.functional.avg_pool2d(x, 2)


def adaptive_avg_pool2d(lib, x):
    """The mean of each plane."""
    return lib.nn.functional.adaptive_avg_pool2d(x, 1)


def pad(lib, x):
    """Images with one more row and column at each side, reflected."""
    return lib.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")


def lstm(lib, x, hidden, cell, *parameters):
    """A layer of LSTM over all steps."""
    return lib.lstm(x, (hidden, cell), parameters, True, 1, 0.0, False, False, False)[0]


def residual_block(lib, x, weight1, gain1, level1, weight2, gain2, level2):
    """A block of a ResNet: two convolutions, each normalised over the batch, and what came in added."""
    functional = lib.nn.functional
    y = functional.batch_norm(conv2d(lib, x, weight1), None, None, gain1, level1, True)
    y = functional.batch_norm(conv2d(lib, functional.relu(y), weight2), None, None, gain2, level2, True)
    return functional.relu(y + x)


def transformer_block(lib, x, gain1, level1, inward, outward, gain2, level2, up, down):
    """A block of a small GPT: causal attention of four heads and two linear layers, both on normalised rows."""
    functional = lib.nn.functional
    batch, steps, width = x.shape
    parts = functional.linear(layer_norm(lib, x, gain1, level1), inward).reshape(batch, steps, 3, 4, width // 4)
    found = attention(lib, *parts.permute(2, 0, 3, 1, 4).unbind(0)).transpose(1, 2).reshape(batch, steps, width)
    x = x + functional.linear(found, outward)
    return x + functional.linear(functional.gelu(functional.linear(layer_norm(lib, x, gain2, level2), up)), down)


def cumsum(lib, x):
    """The sums of all elements so far along the last dimension."""
    return x.cumsum(-1)


def cummax(lib, x):
    """The largest of all elements so far along the last dimension."""
    return x.cummax(-1)[0]


def sort(lib, x):
    """Rows in order."""
    return x.sort(-1)[0]


def topk(lib, x):
    """The ten largest of each row."""
    return x.topk(10, -1)[0]


def unique(lib, x):
    """Which numbers there are."""
    return lib.unique(x)


CASES = {
    "chain forward": (chain, 1.2),
    "chain forward+backward": (chain_gradient, 1.2),
    "regression step": (regression, 1.2),
    "cnn step": (net_step("mnist-cnn"), 2.0),
    "small gpt step": (net_step("gpt2"), 2.0),
    "lstm step": (net_step("lstm"), 2.5),
}

IMAGES, TOKENS, HEADS = (64, 64, 32, 32), (8, 128, 128), (8, 4, 128, 32)
CHANNELS, KERNEL, LSTM = (64,), (64, 64, 3, 3), ((64, 32, 128), (1, 32, 128), (1, 32, 128), *[(512, 128)] * 2)

OPS = {  # shapes of tensors, (shape, below) of integer tensors, the ratio allowed
    "batch_norm 64x64x32x32": (batch_norm(True), (IMAGES, CHANNELS, CHANNELS), (), 2.0),
    "batch_norm 64x128x16x16": (batch_norm(True), ((64, 128, 16, 16), (128,), (128,)), (), 2.0),
    "batch_norm eval 64x64x32x32": (batch_norm(False), (IMAGES, CHANNELS, CHANNELS), (), 2.0),
    "layer_norm 8x128x128": (layer_norm, (TOKENS, (128,), (128,)), (), 2.0),
    "layer_norm 8192x768": (layer_norm, ((8192, 768), (768,), (768,)), (), 2.0),
    "rms_norm 8192x768": (rms_norm, ((8192, 768), (768,)), (), 2.0),
    "group_norm 64x64x32x32": (group_norm, (IMAGES, CHANNELS, CHANNELS), (), 2.0),
    "softmax 8x4x128x128": (softmax, ((8, 4, 128, 128),), (), 2.0),
    "softmax 4096x1024": (softmax, ((4096, 1024),), (), 2.0),
    "cross_entropy 1024x4096": (cross_entropy, ((1024, 4096),), (((1024,), 4096),), 2.0),
    "embedding 4096x128, 1024 tokens": (embedding, ((4096, 128),), (((8, 128), 4096),), 2.0),
    "attention 8x4x128x32": (attention, (HEADS, HEADS, HEADS), (), 2.0),
    "conv2d 64x64x32x32": (conv2d, (IMAGES, KERNEL), (), 2.0),
    "max_pool2d 64x64x32x32": (max_pool2d, (IMAGES,), (), 2.0),
    "avg_pool2d 64x64x32x32": (avg_pool2d, (IMAGES,), (), 2.0),
    "adaptive_avg_pool2d 64x64x32x32": (adaptive_avg_pool2d, (IMAGES,), (), 2.0),
    "pad reflect 64x64x32x32": (pad, (IMAGES,), (), 2.0),
    "lstm 64 steps, 32x128": (lstm, (*LSTM, (512,), (512,)), (), 3.0),
    "residual block 64x64x32x32": (residual_block, (IMAGES, *(KERNEL, CHANNELS, CHANNELS) * 2), (), 2.0),
    "transformer block 8x128x128": (
        transformer_block,
        (TOKENS, (128,), (128,), (384, 128), (128, 128), (128,), (128,), (512, 128), (128, 512)), (), 2.0,
    ),
    "cumsum 1048576": (cumsum, ((1 << 20,),), (), 4.0),
    "cumsum 1024x1024": (cumsum, ((1024, 1024),), (), 4.0),
    "cummax 1048576": (cummax, ((1 << 20,),), (), 4.0),
    "sort 1024x1024": (sort, ((1024, 1024),), (), 4.0),
    "sort 20": (sort, ((20,),), (), 4.0),
    "topk 1024x1024": (topk, ((1024, 1024),), (), 4.0),
    "topk 20": (topk, ((20,),), (), 4.0),
}  # fmt: skip

NUMBERS = {  # the same of integers, which have no gradient
    "sort of integers 1048576": (sort, (), (((1 << 20,), 1 << 40),), 4.0),
    "unique of 1048576 integers": (unique, (), (((1 << 20,), 1000),), 4.0),
}

for _name, (_function, _shapes, _numbers, _target) in (OPS | NUMBERS).items():
    CASES[f"{_name} forward"] = of_op(_function, *_shapes, gradient=False, numbers=_numbers), _target
    if _shapes:
        CASES[f"{_name} forward+backward"] = of_op(_function, *_shapes, numbers=_numbers), _target
