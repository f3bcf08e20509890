"""Recurrent nets, stacked, in both directions, packed or not; and their cells."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.functional.dropout import dropout
from tritorch.ops.autocast import LOWER, LOWER_OR_FIRST
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.recurrent.steps import at_first_steps, places_of

Linear, Cat, Stack = TABLE["linear"], TABLE["cat"], TABLE["stack"]
RnnLayer, LstmLayer, GruLayer = TABLE["rnn_layer"], TABLE["lstm_layer"], TABLE["gru_layer"]


class Order:
    """The order in which a direction of a layer takes its steps, and which rows are its first and last."""

    def __init__(self, batch_sizes, reverse, device):
        self.batch_sizes, self.reverse = tuple(batch_sizes), reverse
        places = places_of(self.batch_sizes, reverse)
        self.places = None if places is None else creation.tensor(places, device=device)
        self.arguments = (self.places, self.batch_sizes, reverse)

    def last(self, rows):
        """Of rows of all steps, those of the last step of each row of the batch."""
        batch = self.batch_sizes[0]
        if self.reverse:
            return rows[:batch]
        if self.places is None:
            return rows[rows.shape[0] - batch :]
        sizes = np.array(self.batch_sizes)
        lengths = (sizes[:, None] > np.arange(batch)).sum(0)
        starts = np.cumsum([0, *sizes])
        return rows.index_select(0, creation.tensor(starts[lengths - 1] + np.arange(batch), device=rows.device))

    def plus_first(self, rows, added):
        """Rows of all steps with `added` to those of the first step of each row of the batch."""
        if self.reverse and self.places is not None:
            first = at_first_steps(creation.arange(rows.shape[0], device=rows.device), *self.arguments[1:], self.places)
            return rows.index_add(0, first, added)
        count = self.batch_sizes[0]
        if self.reverse:
            rest = rows.shape[0] - count
            return Cat.call((rows[:rest], rows[rest:] + added))
        return Cat.call((rows[:count] + added, rows[count:]))


def _summed(first, second):
    return first if second is None else first + second


def _entering(rows, states, weight_ih, weight_hh, bias_ih=None, bias_hh=None):
    """The arguments of a layer: the input's part with all biases, the first states, and the weight of states."""
    return Linear.call(rows, weight_ih, _summed(bias_ih, bias_hh)), *states, weight_hh


def _entering_gru(rows, states, weight_ih, weight_hh, bias_ih=None, bias_hh=None):
    """The same with the bias of states by itself."""
    return Linear.call(rows, weight_ih, bias_ih), *states, weight_hh, bias_hh


def _rnn(rectify, rows, order, states, *weights):
    output = RnnLayer.apply(*_entering(rows, states, *weights), *order.arguments, rectify)
    return output, (order.last(output),)


def _gru(rows, order, states, *weights):
    output = GruLayer.apply(*_entering_gru(rows, states, *weights), *order.arguments)[0]
    return output, (order.last(output),)


def _lstm(rows, order, states, weight_ih, weight_hh, bias_ih=None, bias_hh=None, weight_hr=None):
    hidden, cell = states
    projection = Linear.call(rows, weight_ih, _summed(bias_ih, bias_hh))
    if weight_hr is not None:
        # weight_hh (weight_hr m) = (weight_hh weight_hr) m: m, as wide as the cells, is the state of a plain layer,
        # whose first state is none; what the given one adds is added to the first step.
        projection = order.plus_first(projection, Linear.call(hidden, weight_hh))
        hidden, weight_hh = cell.new_zeros(cell.shape), weight_hh @ weight_hr
    output, cells, _ = LstmLayer.apply(projection, hidden, cell, weight_hh, *order.arguments)
    last = order.last(output)
    if weight_hr is not None:
        output, last = Linear.call(output, weight_hr), Linear.call(last, weight_hr)
    return output, (last, order.last(cells))


class _Layer(NamedTuple):
    """A kind of layer."""

    one: Callable  # direction: of rows, their order, first states and weights; gives the output and the last states
    both: Any  # the op of two directions
    entering: Callable  # its arguments for one of them
    settings: tuple = ()  # its last arguments
    states: int = 1  # of its results, how many are states


def _both(layer, rows, orders, states, weights):
    """The output and the last states of either direction, in one launch."""
    entering = [layer.entering(rows, first, *own) for first, own in zip(states, weights, strict=True)]
    found = layer.both.apply(*entering[0], *entering[1], orders[0].batch_sizes, *layer.settings)
    half = len(found) // 2
    return [
        (own[0], tuple([order.last(each) for each in own[: layer.states]]))
        for own, order in zip((found[:half], found[half:]), orders, strict=True)
    ]


def _stacked(layer, rows, batch_sizes, states, params, has_biases, num_layers, probability, train, bidirectional):
    """All layers, `states` being the first ones of every layer and direction, stacked; gives the last ones alike."""
    directions, weights = 2 if bidirectional else 1, 4 if has_biases else 2
    if layer is _LSTM and len(params) == (weights + 1) * num_layers * directions:
        weights += 1
    if len(params) != weights * num_layers * directions:
        raise RuntimeError(
            f"expected {weights * num_layers * directions} parameters for {num_layers} layers, but got {len(params)}"
        )
    if any(each.shape[0] < num_layers * directions for each in states):
        raise RuntimeError("Expected more hidden states in stacked_rnn")
    orders = [Order(batch_sizes, reverse, rows.device) for reverse in (False, True)[:directions]]
    last = []
    for number in range(num_layers):
        owned, firsts = [], []
        for at in range(number * directions, (number + 1) * directions):
            own = list(params[at * weights : (at + 1) * weights])
            if not has_biases:
                own[2:2] = (None, None)
            owned.append(own)
            firsts.append([each[at] for each in states])
        if directions == 2 and orders[0].places is None and len(owned[0]) == 4:
            found = _both(layer, rows, orders, firsts, owned)
        else:
            found = [layer.one(rows, order, first, *own)
                     for order, first, own in zip(orders, firsts, owned, strict=True)]  # fmt: skip
        outputs = [output for output, _ in found]
        last.extend([state for _, state in found])
        rows = outputs[0] if directions == 1 else Cat.call(outputs, 1)
        if probability and train and number < num_layers - 1:
            rows = dropout(rows, probability, True)
    return rows, tuple(Stack.call(parts) for parts in zip(*last, strict=True))


def _over_time(name, layer, input, states, params, has_biases, num_layers, probability, train, bidirectional, first):
    """The net over (time, batch, features), or with the batch `first`."""
    need_tensors(name, input=input)
    if input.ndim != 3:
        raise IndexError(
            f"Dimension out of range: {name} expects (time, batch, features), but got {input.ndim}-D input"
        )
    if first:
        input = input.transpose(0, 1)
    steps, batch, width = input.shape
    if steps == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    for each in states:
        if each.shape[1] not in (batch, 1):
            raise RuntimeError(
                f"The size of tensor a ({each.shape[1]}) must match the size of tensor b ({batch}) at non-singleton "
                "dimension 0"
            )
    states = [each.expand(-1, batch, -1) if each.shape[1] != batch else each for each in states]
    rows, last = _stacked(
        layer, input.reshape(steps * batch, width), (batch,) * steps, states, params, has_biases, num_layers,
        probability, train, bidirectional,
    )  # fmt: skip
    output = rows.reshape(steps, batch, rows.shape[1])
    return output.transpose(0, 1) if first else output, last


def _packed(name, layer, data, batch_sizes, states, params, *settings):
    """The net over packed sequences, (rows of all steps, features); `batch_sizes` says how many rows a step has."""
    need_tensors(name, data=data, batch_sizes=batch_sizes)
    sizes = [int(size) for size in batch_sizes.tolist()]
    if not sizes:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    for each in states:
        if each.shape[1] != sizes[0]:
            raise RuntimeError(
                f"The size of tensor a ({each.shape[1]}) must match the size of tensor b ({sizes[0]}) at non-singleton "
                "dimension 0"
            )
    return _stacked(layer, data, sizes, states, params, *settings)


_LSTM = _Layer(_lstm, TABLE["lstm_both"], _entering, states=2)


@export("lstm", autocast=LOWER)
def lstm(*args, **kwargs):
    """LSTM layers: (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first).

    Or over packed sequences: (data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional).
    hx is (hidden, cell); params holds weight_ih, weight_hh, bias_ih, bias_hh and, with projections, weight_hr of each
    layer and direction. Gives the output and the last hidden and cell.
    """
    batch_sizes = args[1] if len(args) > 1 else kwargs.get("batch_sizes")
    if isinstance(batch_sizes, Variable):
        return _lstm_packed(*args, **kwargs)
    return _lstm_over_time(*args, **kwargs)


def _lstm_over_time(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    output, last = _over_time("lstm", _LSTM, input, _pair(hx), params, has_biases, num_layers, dropout, train,
                              bidirectional, batch_first)  # fmt: skip
    return output, *last


def _lstm_packed(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional):
    output, last = _packed("lstm", _LSTM, data, batch_sizes, _pair(hx), params, has_biases, num_layers, dropout, train,
                           bidirectional)  # fmt: skip
    return output, *last


def _pair(hx):
    if len(hx) != 2:
        raise RuntimeError("lstm expects two hidden states")
    return tuple(hx)


def _with_one_state(name, layer, doc, policy=LOWER):
    """The public function of a net whose state is one tensor."""

    def over_time(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
        output, last = _over_time(name, layer, input, (hx,), params, has_biases, num_layers, dropout, train,
                                  bidirectional, batch_first)  # fmt: skip
        return output, last[0]

    def packed(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional):
        output, last = _packed(name, layer, data, batch_sizes, (hx,), params, has_biases, num_layers, dropout, train,
                               bidirectional)  # fmt: skip
        return output, last[0]

    def net(*args, **kwargs):
        # The third argument is the first state of packed sequences, a tensor, or else a list of parameters.
        is_packed = "batch_sizes" in kwargs or (len(args) > 2 and isinstance(args[2], Variable))
        return packed(*args, **kwargs) if is_packed else over_time(*args, **kwargs)

    net.__name__ = net.__qualname__ = name
    net.__doc__ = (
        f"{doc}: (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first).\n\n"
        "    Or over packed sequences: (data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, "
        "bidirectional).\n    "
    )
    return export(name, autocast=policy)(net)


_GRU = _Layer(_gru, TABLE["gru_both"], _entering_gru)
_TANH, _RELU = (
    _Layer(functools.partial(_rnn, rectify), TABLE["rnn_both"], _entering, (rectify,)) for rectify in (False, True)
)
gru = _with_one_state("gru", _GRU, "GRU layers", LOWER_OR_FIRST)
rnn_tanh = _with_one_state("rnn_tanh", _TANH, "Plain recurrent layers with tanh")
rnn_relu = _with_one_state("rnn_relu", _RELU, "Plain recurrent layers with ReLU")


def _one_step(name, layer, gates, input, states, w_ih, w_hh, b_ih, b_hh):
    """One step of a layer: a cell."""
    need_tensors(name, input=input, **{f"hidden{k}": each for k, each in enumerate(states)})
    for each in (input, *states):
        if each.ndim != 2:
            raise IndexError(f"Dimension out of range: {name} expects matrices, but got a {each.ndim}-D tensor")
    hidden = w_hh.shape[1]
    if input.shape[1] != w_ih.shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {input.shape[1]} expected {w_ih.shape[1]}")
    for k, each in enumerate(states):
        if each.shape[0] != input.shape[0]:
            raise RuntimeError(f"Input batch size {input.shape[0]} doesn't match hidden{k} batch size {each.shape[0]}")
        if each.shape[1] != hidden:
            raise RuntimeError(f"hidden{k} has inconsistent hidden_size: got {each.shape[1]}, expected {hidden}")
    if w_ih.shape[0] != gates * hidden:
        raise RuntimeError(
            f"weight_ih first dim must be {gates} * hidden_size = {gates * hidden}, but got {w_ih.shape[0]}"
        )
    order = Order((input.shape[0],), False, input.device)
    return layer(input, order, states, w_ih, w_hh, b_ih, b_hh)[1]


@export("lstm_cell", autocast=LOWER_OR_FIRST)
def lstm_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of an LSTM: the next hidden and cell from `hx`, those before."""
    return _one_step("lstm_cell", _lstm, 4, input, _pair(hx), w_ih, w_hh, b_ih, b_hh)


@export("gru_cell", autocast=LOWER_OR_FIRST)
def gru_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a GRU."""
    return _one_step("gru_cell", _gru, 3, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@export("rnn_tanh_cell", autocast=LOWER_OR_FIRST)
def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """tanh(w_ih input + b_ih + w_hh hx + b_hh)."""
    return _one_step("rnn_tanh_cell", _TANH.one, 1, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@export("rnn_relu_cell", autocast=LOWER_OR_FIRST)
def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """max(0, w_ih input + b_ih + w_hh hx + b_hh)."""
    return _one_step("rnn_relu_cell", _RELU.one, 1, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
