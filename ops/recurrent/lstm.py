"""The LSTM layer over all time steps, and its gradient."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.base import TABLE, Op
from tritorch.ops.formula import sigmoid, tanh
from tritorch.ops.layout import empty_like
from tritorch.ops.recurrent.backward_kernels import lstm_gradient_kernel
from tritorch.ops.recurrent.kernels import lstm_kernel
from tritorch.ops.recurrent.rnn import ORDERS, weight_gradients
from tritorch.ops.recurrent.steps import (
    Way,
    back_through_time,
    launch_steps,
    places_of,
    plus,
    states_before,
    walk,
    with_places,
)


class LstmLayer(Op):
    """c_t = f c_(t-1) + i g and h_t = o tanh(c_t), where i, f, g, o are parts of projection_t + weight h_(t-1).

    i, f and o pass a sigmoid, g a tanh. projection (rows of all steps, 4 hidden) has the input's part and the biases;
    hidden and cell (batch, hidden) are what comes before the first step, which is the last in time where `reverse`.
    Gives the states and the cells, (rows of all steps, hidden), and the gates as they are after their activations.
    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997.
    """

    saves = ("hidden", "cell", "weight", "places", "output")
    widens = True
    fitted = classmethod(with_places)

    @staticmethod
    def reference(projection, hidden, cell, weight, places, batch_sizes, reverse):
        state, content = np.array(hidden), np.array(cell)
        shape, kind = (len(projection), hidden.shape[1]), projection.dtype
        output, cells, gates = np.empty(shape, kind), np.empty(shape, kind), np.empty_like(projection)
        for rows in walk(batch_sizes, reverse):
            size = rows.stop - rows.start
            i, f, g, o = np.split(projection[rows] + state[:size] @ weight.T, 4, 1)
            i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
            content[:size] = f * content[:size] + i * g
            state[:size] = o * tanh(content[:size])
            output[rows], cells[rows], gates[rows] = state[:size], content[:size], np.concatenate((i, f, g, o), 1)
        return output, cells, gates

    @staticmethod
    def fast(projection, hidden, cell, weight, places, batch_sizes, reverse):
        """One tanh for all gates, as sigmoid(x) = (1 + tanh(x / 2)) / 2; every step in place."""
        width, kind = hidden.shape[1], projection.dtype
        half = np.repeat(np.array([0.5, 0.5, 1, 0.5], kind), width)
        shift = 1 - half
        shift[2 * width : 3 * width] = 0
        turned = np.ascontiguousarray((weight * half[:, None]).T)
        gates = projection * half
        output, cells = np.empty((len(gates), width), kind), np.empty((len(gates), width), kind)
        state, content = np.array(hidden), np.array(cell)
        for rows in walk(batch_sizes, reverse):
            size = rows.stop - rows.start
            own, into = gates[rows], content[:size]
            own += state[:size].dot(turned)
            np.tanh(own, out=own)
            own *= half
            own += shift
            into *= own[:, width : 2 * width]
            into += own[:, :width] * own[:, 2 * width : 3 * width]
            cells[rows] = into
            bent = np.tanh(into)
            np.multiply(bent, own[:, 3 * width :], out=state[:size])
            output[rows] = state[:size]
        return output, cells, gates

    def forward(self, projection, hidden, cell, weight, places, batch_sizes, reverse):
        """One launch, or one for each step of a wide layer."""
        arrays = projection, hidden, cell, weight
        found = self.results(*arrays)
        if found[0].size:
            launch_steps(self.way(*arrays), (*arrays, *found), places, batch_sizes, reverse)
        return found

    @staticmethod
    def results(projection, hidden, cell, weight):
        """Arrays for what it gives."""
        width = hidden.shape[1]
        return tuple([empty_like(projection, (projection.shape[0], columns)) for columns in (width, width, 4 * width)])

    @staticmethod
    def way(projection, hidden, cell, weight):
        """How it is launched."""
        return Way(lstm_kernel, hidden.shape[1], weight.dtype, hidden.shape[1], True)

    def backward(self, grad, grad_cells=None, grad_gates=None):
        """Back through the steps, then two products."""
        _, hidden, cell, weight, places, batch_sizes, reverse = self.inputs
        arrays, order = (None, hidden, cell, weight), (batch_sizes, reverse)
        asked = self.asked((grad, grad_cells, grad_gates), self.outputs, *arrays)
        if self.recording:
            found = self.differentiable(*asked, places, *order)
        else:
            found = LstmGradient.apply(*asked, places, *order)
        return self.finished(found, self.outputs, arrays, places, *order)

    @staticmethod
    def asked(grads, results, projection, hidden, cell, weight):
        """The arguments of its gradient, of one direction."""
        (grad, *more), (output, cells, gates) = grads, results
        return output.detach() * 0 if grad is None else grad, *more, cells, gates, cell, weight

    @staticmethod
    def differentiable(*arguments):
        """Its gradient, which has a gradient."""
        return _gradient(TABLE["cat"].call, *arguments)

    @staticmethod
    def finished(found, results, arrays, places, batch_sizes, reverse):
        """The gradients by its arrays, from those by what enters the gates and by the first cells."""
        (entering, by_cell), (_, hidden, _, weight) = found, arrays
        by_hidden, by_weight = weight_gradients(entering, results[0], hidden, weight, batch_sizes, reverse, places)
        return entering, by_hidden, by_cell, by_weight

    @staticmethod
    def multiplications(output, projection, *arguments):
        return math.prod(projection.shape) * output[0].shape[-1]

    @staticmethod
    def samples(draw):
        for number, (batch_sizes, reverse) in enumerate(ORDERS):
            batch, width = batch_sizes[0], (5, 3)[number % 2]
            rows, places = sum(batch_sizes), places_of(batch_sizes, reverse)
            states = draw(batch, width), draw(batch, width)
            yield draw(rows, 4 * width), *states, draw(4 * width, width), places, batch_sizes, reverse
        yield draw(0, 12), draw(0, 3), draw(0, 3), draw(12, 3), None, (0, 0), False
        yield draw(8, 128), draw(4, 32), draw(4, 32), draw.uniform(-0.3, 0.3, 128, 32), None, (4, 4), False
        yield draw(68, 6).T, draw(2, 17), draw(4, 17)[::2], draw.uniform(-0.5, 0.5, 17, 68).T, None, (2, 2, 2), True

    @staticmethod
    def sized(draw, T=128, N=64, H=512):
        weight = draw.uniform(-0.05, 0.05, 4 * H, H)
        return draw(T * N, 4 * H), draw(N, H), draw(N, H), weight, None, (N,) * T, False


def _gradient(
    join, grad, grad_cells, grad_gates, cells, gates, first_cell, weight, places, batch_sizes, reverse
):  # fmt: skip
    """The gradients by what enters the gates and by the first cells, on arrays or, `join` being `cat`, on Tensors."""
    width = cells.shape[1]
    i, f, g, o = (gates[:, k * width : (k + 1) * width] for k in range(4))
    bent = tanh(cells)
    slope = join((i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)), 1)
    before = states_before(join, first_cell, cells, batch_sizes, reverse, places)
    factor, by_state = join((g, before, i, bent), 1) * slope, o * (1 - bent * bent)
    added = None if grad_gates is None else grad_gates * slope

    def step(rows, state):
        own = grad[rows] if state is None else plus(join, grad[rows], state[0])
        by_cell = own * by_state[rows]
        if grad_cells is not None:
            by_cell = by_cell + grad_cells[rows]
        if state is not None:
            by_cell = plus(join, by_cell, state[1])
        entering = join((by_cell, by_cell, by_cell, own), 1) * factor[rows]
        if added is not None:
            entering = entering + added[rows]
        return entering, [entering @ weight, by_cell * f[rows]]

    entering, (_, carry) = back_through_time(step, batch_sizes, reverse, join)
    return entering, carry


class LstmGradient(Op):
    """The gradients of LstmLayer by its projection, which is that by what enters the gates, and by the first cells."""

    widens = True
    fitted = classmethod(with_places)

    @staticmethod
    def reference(
        grad, grad_cells, grad_gates, cells, gates, cell, weight, places, batch_sizes, reverse
    ):  # fmt: skip
        return _gradient(
            np.concatenate, grad, grad_cells, grad_gates, cells, gates, cell, weight, places, batch_sizes, reverse
        )  # fmt: skip

    def forward(self, grad, grad_cells, grad_gates, cells, gates, cell, weight, places, batch_sizes, reverse):
        """One launch, or one for each step of a wide layer."""
        arrays = grad, grad_cells, grad_gates, cells, gates, cell, weight
        found = self.results(*arrays)
        if found[0].size:
            launch_steps(self.way(*arrays), (*arrays, *found), places, batch_sizes, not reverse)
        return found

    @staticmethod
    def results(grad, grad_cells, grad_gates, cells, gates, cell, weight):
        """Arrays for what it gives."""
        return empty_like(gates), empty_like(cell)

    @staticmethod
    def way(grad, grad_cells, grad_gates, cells, gates, cell, weight):
        """How it is launched."""
        return Way(lstm_gradient_kernel, cell.shape[1], weight.dtype, weight.shape[0], True, True)

    @staticmethod
    def multiplications(result, grad, grad_cells, grad_gates, cells, gates, cell, weight, *settings):
        return math.prod(gates.shape) * weight.shape[-1]

    @staticmethod
    def samples(draw):
        for number, (projection, hidden, cell, weight, *rest) in enumerate(LstmLayer.samples(draw)):
            shape = (len(projection), hidden.shape[1])
            grads = draw(*shape), draw(*shape) if number % 2 else None, draw(*projection.shape) if number > 2 else None
            yield *grads, draw(*shape), draw.uniform(-1, 1, *projection.shape), cell, weight, *rest

    @staticmethod
    def sized(draw, T=128, N=64, H=512):
        projection, _, *rest = LstmLayer.sized(draw, T, N, H)
        gates = draw.uniform(-1, 1, *projection.shape)
        return draw(T * N, H), None, None, draw(T * N, H), gates, *rest
