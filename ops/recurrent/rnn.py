"""The plain recurrent layer, tanh or ReLU, over all time steps, and its gradient."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.base import TABLE, Op
from tritorch.ops.formula import tanh
from tritorch.ops.layout import empty_like
from tritorch.ops.recurrent.backward_kernels import rnn_gradient_kernel
from tritorch.ops.recurrent.kernels import rectified, rectified_slope, rnn_kernel, tanh_slope
from tritorch.ops.recurrent.steps import (
    Way,
    at_first_steps,
    back_through_time,
    launch_steps,
    places_of,
    plus,
    states_before,
    walk,
    with_places,
)

ORDERS = (((3, 3), False), ((3, 3, 3), True), ((4, 3, 1), False), ((4, 3, 3, 1), True), ((2,), False))


def weight_gradients(entering, states, first, weight, batch_sizes, reverse, places):
    """The gradients by the first states and by the weight of states, from that by what enters the activations."""
    before = states_before(TABLE["cat"].call, first, states, batch_sizes, reverse, places)
    by_weight = TABLE["matmul"].apply(entering, before, True, False)
    return at_first_steps(entering, batch_sizes, reverse, places) @ weight, by_weight


class RnnLayer(Op):
    """h_t = f(projection_t + weight h_(t-1)) for all steps, f being tanh, or ReLU where `rectify`.

    projection (rows of all steps, hidden) has the input's part and the biases; hidden (batch, hidden) are the states
    before the first step, which is the last in time where `reverse`. Gives the states, as long as the projection.
    """

    saves = ("hidden", "weight", "places", "output")
    widens = True
    fitted = classmethod(with_places)

    @staticmethod
    def reference(projection, hidden, weight, places, batch_sizes, reverse, rectify):
        output, state, turned = np.empty_like(projection), np.array(hidden), weight.T
        for rows in walk(batch_sizes, reverse):
            own = state[: rows.stop - rows.start]
            own[...] = (rectified if rectify else tanh)(projection[rows] + own @ turned)
            output[rows] = own
        return output

    def forward(self, projection, hidden, weight, places, batch_sizes, reverse, rectify):
        """One launch, or one for each step of a wide layer."""
        (output,) = self.results(projection)
        if output.size:
            arrays = projection, hidden, weight, output
            launch_steps(self.way(projection, hidden, weight, rectify), arrays, places, batch_sizes, reverse)
        return output

    @staticmethod
    def results(projection, *others):
        """Arrays for what it gives."""
        return (empty_like(projection),)

    @staticmethod
    def way(projection, hidden, weight, rectify):
        """How it is launched."""
        width, functions = hidden.shape[1], {"ACTIVATION": rectified if rectify else tanh}
        return Way(rnn_kernel, width, weight.dtype, width, False, functions=functions)

    def backward(self, grad):
        """Back through the steps, then two products."""
        _, hidden, weight, places, batch_sizes, reverse, rectify = self.inputs
        order = (batch_sizes, reverse)
        asked = self.asked((grad,), (self.output,), None, hidden, weight)
        if self.recording:
            found = self.differentiable(*asked, places, *order, rectify)
        else:
            found = RnnGradient.apply(*asked, places, *order, rectify)
        return self.finished(found, (self.output,), (None, hidden, weight), places, *order)

    @staticmethod
    def asked(grads, results, projection, hidden, weight):
        """The arguments of its gradient, of one direction."""
        return grads[0], results[0], weight

    @staticmethod
    def differentiable(*arguments):
        """Its gradient, which has a gradient."""
        return _gradient(TABLE["cat"].call, *arguments)

    @staticmethod
    def finished(entering, results, arrays, places, batch_sizes, reverse):
        """The gradients by its arrays, from that by what enters the activations."""
        return entering, *weight_gradients(entering, results[0], *arrays[1:], batch_sizes, reverse, places)

    @staticmethod
    def multiplications(output, projection, *arguments):
        return math.prod(projection.shape) * output.shape[-1]

    @staticmethod
    def samples(draw):
        for number, (batch_sizes, reverse) in enumerate(ORDERS):
            batch, width = batch_sizes[0], (5, 3)[number % 2]
            rows = sum(batch_sizes)
            places = places_of(batch_sizes, reverse)
            yield draw(rows, width), draw(batch, width), draw(width, width), places, batch_sizes, reverse, number == 2
        yield draw(0, 3), draw(0, 3), draw(3, 3), None, (0, 0), False, False
        yield draw(8, 32), draw(4, 32), draw.uniform(-0.3, 0.3, 32, 32), None, (4, 4), False, False
        yield draw(17, 6).T, draw(2, 17), draw.uniform(-0.5, 0.5, 17, 17).T, None, (2, 2, 2), False, False

    @staticmethod
    def sized(draw, T=128, N=64, H=512):
        return draw(T * N, H), draw(N, H), draw.uniform(-0.05, 0.05, H, H), None, (N,) * T, False, False


def _gradient(join, grad, output, weight, places, batch_sizes, reverse, rectify):
    """The gradient by what enters the activation, on arrays or, `join` being `cat`, on Tensors."""
    slope = (rectified_slope if rectify else tanh_slope)(output)

    def step(rows, state):
        own = grad[rows] if state is None else plus(join, grad[rows], state[0])
        own = own * slope[rows]
        return own, [own @ weight]

    return back_through_time(step, batch_sizes, reverse, join)[0]


class RnnGradient(Op):
    """The gradient of RnnLayer by its projection, which is that by what enters the activation of each step."""

    widens = True
    fitted = classmethod(with_places)

    @staticmethod
    def reference(grad, output, weight, places, batch_sizes, reverse, rectify):
        return _gradient(np.concatenate, grad, output, weight, places, batch_sizes, reverse, rectify)

    def forward(self, grad, output, weight, places, batch_sizes, reverse, rectify):
        """One launch, or one for each step of a wide layer."""
        (out,) = self.results(grad)
        if out.size:
            arrays = grad, output, weight, out
            launch_steps(self.way(grad, output, weight, rectify), arrays, places, batch_sizes, not reverse)
        return out

    @staticmethod
    def results(grad, *others):
        """Arrays for what it gives."""
        return (empty_like(grad),)

    @staticmethod
    def way(grad, output, weight, rectify):
        """How it is launched."""
        functions = {"SLOPE": rectified_slope if rectify else tanh_slope}
        return Way(rnn_gradient_kernel, weight.shape[1], weight.dtype, weight.shape[0], False, True, functions)

    @staticmethod
    def multiplications(result, grad, output, weight, *settings):
        return math.prod(output.shape) * weight.shape[-1]

    @staticmethod
    def samples(draw):
        for projection, _, weight, *rest in RnnLayer.samples(draw):
            yield draw(*projection.shape), np.tanh(draw(*projection.shape)), weight, *rest

    @staticmethod
    def sized(draw, T=128, N=64, H=512):
        projection, _, *rest = RnnLayer.sized(draw, T, N, H)
        return draw(*projection.shape), np.tanh(projection), *rest
