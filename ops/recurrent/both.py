"""Both directions of a recurrent layer in one launch: each has programs of its own, which meet among themselves.

All steps have the whole batch. Arguments are those of the forward direction and then those of the other; results too.
"""

from __future__ import annotations

import math
from typing import Any

from tritorch.ops.base import Op
from tritorch.ops.recurrent.gru import GruGradient, GruLayer
from tritorch.ops.recurrent.lstm import LstmGradient, LstmLayer
from tritorch.ops.recurrent.rnn import RnnGradient, RnnLayer
from tritorch.ops.recurrent.steps import launch_both


def _several(results):
    return results if isinstance(results, tuple) else (results,)


def _halves(whole):
    half = len(whole) // 2
    return whole[:half], whole[half:]


class _Both(Op, abstract=True):
    """The two directions of `one`, a layer or a gradient."""

    one: Any
    arrays = 0  # arguments of both directions; the sizes of steps and what else there is come behind them
    widens = True

    @classmethod
    def referred(cls, *arguments):
        """What both directions give, each by itself."""
        batch_sizes, *settings = arguments[cls.arrays :]
        return sum(
            (_several(cls.one.reference(*mine, None, batch_sizes, reverse, *settings))
             for mine, reverse in zip(_halves(arguments[: cls.arrays]), (False, True), strict=True)),
            (),
        )  # fmt: skip

    def forward(self, *arguments):
        """One launch where programs of both directions run at once, else one for each."""
        batch_sizes, *settings = arguments[self.arrays :]
        directions = _halves(arguments[: self.arrays])
        found = [_several(self.one.results(*each)) for each in directions]
        if found[0][0].size:
            way, (mine, others) = self.one.way(*directions[0], *settings), zip(directions, found, strict=True)
            launch_both(way, sum(mine, ()), sum(others, ()), batch_sizes, way.back)
        return (*found[0], *found[1])

    @classmethod
    def samples(cls, draw):
        kept = 0
        for sample, others in zip(cls.one.samples(draw), cls.one.samples(draw), strict=True):
            at = cls.one.names.index("places")
            batch_sizes, _, *settings = sample[at + 1 :]
            if len(set(batch_sizes)) == 1 and batch_sizes[0] and kept < 3:
                kept += 1
                yield *sample[:at], *others[:at], batch_sizes, *settings


class _BothLayers(_Both, abstract=True):
    """A layer; `gradient` is the op of both gradients."""

    gradient: Any

    def backward(self, *grads):
        """Back through the steps of both at once, then the products of each."""
        arguments, results = self.inputs, _halves(self.outputs)
        grads = *grads, *[None] * (len(self.outputs) - len(grads))
        batch_sizes, *settings = arguments[self.arrays :]
        directions = _halves(arguments[: self.arrays])
        asked = [
            self.one.asked(mine, made, *given)
            for mine, made, given in zip(_alike(_halves(grads), results), results, directions, strict=True)
        ]
        if self.recording:
            found = [
                self.one.differentiable(*each, None, batch_sizes, reverse, *settings)
                for each, reverse in zip(asked, (False, True), strict=True)
            ]
        else:
            found = _halves(_several(self.gradient.apply(*asked[0], *asked[1], batch_sizes, *settings)))
            found = [each[0] if len(each) == 1 else each for each in found]
        finished = [
            self.one.finished(one, made, given, None, batch_sizes, reverse)
            for one, made, given, reverse in zip(found, results, directions, (False, True), strict=True)
        ]
        return *finished[0], *finished[1], *[None] * (1 + len(settings))

    @classmethod
    def multiplications(cls, output, projection, *arguments):
        return 2 * math.prod(projection.shape) * output[0].shape[-1]


def _alike(grads, results):
    """Gradients of both directions, where one of the two is None zeros in its place."""
    pairs = []
    for one, other, mine, its in zip(*grads, *results, strict=True):
        if (one is None) != (other is None):
            one, other = (made.detach() * 0 if grad is None else grad for grad, made in ((one, mine), (other, its)))
        pairs.append((one, other))
    return list(zip(*pairs, strict=True))


class RnnBothGradients(_Both):
    """RnnGradient of both directions."""

    one, arrays = RnnGradient, 6

    @classmethod
    def reference(cls, grad, output, weight, other_grad, other_output, other_weight, batch_sizes, rectify):
        return cls.referred(grad, output, weight, other_grad, other_output, other_weight, batch_sizes, rectify)


class RnnBoth(_BothLayers):
    """RnnLayer of both directions."""

    one, arrays, gradient = RnnLayer, 6, RnnBothGradients
    saves = ("hidden", "weight", "other_hidden", "other_weight", "output")

    @classmethod
    def reference(cls, projection, hidden, weight, other_projection, other_hidden, other_weight, batch_sizes, rectify):
        return cls.referred(
            projection, hidden, weight, other_projection, other_hidden, other_weight, batch_sizes, rectify
        )


class LstmBothGradients(_Both):
    """LstmGradient of both directions."""

    one, arrays = LstmGradient, 14

    @classmethod
    def reference(
        cls, grad, grad_cells, grad_gates, cells, gates, cell, weight,
        other_grad, other_grad_cells, other_grad_gates, other_cells, other_gates, other_cell, other_weight, batch_sizes,
    ):  # fmt: skip
        return cls.referred(
            grad, grad_cells, grad_gates, cells, gates, cell, weight, other_grad, other_grad_cells, other_grad_gates,
            other_cells, other_gates, other_cell, other_weight, batch_sizes,
        )  # fmt: skip


class LstmBoth(_BothLayers):
    """LstmLayer of both directions."""

    one, arrays, gradient = LstmLayer, 8, LstmBothGradients
    saves = ("hidden", "cell", "weight", "other_hidden", "other_cell", "other_weight", "output")

    @classmethod
    def reference(
        cls, projection, hidden, cell, weight, other_projection, other_hidden, other_cell, other_weight, batch_sizes
    ):  # fmt: skip
        return cls.referred(
            projection, hidden, cell, weight, other_projection, other_hidden, other_cell, other_weight, batch_sizes
        )


class GruBothGradients(_Both):
    """GruGradient of both directions."""

    one, arrays = GruGradient, 12

    @classmethod
    def reference(
        cls, grad, grad_gates, output, gates, hidden, weight,
        other_grad, other_grad_gates, other_output, other_gates, other_hidden, other_weight, batch_sizes,
    ):  # fmt: skip
        return cls.referred(
            grad, grad_gates, output, gates, hidden, weight, other_grad, other_grad_gates, other_output, other_gates,
            other_hidden, other_weight, batch_sizes,
        )  # fmt: skip


class GruBoth(_BothLayers):
    """GruLayer of both directions."""

    one, arrays, gradient = GruLayer, 8, GruBothGradients
    saves = ("hidden", "weight", "other_hidden", "other_weight", "output")

    @classmethod
    def reference(
        cls, projection, hidden, weight, bias, other_projection, other_hidden, other_weight, other_bias, batch_sizes
    ):  # fmt: skip
        return cls.referred(
            projection, hidden, weight, bias, other_projection, other_hidden, other_weight, other_bias, batch_sizes
        )
