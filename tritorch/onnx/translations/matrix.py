"""Products of matrices, attention, and resampling, which is a product with a table of weights in each dimension."""

from __future__ import annotations

import numpy as np

from tritorch.onnx.registry import UnsupportedOperatorError, translates


def turned(graph, value, dims):
    """The last two of a value's dimensions swapped."""
    return graph.transpose(value, *range(dims - 2), dims - 1, dims - 2)


@translates("matmul")
def matmul(graph, out, input, other, transpose_input, transpose_other):
    a = turned(graph, input, len(input.shape)) if transpose_input else input
    return graph.node("MatMul", a, turned(graph, other, len(other.shape)) if transpose_other else other)


@translates("add_matmul")
def add_matmul(graph, out, input, first, second, beta, alpha):
    found = graph.node("MatMul", first, second)
    if alpha != 1:
        found = graph.node("Mul", found, graph.constant(alpha, first.dtype))
    if beta == 0:
        return found
    return graph.node("Add", found, input if beta == 1 else graph.node("Mul", input, graph.constant(beta, input.dtype)))


@translates("linear")
def linear(graph, out, input, weight, bias):
    if len(input.shape) == 2:
        return graph.node("Gemm", input, weight, bias, transB=1)
    found = graph.node("MatMul", input, turned(graph, weight, 2))
    return found if bias is None else graph.node("Add", found, bias)


@translates("attention")
def attention(graph, out, query, key, value, mask, dropout_p, is_causal, scale, *seed):
    if dropout_p:
        raise UnsupportedOperatorError("onnx.export: attention with dropout; export the model in eval mode")
    dtype, groups = query.dtype, query.shape[1] // key.shape[1]
    key, value = (_repeated(graph, each, groups) for each in (key, value))
    scores = graph.node("MatMul", query, turned(graph, key, 4))
    scores = graph.node("Mul", scores, graph.constant(scale, dtype))
    if is_causal:
        size = query.shape[2], key.shape[2]
        scores = graph.node("Add", scores, graph.constant(np.triu(np.full(size, -np.inf, dtype), 1)))
    if mask is not None and mask.dtype == np.bool_:
        mask = graph.node("Where", mask, graph.constant(0, dtype), graph.constant(-np.inf, dtype))
    if mask is not None:
        scores = graph.node("Add", scores, mask)
    return graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)


def _repeated(graph, value, groups):
    """Each head `groups` times."""
    if groups == 1:
        return value
    batch, heads, length, width = value.shape
    found = graph.node("Unsqueeze", value, graph.indices(2))
    found = graph.node("Expand", found, graph.indices(batch, heads, groups, length, width))
    found = graph.reshape(found, batch, heads * groups, length, width)
    found.shape = (batch, heads * groups, length, width)
    return found


@translates("resample")
def resample(graph, out, input, maps):
    dims, found = len(input.shape), input
    first = dims - len(maps)
    for dim, each in enumerate(maps, first):
        if each is None or each.is_identity:
            continue
        weights = graph.constant(each.dense, input.dtype)
        if dim == dims - 1:
            found = graph.node("MatMul", found, weights)
        else:
            order = list(range(dims))
            order[dim], order[-1] = order[-1], order[dim]
            found = graph.transpose(graph.node("MatMul", graph.transpose(found, *order), weights), *order)
    return found
