"""Occlusion: how far the score falls where a window of the input is covered."""

from __future__ import annotations

import itertools

from tritorch import creation
from tritorch.autograd import no_grad
from tritorch.explain.scores import answers, evaluating, score


def occlusion(model, inputs, window, target=None, *, stride=None, baseline=0, arguments=()):
    """score(input) - score(input with a window set to `baseline`), averaged over the windows that cover an element.

    inputs (N, C, ...); `window` and `stride` (default: the window) have a size for each dimension behind the batch.
    The result has the shape of the inputs. Needs no gradients, so it explains any model, and runs it once a window.
    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014.
    """
    sizes = inputs.shape[1:]
    stride = window if stride is None else stride
    if len(window) != len(sizes) or len(stride) != len(sizes) or min(*window, *stride) < 1:
        raise ValueError(
            f"occlusion(): window and stride need {len(sizes)} positive sizes for inputs of shape "
            f"{list(inputs.shape)}, but got {tuple(window)} and {tuple(stride)}"
        )
    total, times = creation.zeros_like(inputs), creation.zeros_like(inputs)
    with evaluating(model), no_grad():
        output = model(inputs, *arguments)
        target = answers(output) if target is None else target
        whole = score(output, target)
        for corner in itertools.product(*map(_places, sizes, window, stride)):
            place = (slice(None), *(slice(at, at + width) for at, width in zip(corner, window, strict=True)))
            covered = inputs.detach().clone()
            covered[place] = baseline
            fall = whole - score(model(covered, *arguments), target)
            total[place] += fall.reshape(-1, *[1] * len(sizes))
            times[place] += 1
    return total / times


def _places(size, width, step):
    """Where windows begin, so that the last one reaches the end."""
    last = max(size - width, 0)
    return sorted({*range(0, last + 1, step), last})
