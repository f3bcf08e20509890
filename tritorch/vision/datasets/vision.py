"""VisionDataset: samples of an image and what is to be learned about it, each with its transform."""

from __future__ import annotations

import os

from tritorch.utils.data import Dataset


def _described(head, transform):
    first, *others = repr(transform).splitlines()
    return [f"{head}{first}", *(" " * len(head) + line for line in others)]


class StandardTransform:
    """One transform for the image and one for its target, both of which may be None."""

    def __init__(self, transform=None, target_transform=None):
        self.transform, self.target_transform = transform, target_transform

    def __call__(self, input, target):
        if self.transform is not None:
            input = self.transform(input)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return input, target

    def __repr__(self):
        lines = [type(self).__name__]
        if self.transform is not None:
            lines += _described("Transform: ", self.transform)
        if self.target_transform is not None:
            lines += _described("Target transform: ", self.target_transform)
        return "\n".join(lines)


class VisionDataset(Dataset):
    """Base of the datasets of images: a folder, and `transforms(image, target)` or one transform for each."""

    def __init__(self, root=None, transforms=None, transform=None, target_transform=None):
        self.root = os.path.expanduser(root) if isinstance(root, str) else root
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ValueError("Only transforms or transform/target_transform can be passed as argument")
        self.transform, self.target_transform = transform, target_transform
        if transform is not None or target_transform is not None:
            transforms = StandardTransform(transform, target_transform)
        self.transforms = transforms

    def __getitem__(self, index):
        raise NotImplementedError

    def __len__(self):
        raise NotImplementedError

    def _transformed(self, image, target):
        """The sample after `transform` and `target_transform`."""
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def extra_repr(self):
        """What a subclass shows beside its size and its folder."""
        return ""

    def __repr__(self):
        lines = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            lines.append(f"Root location: {self.root}")
        lines += self.extra_repr().splitlines()
        if self.transforms is not None:
            lines.append(repr(self.transforms))
        return "\n".join([f"Dataset {type(self).__name__}", *(f"    {line}" for line in lines)])
