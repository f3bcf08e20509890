"""Look-ups by tensors of indices."""

from __future__ import annotations

import numpy as np

from tritorch.onnx.registry import UnsupportedOperatorError, translates


@translates("embedding")
def embedding(graph, out, weight, indices, *settings):
    return graph.node("Gather", weight, indices, axis=0)


@translates("gather")
def gather(graph, out, input, dim, index):
    return graph.node("GatherElements", input, index, axis=dim)


@translates("scatter")
def scatter(graph, out, input, dim, accumulate, index, source):
    if source.shape != index.shape:
        source = graph.node("Expand", graph.cast(source, input.dtype), graph.indices(*index.shape))
    kind = {"reduction": "add"} if accumulate else {}
    return graph.node("ScatterElements", input, index, source, axis=dim, **kind)


@translates("index")
def index(graph, out, input, dims, *indices):
    """One index is a Gather; several, of leading dimensions, a GatherND of their broadcast stack."""
    if len(dims) == 1:
        return graph.node("Gather", input, indices[0], axis=dims[0])
    if tuple(dims) != tuple(range(len(dims))):
        raise UnsupportedOperatorError(f"onnx.export: indexing the dimensions {tuple(dims)} together")
    shape = np.broadcast_shapes(*(each.shape for each in indices))
    parts = [
        graph.node("Unsqueeze", graph.node("Expand", each, graph.indices(*shape)), graph.indices(len(shape)))
        for each in indices
    ]
    return graph.node("GatherND", input, graph.node("Concat", *parts, axis=len(shape)))
