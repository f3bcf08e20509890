"""Convolution on the CPU: patches laid out as columns, a few images at a time, and one matrix product for each piece.

With stride 1 a tap of the kernel is one long run of each padded image, read on to the ends of its rows; the columns
that belong to no output are cut off after the product. Copies are then as fast as memory, and a piece stays in the
cache between its copy and its product.
"""

from __future__ import annotations

import numpy as np

_PIECE = 1 << 20  # elements of columns made at a time: what a last-level cache holds beside the operands


class Taps:
    """Where the taps of a kernel read padded images of one convolution."""

    def __init__(self, image, kernel, out, stride, padding, dilation):
        self.image, self.kernel, self.out, self.stride, self.dilation = image, kernel, out, stride, dilation
        top, bottom, left, right = padding
        self.first, self.padded = (top, left), (image[0] + top + bottom, image[1] + left + right)
        # Whole rows are worth it unless most of a row is cut off again.
        self.whole_rows = tuple(stride) == (1, 1) and 3 * self.padded[1] <= 4 * out[1]
        self.row = self.padded[1] if self.whole_rows else out[1]
        self.points = out[0] * self.row
        self.one_pixel = tuple(kernel) == (1, 1) == tuple(stride) and self.padded == tuple(image) == tuple(out)

    def pieces(self, count, channels):
        """Slices of `count` images, of as many as fill a piece of columns."""
        each = max(1, channels * self.kernel[0] * self.kernel[1] * self.points)
        size = max(1, min(count, _PIECE // each))
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def columns(self, channels, images, dtype):
        """Space for columns: (channels, kernel height, kernel width, images, points), zeros where no tap writes."""
        return np.zeros((channels, *self.kernel, images, self.points), dtype)

    def pad(self, x, space=None):
        """Images in a contiguous array with their padding of zeros, which is `space` where that is given."""
        if self.padded == self.image and x.flags.c_contiguous:
            return x
        if space is None:
            space = np.zeros((*x.shape[:2], *self.padded), x.dtype)
        self.inside(space)[...] = x
        return space

    def inside(self, padded):
        """The part of padded images that is not padding."""
        (top, left), (height, width) = self.first, self.image
        return padded[:, :, top : top + height, left : left + width]

    def pairs(self, padded, columns):
        """For each tap, what it reads of padded images and its part of the columns: two views of one shape."""
        count, channels, height, width = padded.shape
        length = (self.out[0] - 1) * width + self.out[1]
        rows = padded.reshape(count, channels, height * width).transpose(1, 0, 2)
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                top, left = i * self.dilation[0], j * self.dilation[1]
                part = columns[:, i, j, :count]
                if self.whole_rows:
                    start = top * width + left
                    yield rows[:, :, start : start + length], part[:, :, :length]
                else:
                    down = slice(top, top + (self.out[0] - 1) * self.stride[0] + 1, self.stride[0])
                    across = slice(left, left + (self.out[1] - 1) * self.stride[1] + 1, self.stride[1])
                    yield padded[:, :, down, across].transpose(1, 0, 2, 3), part.reshape(channels, count, *self.out)

    def gather(self, padded, columns):
        """Fill the columns of these images; returns them as (channels * taps, images * points)."""
        for read, part in self.pairs(padded, columns):
            part[...] = read
        return columns

    def scatter(self, columns, padded):
        """Add the columns to the images they were read from."""
        for read, part in self.pairs(padded, columns):
            read += part


def _multiply(a, b, out):
    """a @ b into `out`; NumPy's matmul is slow where there is nothing to sum over (one feature to a group)."""
    if a.shape[-1] == 1:
        np.multiply(a, b, out=out)
    else:
        np.matmul(a, b, out=out)


def _each_pixel(matrix, x):
    """A convolution by a kernel of one tap: a matrix product for each image, without columns."""
    groups, features, channels = matrix.shape
    found = np.matmul(matrix, x.reshape(len(x), groups, channels, -1))
    return found.reshape(len(x), groups * features, *x.shape[2:])


def forward(x, weight, bias, out_size, stride, padding, dilation, groups):
    """The convolution of `x` with `weight`, plus `bias`."""
    taps = Taps(x.shape[2:], weight.shape[2:], out_size, stride, padding, dilation)
    count, channels = x.shape[:2]
    features = weight.shape[0]
    matrix = weight.reshape(groups, features // groups, -1)
    if taps.one_pixel and x.size:
        found = _each_pixel(matrix, x)
        return found if bias is None else np.add(found, bias[:, None, None], out=found)
    out = np.empty((count, features, *out_size), x.dtype)
    columns = padded = result = None
    for piece in taps.pieces(count, channels):
        images = x[piece]
        size = len(images)
        if columns is None or columns.shape[3] != size:
            columns, padded = taps.columns(channels, size, x.dtype), None
            result = np.empty((groups, features // groups, size * taps.points), x.dtype)
        padded = taps.pad(images, padded)
        taps.gather(padded, columns)
        np.matmul(matrix, columns.reshape(groups, matrix.shape[2], -1), out=result)
        found = result.reshape(features, size, out_size[0], taps.row)[..., : out_size[1]].transpose(1, 0, 2, 3)
        if bias is None:
            out[piece] = found
        else:
            np.add(found, bias[:, None, None], out=out[piece])
        padded = None if padded is images else padded
    return out


def input_gradient(grad, weight, image, stride, padding, dilation, groups):
    """The gradient of a convolution by its input of size `image`."""
    taps = Taps(image, weight.shape[2:], grad.shape[2:], stride, padding, dilation)
    count, features = grad.shape[:2]
    channels = weight.shape[1] * groups
    matrix = weight.reshape(groups, features // groups, -1).transpose(0, 2, 1)
    if taps.one_pixel and grad.size:
        return _each_pixel(np.ascontiguousarray(matrix), grad)
    out = np.empty((count, channels, *image), grad.dtype)
    rows = columns = padded = None
    for piece in taps.pieces(count, channels):
        size = piece.stop - piece.start
        if columns is None or columns.shape[3] != size:
            columns = taps.columns(channels, size, grad.dtype)
            rows = np.zeros((features, size, grad.shape[2], taps.row), grad.dtype)
            padded = np.empty((size, channels, *taps.padded), grad.dtype)
        rows[..., : grad.shape[3]] = grad[piece].transpose(1, 0, 2, 3)
        _multiply(matrix, rows.reshape(groups, features // groups, -1), columns.reshape(groups, matrix.shape[1], -1))
        padded.fill(0)
        taps.scatter(columns, padded)
        out[piece] = taps.inside(padded)
    return out


def weight_gradient(grad, x, kernel, stride, padding, dilation, groups):
    """The gradient of a convolution by its weight, whose last two dimensions are `kernel`."""
    taps = Taps(x.shape[2:], kernel, grad.shape[2:], stride, padding, dilation)
    (count, channels), features = x.shape[:2], grad.shape[1]
    total = np.zeros((groups, features // groups, channels // groups * kernel[0] * kernel[1]), grad.dtype)
    rows = columns = padded = None
    for piece in taps.pieces(count, channels):
        images = x[piece]
        size = len(images)
        if columns is None or columns.shape[3] != size:
            columns, padded = taps.columns(channels, size, grad.dtype), None
            rows = np.zeros((features, size, grad.shape[2], taps.row), grad.dtype)
        rows[..., : grad.shape[3]] = grad[piece].transpose(1, 0, 2, 3)
        padded = taps.pad(images, padded)
        taps.gather(padded, columns)
        matrix = columns.reshape(groups, total.shape[2], -1)
        total += np.matmul(rows.reshape(groups, features // groups, -1), matrix.transpose(0, 2, 1))
        padded = None if padded is images else padded
    return total.reshape(features, channels // groups, *kernel)
