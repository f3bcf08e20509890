"""Recurrent layers.

Our ops take the input's part of each step as it comes from one product over all steps; ONNX's nodes make that product
themselves, so they are given the identity as their input weight, in the order of gates they want.
"""

from __future__ import annotations

import numpy as np

from tritorch.onnx.registry import UnsupportedOperatorError, translates


def _steps(graph, projection, batch_sizes, order, width):
    """The projection as (steps, batch, gates), and the input weight that puts the gates in ONNX's order."""
    if len(set(batch_sizes)) > 1:
        raise UnsupportedOperatorError("onnx.export: a packed sequence of different lengths")
    gates = len(order) * width
    rows = graph.reshape(projection, len(batch_sizes), batch_sizes[0], gates)
    places = np.concatenate([np.arange(each * width, (each + 1) * width) for each in order])
    return rows, graph.constant(np.eye(gates)[places][None], projection.dtype), places


def _ordered(graph, value, places):
    """A weight or bias with its rows in ONNX's order, as the only direction there is."""
    return graph.constant(value.array[places][None]) if value.array is not None else graph.node(
        "Unsqueeze", graph.node("Gather", value, graph.indices(*places), axis=0), graph.indices(0)
    )  # fmt: skip


def _one(graph, value):
    return graph.node("Unsqueeze", value, graph.indices(0))


def _rows(graph, output, width):
    """(steps, directions, batch, width) as rows of all steps."""
    return graph.reshape(output, -1, width)


@translates("lstm_layer")
def lstm(graph, out, projection, hidden, cell, weight, places, batch_sizes, reverse):
    """Only the states are in the graph: of the cells, ONNX gives the last."""
    width = hidden.shape[1]
    rows, own, order = _steps(graph, projection, batch_sizes, (0, 3, 1, 2), width)
    states, _, last = graph.node(
        "LSTM", rows, own, _ordered(graph, weight, order), None, None, _one(graph, hidden), _one(graph, cell),
        outputs=3, hidden_size=width, direction="reverse" if reverse else "forward",
    )  # fmt: skip
    return _rows(graph, states, width), _all_steps(graph, last, len(batch_sizes), width)


def _all_steps(graph, last, steps, width):
    """The last cells at every step: callers read those of the step that ran last."""
    return _rows(graph, graph.node("Expand", last, graph.indices(steps, 1, 1)), width)


@translates("gru_layer")
def gru(graph, out, projection, hidden, weight, bias, places, batch_sizes, reverse):
    width = hidden.shape[1]
    rows, own, order = _steps(graph, projection, batch_sizes, (1, 0, 2), width)
    zeros = graph.constant(np.zeros((1, 3 * width)), projection.dtype)
    both = None if bias is None else graph.node("Concat", zeros, _ordered(graph, bias, order), axis=1)
    states, _ = graph.node(
        "GRU", rows, own, _ordered(graph, weight, order), both, None, _one(graph, hidden), outputs=2,
        hidden_size=width, linear_before_reset=1, direction="reverse" if reverse else "forward",
    )  # fmt: skip
    return _rows(graph, states, width)


@translates("rnn_layer")
def rnn(graph, out, projection, hidden, weight, places, batch_sizes, reverse, rectify):
    width = hidden.shape[1]
    rows, own, order = _steps(graph, projection, batch_sizes, (0,), width)
    states, _ = graph.node(
        "RNN", rows, own, _ordered(graph, weight, order), None, None, _one(graph, hidden), outputs=2,
        hidden_size=width, activations=["Relu" if rectify else "Tanh"], direction="reverse" if reverse else "forward",
    )  # fmt: skip
    return _rows(graph, states, width)


@translates("lstm_both")
def lstm_both(graph, out, *arguments):
    """A node for either direction; of the gates, which are among our results, ONNX says nothing."""
    return (
        *lstm(graph, out, *arguments[:4], None, arguments[8], False),
        None,
        *lstm(graph, out, *arguments[4:8], None, arguments[8], True),
    )


@translates("gru_both")
def gru_both(graph, out, *arguments):
    first, second, batch_sizes = arguments[:4], arguments[4:8], arguments[8]
    half = [None] * (len(out) // 2 - 1)
    return gru(graph, out, *first, None, batch_sizes, False), *half, gru(graph, out, *second, None, batch_sizes, True)


@translates("rnn_both")
def rnn_both(graph, out, *arguments):
    batch_sizes, rectify = arguments[6:]
    return tuple(
        rnn(graph, out, *own, None, batch_sizes, reverse, rectify)
        for own, reverse in ((arguments[:3], False), (arguments[3:6], True))
    )
