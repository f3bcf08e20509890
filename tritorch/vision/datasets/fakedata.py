"""FakeData: noise in the shape of a dataset of images."""

from __future__ import annotations

import tritorch
from tritorch.vision.datasets.vision import VisionDataset
from tritorch.vision.transforms import functional as F


class FakeData(VisionDataset):
    """Images of noise with random classes; an index gives the same one each time."""

    def __init__(self, size=1000, image_size=(3, 224, 224), num_classes=10, transform=None, target_transform=None,
                 random_offset=0):  # fmt: skip
        super().__init__(transform=transform, target_transform=target_transform)
        self.size, self.image_size, self.num_classes = size, image_size, num_classes
        self.random_offset = random_offset

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(f"{type(self).__name__} index out of range")
        generator = tritorch.Generator().manual_seed(index + self.random_offset)
        noise = tritorch.randn(*self.image_size, generator=generator, device="cpu")
        target = tritorch.randint(0, self.num_classes, (1,), generator=generator, device="cpu")
        return self._transformed(F.to_pil_image(noise), int(target.item()))

    def __len__(self):
        return self.size
