"""Transforms made of other transforms."""

from __future__ import annotations

from collections.abc import Sequence

import tritorch
from tritorch.nn import Module
from tritorch.vision.transforms import draw

__all__ = ["Compose", "Lambda", "RandomApply", "RandomChoice", "RandomOrder", "RandomTransforms"]


def _listed(name, transforms, head=()):
    return "\n".join([f"{name}(", *(f"    {line}" for line in (*head, *transforms)), ")"])


class Compose:
    """One transform after the other."""

    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, img):
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self):
        return _listed(type(self).__name__, self.transforms)


class Lambda:
    """Any function as a transform."""

    def __init__(self, lambd):
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img):
        return self.lambd(img)

    def __repr__(self):
        return f"{type(self).__name__}()"


class RandomTransforms:
    """Base of what applies some of a list of transforms."""

    def __init__(self, transforms):
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        self.transforms = transforms

    def __call__(self, *args, **kwargs):
        raise NotImplementedError

    def __repr__(self):
        return _listed(type(self).__name__, self.transforms)


class RandomApply(Module):
    """All of the transforms with probability p, else none."""

    def __init__(self, transforms, p=0.5):
        super().__init__()
        self.transforms = transforms
        self.p = p

    def forward(self, img):
        if self.p < tritorch.rand(1, device="cpu").item():
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self):
        modules = self.transforms
        return _listed(type(self).__name__, modules, (f"p={self.p}",))


class RandomOrder(RandomTransforms):
    """All of the transforms, in random order."""

    def __call__(self, img):
        for index in draw.order(len(self.transforms)):
            img = self.transforms[index](img)
        return img


class RandomChoice(RandomTransforms):
    """One of the transforms, with probabilities in proportion to p where they are given."""

    def __init__(self, transforms, p=None):
        super().__init__(transforms)
        if p is not None and not isinstance(p, Sequence):
            raise TypeError("Argument p should be a sequence")
        self.p = p

    def __call__(self, *args):
        weights = tritorch.tensor(self.p or [1.0] * len(self.transforms), device="cpu", dtype=tritorch.float64)
        return self.transforms[int(tritorch.multinomial(weights, 1).item())](*args)

    def __repr__(self):
        return f"{super().__repr__()}(p={self.p})"


class Randomly(Module):
    """Base of what changes an image with probability p, and else leaves it alone."""

    settings: tuple[str, ...] = ()  # the attributes that the printed form shows

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, img):
        return self.change(img) if draw.chance(self.p) else img

    def change(self, img):
        """The image changed; every subclass writes its own."""
        raise NotImplementedError

    def __repr__(self):
        return f"{type(self).__name__}({','.join(f'{name}={getattr(self, name)}' for name in (*self.settings, 'p'))})"
