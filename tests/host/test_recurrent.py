"""Recurrent nets against plain loops over cells, on both host devices: layers, directions, packing, projections."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd import gradcheck, gradgradcheck

RANDOM = np.random.default_rng(0)
INPUTS, HIDDEN = 2, 3
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@pytest.fixture(params=("cpu", "interpreter"), autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def draw(*shape):
    return RANDOM.standard_normal(shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(kind, x, state, w_ih, w_hh, b_ih, b_hh, w_hr=None):
    """One row, one step: the next state, a tuple of vectors."""
    a, b = w_ih @ x + b_ih, w_hh @ state[0] + b_hh
    if kind == "rnn_tanh":
        return (np.tanh(a + b),)
    if kind == "rnn_relu":
        return (np.maximum(a + b, 0),)
    a, b = np.split(a, GATES[kind]), np.split(b, GATES[kind])
    if kind == "gru":
        z = sigmoid(a[1] + b[1])
        return ((1 - z) * np.tanh(a[2] + sigmoid(a[0] + b[0]) * b[2]) + z * state[0],)
    c = sigmoid(a[1] + b[1]) * state[1] + sigmoid(a[0] + b[0]) * np.tanh(a[2] + b[2])
    h = sigmoid(a[3] + b[3]) * np.tanh(c)
    return (h if w_hr is None else w_hr @ h, c)


def layer(kind, rows, state, weights, reverse):
    """All steps of one row of a batch."""
    found = []
    for x in rows[::-1] if reverse else rows:
        state = cell(kind, x, state, *weights)
        found.append(state[0])
    return np.array(found[::-1] if reverse else found), state


def net(kind, rows, states, params, layers, directions):
    """All layers for one row of a batch; `states[k][n]` is part k of the first state of layer and direction n."""
    each, last = len(params) // (layers * directions), []
    for number in range(layers):
        outputs = []
        for direction in range(directions):
            n = number * directions + direction
            weights = params[n * each : (n + 1) * each]
            output, state = layer(kind, rows, [part[n] for part in states], weights, direction == 1)
            outputs.append(output)
            last.append(state)
        rows = np.concatenate(outputs, 1)
    return rows, [np.array(part) for part in zip(*last, strict=True)]


def weights_of(kind, layers, directions, projected=0):
    params, wide = [], GATES[kind] * HIDDEN
    for number in range(layers):
        for _ in range(directions):
            inputs = INPUTS if number == 0 else (projected or HIDDEN) * directions
            params += [draw(wide, inputs), draw(wide, projected or HIDDEN), draw(wide), draw(wide)]
            params += [draw(projected, HIDDEN)] if projected else []
    return params


def states_of(kind, count, batch, projected=0):
    hidden = [draw(count, batch, projected or HIDDEN)]
    return [*hidden, draw(count, batch, HIDDEN)] if kind == "lstm" else hidden


def tensors(arrays):
    return [torch.tensor(each) for each in arrays]


def hx_of(kind, states):
    return tuple(tensors(states)) if kind == "lstm" else torch.tensor(states[0])


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", sorted(GATES))
def test_layers_and_directions(kind, directions):
    layers, batch, steps = 2, 2, 3
    params, states = weights_of(kind, layers, directions), states_of(kind, layers * directions, batch)
    x = draw(steps, batch, INPUTS)
    settings = (True, layers, 0.0, True, directions == 2)
    output, *last = getattr(torch, kind)(
        torch.tensor(x), hx_of(kind, states), tensors(params), *settings, False
    )  # fmt: skip
    turned, *_ = getattr(torch, kind)(
        torch.tensor(x.swapaxes(0, 1)), hx_of(kind, states), tensors(params), *settings, True
    )  # fmt: skip
    close(turned, output.numpy().swapaxes(0, 1))
    for row in range(batch):
        expected, ends = net(kind, x[:, row], [part[:, row] for part in states], params, layers, directions)
        close(output[:, row], expected)
        for mine, end in zip(last, ends, strict=True):
            close(mine[:, row], end)


@pytest.mark.parametrize(("kind", "projected"), [("lstm", 0), ("lstm", 2), ("gru", 0), ("rnn_tanh", 0)])
def test_packed_sequences(kind, projected):
    sizes, layers, directions = [3, 3, 2, 1], 2, 2
    params, states = weights_of(kind, layers, directions, projected), states_of(kind, 4, 3, projected)
    data, starts = draw(sum(sizes), INPUTS), np.cumsum([0, *sizes])
    output, *last = getattr(torch, kind)(
        torch.tensor(data), torch.tensor(sizes, device="cpu"), hx_of(kind, states), tensors(params), True, layers, 0.0,
        True, True,
    )  # fmt: skip
    for row in range(3):
        own = [starts[step] + row for step, size in enumerate(sizes) if size > row]
        expected, ends = net(kind, data[own], [part[:, row] for part in states], params, layers, directions)
        close(output[own], expected)
        for mine, end in zip(last, ends, strict=True):
            close(mine[:, row], end)


@pytest.mark.parametrize("kind", sorted(GATES))
def test_cells(kind):
    params, states = weights_of(kind, 1, 1), [part[0] for part in states_of(kind, 1, 2)]
    x = draw(2, INPUTS)
    found = getattr(torch, f"{kind}_cell")(torch.tensor(x), hx_of(kind, states), *tensors(params))
    for row in range(2):
        expected = cell(kind, x[row], [part[row] for part in states], *params)
        for mine, state in zip(found if kind == "lstm" else (found,), expected, strict=True):
            close(mine[row], state)


@pytest.mark.parametrize("sizes", [(2, 2), (2, 1)])
@pytest.mark.parametrize("kind", sorted(GATES))
def test_gradients_and_second_derivatives(kind, sizes, device):
    if device != "cpu":
        return  # many small launches; the ops' samples hold the kernels against these
    directions = 2 if sizes == (2, 2) else 1
    params, states = weights_of(kind, 1, directions), states_of(kind, directions, 2)
    inputs = [torch.tensor(each, requires_grad=True) for each in (draw(sum(sizes), INPUTS), *states, *params)]
    count = len(states)

    def function(data, *rest):
        hx = rest[:count] if kind == "lstm" else rest[0]
        batch_sizes = torch.tensor(sizes)
        return getattr(torch, kind)(data, batch_sizes, hx, rest[count:], True, 1, 0.0, True, directions == 2)

    assert gradcheck(function, inputs)
    if kind != "rnn_relu" and sizes == (2, 1):
        assert gradgradcheck(function, inputs)


def test_dropout_is_between_layers_and_only_in_training():
    params, states = weights_of("rnn_tanh", 2, 1), states_of("rnn_tanh", 2, 2)
    x, hx = torch.tensor(draw(3, 2, INPUTS)), torch.tensor(states[0])

    def run(probability, train):
        return torch.rnn_tanh(x, hx, tensors(params), True, 2, probability, train, False, False)[0].numpy()

    assert (run(0.5, False) == run(0.0, True)).all()
    assert not (run(0.5, True) == run(0.0, True)).all()
    only_biases = net("rnn_tanh", np.zeros((3, HIDDEN)), [states[0][1:, 0]], params[4:], 1, 1)[0]
    np.testing.assert_allclose(run(1.0, True)[:, 0], only_biases)


def test_a_projection_gives_narrow_states():
    params, states = weights_of("lstm", 1, 2, 2), states_of("lstm", 2, 2, 2)
    x = draw(3, 2, INPUTS)
    output, hidden, content = torch.lstm(
        torch.tensor(x), tuple(tensors(states)), tensors(params), True, 1, 0.0, True, True, False
    )
    assert (output.shape, hidden.shape, content.shape) == ((3, 2, 4), (2, 2, 2), (2, 2, HIDDEN))
    expected, ends = net("lstm", x[:, 1], [part[:, 1] for part in states], params, 1, 2)
    close(output[:, 1], expected)
    close(hidden[:, 1], ends[0])


def test_errors():
    x, h, params = torch.ones(3, 2, INPUTS), torch.ones(1, 2, HIDDEN), tensors(weights_of("lstm", 1, 1))
    settings = (True, 1, 0.0, True, False, False)
    params = [each.float() for each in params]
    with pytest.raises(RuntimeError, match="lstm expects two hidden states"):
        torch.lstm(x, (h,), params, *settings)
    with pytest.raises(RuntimeError, match="Expected sequence length to be larger than 0 in RNN"):
        torch.lstm(x[:0], (h, h), params, *settings)
    with pytest.raises(RuntimeError, match=r"expected 8 parameters for 2 layers, but got 4"):
        torch.lstm(x, (h, h), params, True, 2, 0.0, True, False, False)
    with pytest.raises(RuntimeError, match="hidden0 has inconsistent hidden_size: got 5, expected 3"):
        torch.lstm_cell(x[0], (torch.ones(2, 5), h[0]), *params)
    with pytest.raises(RuntimeError, match="Input batch size 2 doesn't match hidden0 batch size 3"):
        torch.lstm_cell(x[0], (torch.ones(3, HIDDEN), torch.ones(3, HIDDEN)), *params)
