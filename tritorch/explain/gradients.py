"""Explanations by gradients of the score by the input."""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.autograd import no_grad
from tritorch.explain.scores import answers, evaluating, gradient_of_score, score
from tritorch.functional.drawing import randn_like
from tritorch.tensor import Tensor


def input_gradients(model, inputs, target=None, *, absolute=False, arguments=()):
    """d score / d input: how the score of each example's target moves with each element of its input.

    inputs (N, ...) of a floating dtype; `target` a class, N of them, or None for the model's own answer; `arguments` go
    to the model behind the inputs. The result has the shape of the inputs. The model runs in eval mode.
    Source: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", 2013.
    """
    with evaluating(model):
        found = gradient_of_score(model, inputs, target, arguments)
    return found.abs() if absolute else found


def gradient_times_input(model, inputs, target=None, *, arguments=()):
    """input * d score / d input: for a linear model, what each element adds to the score.

    Shapes and `target` as in `input_gradients`.
    Source: Shrikumar, Greenside and Kundaje, "Learning important features through propagating activation differences",
    2017.
    """
    return input_gradients(model, inputs, target, arguments=arguments) * inputs.detach()


def smooth_gradients(model, inputs, target=None, *, samples=25, noise=0.15, arguments=(), generator=None):
    """The mean of `input_gradients` over `samples` copies of the input with Gaussian noise added.

    `noise` is the deviation, as a part of the range of each example's values.
    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """
    if samples < 1:
        raise ValueError(f"smooth_gradients(): samples must be positive, but got {samples}")
    own = inputs.detach()
    rows = own.flatten(1)
    spread = (rows.amax(1) - rows.amin(1)).reshape(-1, *[1] * (own.dim() - 1)) * noise
    total = creation.zeros_like(own)
    with evaluating(model):
        if target is None:
            with no_grad():
                target = answers(model(own, *arguments))
        for _ in range(samples):
            total += gradient_of_score(model, own + spread * randn_like(own, generator=generator), target, arguments)
    return total / samples


def integrated_gradients(model, inputs, target=None, *, baseline=0, steps=50, batch_size=None, arguments=(),
                         return_error=False):  # fmt: skip
    """(input - baseline) times the mean of d score / d input on the straight line from baseline to input.

    The parts of each example add up to score(input) - score(baseline). The integral is Gauss and Legendre's with
    `steps` points; `batch_size` bounds how many inputs run through the model at once. `baseline` is a number or a
    tensor that broadcasts to the inputs. With `return_error` also what is missing from that sum, for each example.
    Source: Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", 2017.
    """
    if steps < 1:
        raise ValueError(f"integrated_gradients(): steps must be positive, but got {steps}")
    own = inputs.detach()
    start = baseline.to(own.device) if isinstance(baseline, Tensor) else baseline
    start = (creation.zeros_like(own) + start).detach()
    places, weights = np.polynomial.legendre.leggauss(steps)
    path = list(zip((places + 1) / 2, weights / 2, strict=True))
    many = max(1, (batch_size or steps * len(own)) // max(len(own), 1))
    mean = creation.zeros_like(own)
    with evaluating(model):
        with no_grad():
            ends = model(own, *arguments), model(start, *arguments)
        target = answers(ends[0]) if target is None else target
        for first in range(0, steps, many):
            mean += _along(model, own, start, path[first : first + many], target, arguments)
    found = mean * (own - start)
    if not return_error:
        return found
    reached = score(ends[0], target) - score(ends[1], target)
    return found, found.flatten(1).sum(1) - reached


def _along(model, inputs, start, points, target, arguments):
    """The weighted sum of the gradients at some points of the line, which run through the model as one batch."""
    count, rest = len(inputs), [1] * (inputs.dim() - 1)
    where = creation.tensor([place for place, _ in points], dtype=inputs.dtype, device=inputs.device)
    weight = creation.tensor([each for _, each in points], dtype=inputs.dtype, device=inputs.device)
    line = start + where.reshape(-1, 1, *rest) * (inputs - start)
    targets = target.repeat(len(points)) if isinstance(target, Tensor) else target
    again = tuple(_repeated(each, len(points), count) for each in arguments)
    found = gradient_of_score(model, line.reshape(-1, *inputs.shape[1:]), targets, again)
    return (found.reshape(len(points), count, *inputs.shape[1:]) * weight.reshape(-1, 1, *rest)).sum(0)


def _repeated(argument, times, count):
    if isinstance(argument, Tensor) and argument.dim() and len(argument) == count:
        return argument.repeat(times, *[1] * (argument.dim() - 1))
    return argument
