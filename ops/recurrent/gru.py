"""The GRU layer over all time steps, and its gradient."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.base import TABLE, Op
from tritorch.ops.formula import sigmoid, tanh
from tritorch.ops.layout import empty_like
from tritorch.ops.recurrent.backward_kernels import gru_gradient_kernel
from tritorch.ops.recurrent.kernels import gru_kernel
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


class GruLayer(Op):
    """h_t = (1 - z) n + z h_(t-1), where r, z = sigmoid(projection_t + weight h_(t-1) + bias) and n = tanh(p_t + r q).

    p_t is the last third of the projection (rows of all steps, 3 hidden), which has the input's part and its biases, q
    that of weight h_(t-1) + bias. hidden (batch, hidden) are the states before the first step, which is the last in
    time where `reverse`. Gives the states, and r, z, n and q of all steps.
    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, with r behind the product.
    """

    saves = ("hidden", "weight", "places", "output")
    widens = True
    fitted = classmethod(with_places)

    @staticmethod
    def reference(projection, hidden, weight, bias, places, batch_sizes, reverse):
        width, kind, state = hidden.shape[1], projection.dtype, np.array(hidden)
        output = np.empty((len(projection), width), kind)
        gates = np.empty((len(projection), 4 * width), kind)
        for rows in walk(batch_sizes, reverse):
            own = state[: rows.stop - rows.start]
            weighed = own @ weight.T
            if bias is not None:
                weighed += bias
            both, q = projection[rows][:, : 2 * width] + weighed[:, : 2 * width], weighed[:, 2 * width :]
            r, z = np.split(sigmoid(both), 2, 1)
            n = tanh(projection[rows][:, 2 * width :] + r * q)
            own[...] = n + z * (own - n)
            output[rows], gates[rows] = own, np.concatenate((r, z, n, q), 1)
        return output, gates

    def forward(self, projection, hidden, weight, bias, places, batch_sizes, reverse):
        """One launch, or one for each step of a wide layer."""
        arrays = projection, hidden, weight, bias
        found = self.results(*arrays)
        if found[0].size:
            launch_steps(self.way(*arrays), (*arrays, *found), places, batch_sizes, reverse)
        return found

    @staticmethod
    def results(projection, hidden, weight, bias):
        """Arrays for what it gives."""
        width = hidden.shape[1]
        return tuple([empty_like(projection, (projection.shape[0], columns)) for columns in (width, 4 * width)])

    @staticmethod
    def way(projection, hidden, weight, bias):
        """How it is launched."""
        return Way(gru_kernel, hidden.shape[1], weight.dtype, hidden.shape[1], True)

    def backward(self, grad, grad_gates=None):
        """Back through the steps, then two products."""
        _, hidden, weight, _, places, batch_sizes, reverse = self.inputs
        arrays, order = (None, hidden, weight, None), (batch_sizes, reverse)
        asked = self.asked((grad, grad_gates), self.outputs, *arrays)
        if self.recording:
            found = self.differentiable(*asked, places, *order)
        else:
            found = GruGradient.apply(*asked, places, *order)
        return self.finished(found, self.outputs, arrays, places, *order)

    @staticmethod
    def asked(grads, results, projection, hidden, weight, bias):
        """The arguments of its gradient, of one direction."""
        grad, grad_gates = grads
        return results[0].detach() * 0 if grad is None else grad, grad_gates, *results, hidden, weight

    @staticmethod
    def differentiable(*arguments):
        """Its gradient, which has a gradient."""
        return _gradient(TABLE["cat"].call, *arguments)

    @staticmethod
    def finished(found, results, arrays, places, batch_sizes, reverse):
        """The gradients by its arrays, from those by what enters the gates."""
        (entering, of_states, carry), (_, hidden, weight, _) = found, arrays
        by_hidden, by_weight = weight_gradients(of_states, results[0], hidden, weight, batch_sizes, reverse, places)
        return entering, by_hidden + carry, by_weight, of_states

    @staticmethod
    def multiplications(output, projection, *arguments):
        return math.prod(projection.shape) * output[0].shape[-1]

    @staticmethod
    def samples(draw):
        for number, (batch_sizes, reverse) in enumerate(ORDERS):
            batch, width = batch_sizes[0], (5, 3)[number % 2]
            rows, places = sum(batch_sizes), places_of(batch_sizes, reverse)
            bias = draw(3 * width) if number else None
            yield draw(rows, 3 * width), draw(batch, width), draw(3 * width, width), bias, places, batch_sizes, reverse
        yield draw(0, 9), draw(0, 3), draw(9, 3), None, None, (0, 0), False
        yield draw(8, 96), draw(4, 32), draw.uniform(-0.3, 0.3, 96, 32), draw(96), None, (4, 4), False
        yield draw(51, 6).T, draw(2, 17), draw.uniform(-0.5, 0.5, 17, 51).T, draw(102)[::2], None, (2, 2, 2), True

    @staticmethod
    def sized(draw, T=128, N=64, H=512):
        weight = draw.uniform(-0.05, 0.05, 3 * H, H)
        return draw(T * N, 3 * H), draw(N, H), weight, draw(3 * H), None, (N,) * T, False


def _gradient(join, grad, grad_gates, output, gates, first, weight, places, batch_sizes, reverse):
    """The gradients by what enters r, z and n; by r, z and q; and by the first states but for their products.

    On arrays or, `join` being `cat`, on Tensors.
    """
    width = output.shape[1]
    r, z, n, q = (gates[:, k * width : (k + 1) * width] for k in range(4))
    before = states_before(join, first, output, batch_sizes, reverse, places)
    slope = join((r * (1 - r), z * (1 - z), 1 - n * n), 1)
    own_slope, bend = slope[:, :width], slope[:, 2 * width :]
    by_n, by_z = (1 - z) * bend, (before - n) * slope[:, width : 2 * width]
    added = None if grad_gates is None else join((grad_gates[:, : 3 * width] * slope, grad_gates[:, 3 * width :]), 1)

    def step(rows, state):
        own = grad[rows]
        for part in state or ():
            own = plus(join, own, part)
        entering = own * by_n[rows]
        if added is not None:
            entering = entering + added[rows][:, 2 * width : 3 * width]
        by_r, by_q = entering * q[rows] * own_slope[rows], entering * r[rows]
        found = [by_r, own * by_z[rows], entering, by_q]
        if added is not None:
            for k in (0, 1, 3):
                found[k] = found[k] + added[rows][:, k * width : (k + 1) * width]
        product = join((found[0], found[1], found[3]), 1) @ weight
        return join(found, 1), [product, own * z[rows]]

    whole, (_, carry) = back_through_time(step, batch_sizes, reverse, join)
    of_states = join((whole[:, : 2 * width], whole[:, 3 * width :]), 1)
    return whole[:, : 3 * width], of_states, carry


class GruGradient(Op):
    """The gradients of GruLayer by what enters r, z and n, by the states' part of it, which is that by r, z and q;

    and by the first states but for their products.
    """

    widens = True
    fitted = classmethod(with_places)

    @staticmethod
    def reference(grad, grad_gates, output, gates, hidden, weight, places, batch_sizes, reverse):
        return _gradient(np.concatenate, grad, grad_gates, output, gates, hidden, weight, places, batch_sizes, reverse)

    def forward(self, grad, grad_gates, output, gates, hidden, weight, places, batch_sizes, reverse):
        """One launch, or one for each step of a wide layer."""
        arrays = grad, grad_gates, output, gates, hidden, weight
        found = self.results(*arrays)
        if found[0].size:
            launch_steps(self.way(*arrays), (*arrays, *found), places, batch_sizes, not reverse)
        return found

    @staticmethod
    def results(grad, grad_gates, output, gates, hidden, weight):
        """Arrays for what it gives."""
        shape = gates.shape[0], weight.shape[0]
        return empty_like(gates, shape), empty_like(gates, shape), empty_like(hidden)

    @staticmethod
    def way(grad, grad_gates, output, gates, hidden, weight):
        """How it is launched."""
        return Way(gru_gradient_kernel, hidden.shape[1], weight.dtype, weight.shape[0], True, True)

    @staticmethod
    def multiplications(result, grad, grad_gates, output, gates, hidden, weight, *settings):
        return math.prod(output.shape) * weight.shape[0]

    @staticmethod
    def samples(draw):
        for number, (projection, hidden, weight, _, *rest) in enumerate(GruLayer.samples(draw)):
            shape = (len(projection), hidden.shape[1])
            gates = draw.uniform(0, 1, shape[0], 4 * shape[1])
            grad_gates = draw(*gates.shape) if number > 2 else None
            yield draw(*shape), grad_gates, draw.uniform(-1, 1, *shape), gates, hidden, weight, *rest

    @staticmethod
    def sized(draw, T=128, N=64, H=512):
        _, hidden, weight, _, *rest = GruLayer.sized(draw, T, N, H)
        gates = draw.uniform(0, 1, T * N, 4 * H)
        return draw(T * N, H), None, draw.uniform(-1, 1, T * N, H), gates, hidden, weight, *rest
