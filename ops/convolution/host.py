"""Convolution on the CPU: slabs of shifted copies of a few images at a time, and matrix products with the filters.

A slab holds copies of the images, shifted by the taps of every dimension but the first. The taps of the first are runs
of that slab, which begin some rows further on: they cost no copies, but a product each. Products are written where
their results stay. Where images are small all taps are copied, and several images go into one product.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.convolution.phases import phases

_PIECE = 1 << 20  # elements of a slab made at a time: what a last-level cache holds beside the operands
_NEAR = 1 << 18  # of one that is multiplied image by image: it stays in the cache of a core
_FEW = 200  # places of an image, below which a product for each image costs more than bringing images together
_FEW_SUMMED = 400  # the same where the products of all images are added up


class Slab:
    """What the taps of a kernel read of images, a few images at a time.

    Place p reads tap t at scale * p + base + step * t, and zero where that is outside `image`.
    """

    def __init__(self, groups, channels, features, image, taps, out, scale, base, step, few):
        self.groups, self.channels, self.image = groups, channels, image
        self.scale, self.step, self.places = scale, step, math.prod(out)
        self.together = self.places < few
        reach = abs(step[0]) * (taps[0] - 1) + out[0]
        # Runs save copies of channels * taps rows, and cost sums of products of `features` rows.
        saved, cost = 2 * channels * math.prod(taps[1:]), 3 * features
        in_runs = not self.together and scale[0] == 1 and reach <= taps[0] * out[0] and saved >= cost
        if in_runs and taps[0] > 1:
            first = min(0, step[0] * (taps[0] - 1))
            self.copied, self.shape, self.base = (1, *taps[1:]), (reach, *out[1:]), (base[0] + first, *base[1:])
            self.starts = [(step[0] * tap - first) * math.prod(out[1:]) for tap in range(taps[0])]
        else:
            self.copied, self.shape, self.base, self.starts = taps, out, base, [0]
        whole = self.shape == image and max(scale) == 1 and not any(self.base)
        self.is_image = whole and math.prod(self.copied) == 1  # nothing to copy
        self.together = self.together and not self.is_image

    def pieces(self, x):
        """For a few images at a time: which they are, and for each run what it multiplies.

        That is (images, groups, channels and taps, places), or, of images together, (groups, ..., images and places).
        """
        most = _PIECE if self.together else _NEAR
        size = len(x) if self.is_image else max(1, most // (self.channels * math.prod((*self.copied, *self.shape))))
        slab = None
        for start in range(0, len(x), size):
            images = x[start : start + size]
            if self.is_image:
                slab = np.ascontiguousarray(images)
            else:
                if slab is None or len(images) != min(size, len(x)):
                    slab = self._zeros(len(images), x.dtype)
                self._fill(images, slab)
            lead = (self.groups,) if self.together else (len(images), self.groups)
            rows = slab.reshape(*lead, self.channels // self.groups * math.prod(self.copied), -1)
            length = rows.shape[-1] if self.together else self.places
            yield slice(start, start + len(images)), [rows[..., at : at + length] for at in self.starts]

    def _zeros(self, count, dtype):
        lead, rest = (self.channels, *self.copied), self.shape
        return np.zeros((*lead, count, *rest) if self.together else (count, *lead, *rest), dtype)

    def _fill(self, images, slab):
        """Copy what each tap reads; what is outside stays zero."""
        if self.together:
            slab = np.moveaxis(slab, 1 + len(self.copied), 0)
        for tap in np.ndindex(*self.copied):
            reads, writes = zip(
                *map(_reach, self.image, self.shape, self.scale, self.base, self.step, tap), strict=True
            )
            slab[(slice(None), slice(None), *tap, *writes)] = images[(slice(None), slice(None), *reads)]

    def laid_out(self, y):
        """Contiguous (images, features, places) as the products see them: as they are, or images together."""
        if self.together:
            return np.ascontiguousarray(y.swapaxes(0, 1)).reshape(self.groups, y.shape[1] // self.groups, -1)
        return y.reshape(len(y), self.groups, y.shape[1] // self.groups, -1)


def _reach(size, places, scale, base, step, tap):
    """Which of `size` elements the places of a tap read, and which places those are that read an element."""
    first = base + step * tap
    begin = max(0, -(first // scale))
    end = max(begin, min(places, (size - 1 - first) // scale + 1))
    start = first + begin * scale
    return slice(start, max(start + (end - begin - 1) * scale + 1, start), scale), slice(begin, end)


def _multiply(a, b, out=None):
    """a @ b; NumPy's matmul is slow where there is nothing to sum over (one tap of one channel)."""
    return np.multiply(a, b, out=out) if a.shape[-1] == 1 else np.matmul(a, b, out=out)


def _strips(x, features, taps, out, scale, base, step, groups, few=_FEW):
    """Slabs of strips of places along the first dimension, so many that an image's fits: (where they are, slab)."""
    row = x.shape[1] * math.prod(taps) * math.prod(out[1:])
    size = out[0] if math.prod(taps) == 1 else max(1, min(out[0], _PIECE // row))
    for start in range(0, out[0], size):
        strip = (min(size, out[0] - start), *out[1:])
        at = (base[0] + start * scale[0], *base[1:])
        where = slice(start, start + strip[0])
        yield where, Slab(groups, x.shape[1], features, x.shape[2:], taps, strip, scale, at, step, few)


def _gather(x, weight, out, scale, base, step):
    """Into contiguous `out`, the products of what taps read with a weight of (groups, features, channels, *taps)."""
    groups, each, taps = len(weight), weight.shape[1], tuple(weight.shape[3:])
    for strip, slab in _strips(x, each * groups, taps, out.shape[2:], scale, base, step, groups):
        parts = [weight] if len(slab.starts) == 1 else [weight[:, :, :, tap] for tap in range(taps[0])]
        matrices = [part.reshape(groups, each, -1) for part in parts]
        for piece, columns in slab.pieces(x):
            target = out[piece, :, strip]
            if slab.together:
                found = _multiply(matrices[0], columns[0]).reshape(each * groups, len(target), *target.shape[2:])
                target[...] = found.swapaxes(0, 1)
                continue
            target = slab.laid_out(target)
            _multiply(matrices[0], columns[0], target)
            for matrix, run in zip(matrices[1:], columns[1:], strict=True):
                target += _multiply(matrix, run)


def forward(x, weight, bias, out_size, stride, padding, dilation, groups):
    """The convolution of `x` with `weight`, plus `bias`."""
    out = np.empty((x.shape[0], weight.shape[0], *out_size), x.dtype)
    if x.size == 0:
        out.fill(0)
    else:
        base = tuple([-before for before, _ in padding])
        filters = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        _gather(x, filters, out, tuple(stride), base, tuple(dilation))
    if bias is not None:
        out += bias.reshape(-1, *[1] * len(out_size))
    return out


def input_gradient(grad, weight, image, stride, padding, dilation, groups):
    """The gradient of a convolution by its input of size `image`: a convolution for each phase of the stride."""
    features, columns, *taps = weight.shape
    out = np.empty((grad.shape[0], columns * groups, *image), grad.dtype)
    filters = weight.reshape(groups, features // groups, *weight.shape[1:]).swapaxes(1, 2)
    everything = (slice(None), slice(None))
    for places, used, base, step in phases(image, taps, stride, padding, dilation):
        target, part = out[(*everything, *places)], filters[(slice(None), *everything, *used)]
        if part.size == 0 or grad.size == 0:
            target[...] = 0
        elif target.flags.c_contiguous:
            _gather(grad, part, target, (1,) * len(image), base, step)
        else:
            found = np.empty(target.shape, grad.dtype)
            _gather(grad, part, found, (1,) * len(image), base, step)
            target[...] = found
    return out


def weight_gradient(grad, x, kernel, stride, padding, dilation, groups):
    """The gradient of a convolution by its weight, whose spatial dimensions are `kernel`."""
    features, channels = grad.shape[1], x.shape[1] // groups
    total = np.zeros((groups, features // groups, channels, *kernel), grad.dtype)
    if total.size == 0 or grad.size == 0:
        return total.reshape(features, channels, *kernel)
    base = tuple([-before for before, _ in padding])
    how = (tuple(stride), base, tuple(dilation), groups, _FEW_SUMMED)
    for strip, slab in _strips(x, features, kernel, grad.shape[2:], *how):
        parts = [total] if len(slab.starts) == 1 else [total[:, :, :, tap] for tap in range(kernel[0])]
        for piece, columns in slab.pieces(x):
            rows = slab.laid_out(np.ascontiguousarray(grad[piece, :, strip]))
            for part, run in zip(parts, columns, strict=True):
                found = np.matmul(rows, run.swapaxes(-1, -2))
                part += (found if slab.together else found.sum(0)).reshape(part.shape)
    return total.reshape(features, channels, *kernel)
