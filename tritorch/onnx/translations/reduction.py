"""Reductions, running sums, and what orders elements."""

from __future__ import annotations

import math

import numpy as np

from tritorch.onnx.registry import UnsupportedOperatorError, translates

_KINDS = {"sum": "ReduceSum", "mean": "ReduceMean", "prod": "ReduceProd", "amax": "ReduceMax", "amin": "ReduceMin"}


def _axes(graph, dim):
    if dim is None or dim == ():
        return None
    return graph.indices(*(dim if isinstance(dim, tuple) else (dim,)))


def _reduction(kind):
    def translate(graph, out, input, dim, keepdim, dtype=None):
        return graph.node(kind, graph.cast(input, out.array.dtype), _axes(graph, dim), keepdims=int(keepdim))

    return translate


def _truth(kind):
    def translate(graph, out, input, dim, keepdim, dtype=None):
        given = graph.cast(graph.cast(input, np.bool_), np.int32)
        return graph.cast(graph.node(kind, given, _axes(graph, dim), keepdims=int(keepdim)), out.array.dtype)

    return translate


def _extreme(kind, place):
    def translate(graph, out, input, dim, keepdim):
        value = graph.node(kind, input, graph.indices(dim), keepdims=int(keepdim))
        return value, graph.node(place, input, axis=dim, keepdims=int(keepdim))

    return translate


def _place(kind):
    def translate(graph, out, input, dim, keepdim):
        if dim is None:
            found = graph.node(kind, graph.reshape(input, -1), axis=0, keepdims=0)
            return graph.reshape(found, *out.array.shape)
        return graph.node(kind, input, axis=dim, keepdims=int(keepdim))

    return translate


for _name, _kind in _KINDS.items():
    translates(_name)(_reduction(_kind))
translates("any")(_truth("ReduceMax"))
translates("all")(_truth("ReduceMin"))
translates("max_along")(_extreme("ReduceMax", "ArgMax"))
translates("min_along")(_extreme("ReduceMin", "ArgMin"))
translates("argmax")(_place("ArgMax"))
translates("argmin")(_place("ArgMin"))


@translates("log_sum_exp")
def log_sum_exp(graph, out, input, dim, keepdim):
    return graph.node("ReduceLogSumExp", input, _axes(graph, dim), keepdims=int(keepdim))


@translates("var_mean")
def var_mean(graph, out, input, dim, keepdim, freedom):
    axes, keep = _axes(graph, dim), int(keepdim)
    difference = graph.node("Sub", input, graph.node("ReduceMean", input, axes, keepdims=1))
    total = graph.node("ReduceSumSquare", difference, axes, keepdims=keep)
    variance = graph.node("Div", total, graph.constant(freedom, input.dtype))
    return variance, graph.node("ReduceMean", input, axes, keepdims=keep)


@translates("linalg_vector_norm")
def vector_norm(graph, out, input, ord, dim, keepdim):
    axes, keep = _axes(graph, dim), int(keepdim)
    if ord == 2:
        return graph.node("ReduceL2", input, axes, keepdims=keep)
    if ord == 1:
        return graph.node("ReduceL1", input, axes, keepdims=keep)
    size = graph.node("Abs", input)
    if math.isinf(ord):
        return graph.node("ReduceMax" if ord > 0 else "ReduceMin", size, axes, keepdims=keep)
    power = graph.node("Pow", size, graph.constant(ord, input.dtype))
    return graph.node("Pow", graph.node("ReduceSum", power, axes, keepdims=keep), graph.constant(1 / ord, input.dtype))


@translates("cumsum")
def cumsum(graph, out, input, dim, dtype, reverse):
    return graph.node("CumSum", graph.cast(input, out.array.dtype), graph.constant(dim, np.int64), reverse=int(reverse))


@translates("topk")
def topk(graph, out, input, dim, k, largest):
    return graph.node("TopK", input, graph.indices(k), axis=dim, largest=int(largest), outputs=2)


@translates("sort")
def sort(graph, out, input, dim, descending):
    if not input.shape:
        raise UnsupportedOperatorError("onnx.export: sort of a tensor without dimensions")
    return graph.node("TopK", input, graph.indices(input.shape[dim]), axis=dim, largest=int(descending), outputs=2)
