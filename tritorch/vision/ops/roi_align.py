"""Parts of feature maps brought to one size, for detectors."""

from __future__ import annotations

import math

import numpy as np

import tritorch
from tritorch import nn

__all__ = ["RoIAlign", "roi_align"]


def roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    """The features (K, C, height, width) of K boxes in `input` (N, C, H, W), by bilinear samples that are averaged.

    `boxes` are rows (image, left, top, right, bottom), or a list with the boxes (L, 4) of each image, in units that
    `spatial_scale` brings to those of `input`. Each place of the result is the mean of `sampling_ratio` samples across
    and down, or, where that is not positive, of as many as the box has pixels there. `aligned` moves boxes by half a
    pixel, so that a pixel's middle is where it is. Both edges interpolate by themselves, so that each box is a product
    of two matrices with the features. Boxes have no gradient. Source: He et al., Mask R-CNN, 2017.
    """
    if not isinstance(boxes, tritorch.Tensor):
        rows = [tritorch.cat((each.new_full((len(each), 1), index), each), 1) for index, each in enumerate(boxes)]
        boxes = tritorch.cat(rows) if rows else input.new_zeros(0, 5)
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise AssertionError("The boxes tensor shape is not correct as Tensor[K, 5]")
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    images, *edges = boxes.detach().double().cpu().numpy().T
    left, top, right, bottom = (edge * spatial_scale - (0.5 if aligned else 0.0) for edge in edges)
    across, down = (
        _weights(start, end - start if aligned else np.maximum(end - start, 1.0), places, size, sampling_ratio)
        for start, end, places, size in ((left, right, width, input.shape[3]), (top, bottom, height, input.shape[2]))
    )
    kind = input.dtype
    across, down = (tritorch.from_numpy(each).to(device=input.device, dtype=kind) for each in (across, down))
    found, places = [], []
    for image in np.unique(images).astype(int).tolist():
        members = np.nonzero(images == image)[0]
        index = tritorch.from_numpy(members).to(input.device)
        half = input[image][None] @ across[index].transpose(1, 2)[:, None]  # (k, C, H, width)
        found.append(down[index][:, None] @ half)
        places.append(members)
    if not found:
        return input.new_zeros(0, input.shape[1], height, width)
    order = tritorch.from_numpy(np.argsort(np.concatenate(places), kind="stable")).to(input.device)
    return tritorch.cat(found)[order]


def _weights(start, length, places, size, sampling_ratio):
    """(K, places, size): how much of each pixel of an edge of `size` goes into each place of each box."""
    table = np.zeros((len(start), places, size))
    step = length / places
    for box in range(len(start)):
        samples = sampling_ratio if sampling_ratio > 0 else max(math.ceil(step[box]), 0)
        if samples == 0:
            continue
        at = start[box] + step[box] * (np.arange(places)[:, None] + (np.arange(samples) + 0.5) / samples)
        inside = (at >= -1.0) & (at <= size)
        at = np.clip(at, 0, size - 1)
        low = np.minimum(at.astype(int), size - 1)
        high = np.minimum(low + 1, size - 1)
        rows = np.broadcast_to(np.arange(places)[:, None], at.shape)
        share = inside / samples
        np.add.at(table[box], (rows, low), (1 - (at - low)) * share)
        np.add.at(table[box], (rows, high), (at - low) * share)
    return table


class RoIAlign(nn.Module):
    """See `roi_align`."""

    def __init__(self, output_size, spatial_scale, sampling_ratio, aligned=False):
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale
        self.sampling_ratio, self.aligned = sampling_ratio, aligned

    def forward(self, input, rois):
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def __repr__(self):
        return (
            f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned})"
        )
