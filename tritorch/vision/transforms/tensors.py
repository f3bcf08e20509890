"""Transforms of tensor images alone: a part erased, all pixels mixed."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence

import tritorch
from tritorch.nn import Module
from tritorch.vision.transforms import draw
from tritorch.vision.transforms import functional as F
from tritorch.vision.transforms.container import Randomly

__all__ = ["LinearTransformation", "RandomErasing"]


class RandomErasing(Randomly):
    """A rectangle of random area and shape written over with probability p, by `value` or, with "random", by noise.

    Source: Zhong et al., 2017.
    """

    def __init__(self, p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0, inplace=False):
        super().__init__(p)
        if not isinstance(value, (numbers.Number, str, tuple, list)):
            raise TypeError("Argument value should be either a number or str or a sequence")
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        if not isinstance(scale, Sequence):
            raise TypeError("Scale should be a sequence")
        if not isinstance(ratio, Sequence):
            raise TypeError("Ratio should be a sequence")
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        if scale[0] < 0 or scale[1] > 1:
            raise ValueError("Scale should be between 0 and 1")
        if p < 0 or p > 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.scale, self.ratio, self.value, self.inplace = scale, ratio, value, inplace

    @staticmethod
    def get_params(img, scale, ratio, value=None):
        """top, left, height, width and what is written there; all of the image itself after ten that do not fit."""
        channels, rows, columns = img.shape[-3:]
        low, high = math.log(ratio[0]), math.log(ratio[1])
        for _ in range(10):
            area = rows * columns * draw.uniform(*scale)
            shape = math.exp(draw.uniform(low, high))
            height, width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if height >= rows or width >= columns:
                continue
            if value is None:
                written = img.new_empty(channels, height, width, dtype=tritorch.get_default_dtype()).normal_()
            else:
                written = tritorch.tensor(value, device=img.device)[:, None, None]
            top, left = draw.integer(0, rows - height + 1), draw.integer(0, columns - width + 1)
            return top, left, height, width, written
        return 0, 0, rows, columns, img

    def change(self, img):
        value = [float(self.value)] if isinstance(self.value, numbers.Number) else self.value
        value = None if isinstance(value, str) else list(value)
        if value is not None and len(value) not in (1, img.shape[-3]):
            raise ValueError(
                "If value is a sequence, it should have either a single value or "
                f"{img.shape[-3]} (number of input channels)"
            )
        return F.erase(img, *self.get_params(img, self.scale, self.ratio, value), self.inplace)

    def __repr__(self):
        names = ("p", "scale", "ratio", "value", "inplace")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in names)})"


class LinearTransformation(Module):
    """(all numbers of an image - mean_vector) times a matrix: whitening."""

    def __init__(self, transformation_matrix, mean_vector):
        super().__init__()
        size = tuple(transformation_matrix.size())
        if size[0] != size[1]:
            raise ValueError(f"transformation_matrix should be square. Got {size} rectangular matrix.")
        if mean_vector.size(0) != size[0]:
            raise ValueError(
                f"mean_vector should have the same length {mean_vector.size(0)}"
                f" as any one of the dimensions of the transformation_matrix [{size}]"
            )
        for name, one, other in (
            ("be on the same device", transformation_matrix.device, mean_vector.device),
            ("have the same dtype", transformation_matrix.dtype, mean_vector.dtype),
        ):
            if one != other:
                raise ValueError(f"Input tensors should {name}. Got {one} and {other}")
        self.transformation_matrix, self.mean_vector = transformation_matrix, mean_vector

    def forward(self, tensor):
        shape = tensor.shape
        count = math.prod(shape[-3:])
        if count != self.transformation_matrix.shape[0]:
            raise ValueError(
                "Input tensor and transformation matrix have incompatible shape."
                f"[{shape[-3]} x {shape[-2]} x {shape[-1]}] != {self.transformation_matrix.shape[0]}"
            )
        if tensor.device != self.mean_vector.device:
            raise ValueError(
                "Input tensor should be on the same device as transformation matrix and mean vector. "
                f"Got {tensor.device} vs {self.mean_vector.device}"
            )
        return ((tensor.view(-1, count) - self.mean_vector) @ self.transformation_matrix).view(shape)

    def __repr__(self):
        return (
            f"{type(self).__name__}(transformation_matrix={self.transformation_matrix.tolist()}, "
            f"mean_vector={self.mean_vector.tolist()})"
        )
