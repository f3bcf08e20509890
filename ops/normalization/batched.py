"""How a batch of examples is normalised: what is normalised together stays together, and the batch lies around it.

Weights and biases that differ between the examples are applied after an op without them.
"""

from __future__ import annotations

from tritorch.ops.batching import rule
from tritorch.ops.convolution.batched import merged, parted
from tritorch.ops.normalization.layout import over_batch, over_groups, over_last


def _shared(call):
    """The weight and the bias where the op itself can take them, else None."""
    if call.batched[1]:
        return None, None
    return call.args[1], None if call.batched[2] else call.args[2]


def _finished(call, found, affine):
    """The results with the batch first, and with weight and bias where they were not shared; `affine` shapes them."""
    out, *statistics = found
    if call.batched[1]:
        out = out * affine(call.front(1))
    if call.args[2] is not None and (call.batched[1] or call.batched[2]):
        out = out + affine(call.front(2))
    return out, *(each.reshape((call.size, -1)) for each in statistics)


@rule
def rows(cls, call):
    """The rule of normalisations over the last dimensions."""
    layout, eps = call.args[3:]
    dims, shape = len(layout.axes), (call.size, *layout.shape)
    found = cls.apply(call.front(0), *_shared(call), over_last(shape, dims), eps)
    ones = (1,) * (len(layout.shape) - dims)
    return _finished(call, found, lambda each: each.reshape((call.size, *ones, *shape[-dims:])))


@rule
def added_rows(cls, call):
    """The rule of normalisations of sums over the last dimensions."""
    layout, eps = call.args[4:]
    if call.batched[2] or call.batched[3]:
        return None
    whole = over_last((call.size, *layout.shape), len(layout.axes))
    out, total, *statistics = cls.apply(call.front(0), call.front(1), *call.args[2:4], whole, eps)
    return out, total, *(each.reshape((call.size, -1)) for each in statistics)


@rule
def groups(cls, call):
    """The rule of normalisations over groups of channels."""
    layout, eps = call.args[3:]
    images, channels, *places = call.shape(0)
    whole = over_groups((call.size * images, channels, *places), layout.shape[1])
    out, *statistics = cls.apply(*call.folded(0), *_shared(call), whole, eps)
    ones = (1,) * len(places)
    found = call.unfolded(out, images), *statistics
    return _finished(call, found, lambda each: each.reshape((call.size, 1, channels, *ones)))


@rule
def channels(cls, call):
    """The rule of batch normalisation: each example has channels of its own."""
    weight, bias = (None if each is None else each.reshape(-1) for each in (call.front(1), call.front(2)))
    out, *statistics = cls.apply(merged(call.front(0)), weight, bias, _over_channels(call), call.args[4])
    return parted(out, call.size), *(each.reshape((call.size, -1)) for each in statistics)


def _over_channels(call):
    images, channels, *places = call.shape(0)
    return over_batch((images, call.size * channels, *places))


@rule
def inference(cls, call):
    """The rule of batch normalisation by given statistics: if they are shared, a larger batch."""
    vectors, eps = call.args[1:-2], call.args[-1]
    if not any(call.batched[1:]):
        images, channels, *places = call.shape(0)
        whole = over_batch((call.size * images, channels, *places))
        return call.unfolded(cls.apply(*call.folded(0), *vectors, whole, eps), images)
    vectors = [None if each is None else call.front(at).reshape(-1) for at, each in enumerate(vectors, 1)]
    return parted(cls.apply(merged(call.front(0)), *vectors, _over_channels(call), eps), call.size)


@rule
def channels_backward(cls, call):
    """The rule of its gradient."""
    vectors, eps = call.args[2:-2], call.args[-1]
    vectors = [None if each is None else call.front(at).reshape(-1) for at, each in enumerate(vectors, 2)]
    images = [merged(call.front(at)) for at in (0, 1)]
    return parted(cls.apply(*images, *vectors, _over_channels(call), eps), call.size)


@rule
def rows_backward(cls, call):
    """The rule of the gradient of normalisations over the last dimensions."""
    layout, eps = call.args[5:]
    if call.batched[2]:
        return None
    statistics = [None if each is None else call.front(at).reshape(-1) for at, each in enumerate(call.args[3:5], 3)]
    whole = over_last((call.size, *layout.shape), len(layout.axes))
    return cls.apply(call.front(0), call.front(1), call.args[2], *statistics, whole, eps)


@rule
def groups_backward(cls, call):
    """The rule of the gradient of normalisations over groups of channels."""
    layout, eps = call.args[5:]
    if call.batched[2]:
        return None
    images, channels, *places = call.shape(0)
    whole = over_groups((call.size * images, channels, *places), layout.shape[1])
    statistics = [None if each is None else call.front(at).reshape(-1) for at, each in enumerate(call.args[3:5], 3)]
    return call.unfolded(cls.apply(*call.folded(0, 1), call.args[2], *statistics, whole, eps), images)


@rule
def running(cls, call):
    """The rule of running statistics, which are written in place and so must be the examples' own."""
    if not (call.batched[0] and call.batched[1]):
        raise RuntimeError(
            "Batch norm got a batched tensor as input while the running_mean or running_var, which will be updated in "
            "place, were not batched.\nIf you are using a module and do not need eval mode, please set "
            "`track_running_stats` to be False.If you are using a prebuilt module and do not need eval mode, please "
            "see the functorch website for resources on how to patch your module to work with vmap"
        )
    written = [call.args[at].view(-1) for at in (0, 1)]
    found = cls.apply(*written, *(call.front(at).reshape(-1) for at in (2, 3)), *call.args[4:])
    return tuple(each.reshape((call.size, -1)) for each in found)
