"""How a batch of examples is convolved: images of all examples are one batch, or their channels are groups."""

from __future__ import annotations

from tritorch.ops.batching import moved, rule


def merged(tensor):
    """(examples, images, channels, ...) as (images, examples * channels, ...)."""
    return moved(tensor, 0, 1).flatten(1, 2)


def parted(tensor, count):
    """The reverse of merged, for `count` examples."""
    images, channels, *rest = tensor.array.shape
    return moved(tensor.reshape((images, count, channels // count, *rest)), 1, 0)


@rule
def convolved(cls, call):
    """With one weight a larger batch; with one for each example, each is a group."""
    input, weight, bias, *rest, groups = call.args
    if not call.batched[1]:
        found = cls.apply(*call.folded(0), weight, None if call.batched[2] else bias, *rest, groups)
        found = call.unfolded(found, call.shape(0)[0])
        if not call.batched[2]:
            return found
        return found + bias.reshape((call.size, 1, -1, *(1,) * (call.rank(0) - 2)))
    weight = weight.flatten(0, 1)
    bias = None if bias is None else call.front(2).reshape(-1)
    if groups == 1 and not call.batched[0]:
        return parted(cls.apply(input, weight, bias, *rest, 1), call.size)
    return parted(cls.apply(merged(call.front(0)), weight, bias, *rest, groups * call.size), call.size)


@rule
def input_gradient(cls, call):
    """The same for the gradient by the input."""
    weight, *rest, groups = call.args[1:]
    if not call.batched[1]:
        return call.unfolded(cls.apply(*call.folded(0), weight, *rest, groups), call.shape(0)[0])
    found = cls.apply(merged(call.front(0)), weight.flatten(0, 1), *rest, groups * call.size)
    return parted(found, call.size)


@rule
def weight_gradient(cls, call):
    """Each example has a gradient of its own, so each is a group."""
    *rest, groups = call.args[2:]
    found = cls.apply(merged(call.front(0)), merged(call.front(1)), *rest, groups * call.size)
    return call.unfolded(found, call.shape(0)[1])
