"""Norms, and softmax."""

from __future__ import annotations

import math

import numpy as np

from tritorch.onnx.registry import translates


@translates("batch_norm_inference")
def batch_norm(graph, out, input, weight, bias, mean, variance, layout, eps):
    count = input.shape[1]
    weight = graph.constant(np.ones(count), input.dtype) if weight is None else weight
    bias = graph.constant(np.zeros(count), input.dtype) if bias is None else bias
    return graph.node("BatchNormalization", input, weight, bias, mean, variance, epsilon=eps)


@translates("layer_norm")
def layer_norm(graph, out, input, weight, bias, layout, eps):
    axis = min(layout.axes)
    if weight is None:
        weight = graph.constant(np.ones(layout.channels), input.dtype)
    return graph.node("LayerNormalization", input, weight, bias, axis=axis, epsilon=eps)


@translates("rms_norm")
def rms_norm(graph, out, input, weight, bias, layout, eps):
    mean = graph.node("ReduceMean", graph.node("Mul", input, input), graph.indices(*layout.axes), keepdims=1)
    root = graph.node("Sqrt", graph.node("Add", mean, graph.constant(eps, input.dtype)))
    found = graph.node("Div", input, root)
    found = found if weight is None else graph.node("Mul", found, weight)
    return found if bias is None else graph.node("Add", found, bias)


@translates("add_layer_norm")
def add_layer_norm(graph, out, input, residual, weight, bias, layout, eps):
    total = graph.node("Add", input, residual)
    return layer_norm(graph, out, total, weight, bias, layout, eps), total


@translates("add_rms_norm")
def add_rms_norm(graph, out, input, residual, weight, bias, layout, eps):
    total = graph.node("Add", input, residual)
    return rms_norm(graph, out, total, weight, bias, layout, eps), total


@translates("group_norm")
def group_norm(graph, out, input, weight, bias, layout, eps):
    groups, rest = layout.shape[1], [1] * (len(input.shape) - 2)
    ones, zeros = (graph.constant(np.full(groups, number), input.dtype) for number in (1, 0))
    found = graph.node("InstanceNormalization", graph.reshape(input, 0, groups, -1), ones, zeros, epsilon=eps)
    found = graph.reshape(found, 0, *input.shape[1:])
    for kind, each in (("Mul", weight), ("Add", bias)):
        if each is not None:
            found = graph.node(kind, found, graph.reshape(each, math.prod(layout.channels), *rest))
    return found


@translates("softmax")
def softmax(graph, out, input, dim, dtype):
    return graph.node("Softmax", graph.cast(input, out.array.dtype), axis=dim)


@translates("log_softmax")
def log_softmax(graph, out, input, dim, dtype):
    return graph.node("LogSoftmax", graph.cast(input, out.array.dtype), axis=dim)
