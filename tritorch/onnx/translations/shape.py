"""Shapes: views, joining, padding."""

from __future__ import annotations

import numpy as np

from tritorch.onnx.registry import UnsupportedOperatorError, translates


@translates("view")
def view(graph, out, input, size):
    """Leading sizes that stay are copied, so that a dynamic batch stays dynamic; one that grew into the next is -1."""
    own, size, kept = input.shape, tuple(out.array.shape), 0
    while kept < min(len(own), len(size)) and own[kept] == size[kept]:
        kept += 1
    if kept == len(own) == len(size):
        return graph.node("Identity", input)
    if kept or not size or 0 in size:
        return graph.reshape(input, *[0] * kept, *size[kept:])
    return graph.reshape(input, -1, *size[1:])


@translates("permute")
def permute(graph, out, input, dims):
    return graph.transpose(input, *(dim % len(input.shape) for dim in dims))


@translates("transpose")
def transpose(graph, out, input, dim0, dim1):
    order = list(range(len(input.shape)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return graph.transpose(input, *order)


@translates("t")
def t(graph, out, input):
    return graph.transpose(input, *reversed(range(len(input.shape))))


@translates("expand")
def expand(graph, out, input, size):
    own = (1,) * (len(out.array.shape) - len(input.shape)) + tuple(input.shape)
    wanted = [1 if have == want else want for have, want in zip(own, out.array.shape, strict=True)]
    return graph.node("Expand", input, graph.indices(*wanted))


@translates("unsqueeze")
def unsqueeze(graph, out, input, dim):
    return graph.node("Unsqueeze", input, graph.indices(dim))


@translates("squeeze")
def squeeze(graph, out, input, dim=None):
    dims = range(len(input.shape)) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    gone = [each for each in dims if input.shape[each] == 1]
    return graph.node("Squeeze", input, graph.indices(*gone)) if gone else graph.node("Identity", input)


@translates("select", "slice")
def take(graph, out, input, key):
    """A key of ints, slices and None, with an Ellipsis at its end."""
    found, dim, gone, added, place = input, 0, [], [], 0
    starts, ends, axes, steps = [], [], [], []
    for each in key:
        if each is Ellipsis:
            break
        if each is None:
            added.append(place)
            place += 1
            continue
        size = input.shape[dim]
        if isinstance(each, int):
            at = each % size
            starts, ends, axes, steps = [*starts, at], [*ends, at + 1], [*axes, dim], [*steps, 1]
            gone.append(dim)
        else:
            first, last, step = each.indices(size)
            if (first, last, step) != (0, size, 1):
                whole = each.stop is None or last == size
                starts, ends = [*starts, first], [*ends, np.iinfo(np.int64).max if whole else last]
                axes, steps = [*axes, dim], [*steps, step]
            place += 1
        dim += 1
    if starts:
        found = graph.node("Slice", found, *(graph.indices(*each) for each in (starts, ends, axes, steps)))
    if gone:
        found = graph.node("Squeeze", found, graph.indices(*gone))
    return graph.node("Unsqueeze", found, graph.indices(*added)) if added else found


@translates("cat")
def cat(graph, out, dim, starts, *tensors):
    kept = [each for each in tensors if each.shape != (0,)]
    return graph.node("Concat", *(graph.cast(each, out.array.dtype) for each in kept), axis=dim)


@translates("stack")
def stack(graph, out, dim, *tensors):
    parts = [graph.node("Unsqueeze", graph.cast(each, out.array.dtype), graph.indices(dim)) for each in tensors]
    return graph.node("Concat", *parts, axis=dim)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@translates("pad")
def pad(graph, out, input, widths, mode, value):
    if _PAD_MODES[mode] == "wrap":
        raise UnsupportedOperatorError("onnx.export: circular padding, which ONNX has from opset 19 on")
    pads = [before for before, _ in widths] + [after for _, after in widths]
    fill = graph.constant(value or 0, input.dtype) if mode == "constant" else None
    return graph.node("Pad", input, graph.indices(*pads), fill, mode=_PAD_MODES[mode])


@translates("flip")
def flip(graph, out, input, dims):
    lowest, many = np.iinfo(np.int64).min, len(dims)
    parts = ([-1] * many, [lowest] * many, list(dims), [-1] * many)
    return graph.node("Slice", input, *(graph.indices(*each) for each in parts))


@translates("roll")
def roll(graph, out, input, shifts, dims):
    found = input
    for shift, dim in zip(shifts, dims, strict=True):
        size = input.shape[dim]
        at = -shift % size if size else 0
        tail, head = (
            graph.node("Slice", found, *(graph.indices(each) for each in (first, last, dim)))
            for first, last in ((at, size), (0, at))
        )
        found = graph.node("Concat", tail, head, axis=dim)
    return found


@translates("tril")
def tril(graph, out, input, diagonal):
    return graph.node("Trilu", input, graph.constant(diagonal, np.int64), upper=0)


@translates("triu")
def triu(graph, out, input, diagonal):
    return graph.node("Trilu", input, graph.constant(diagonal, np.int64), upper=1)
