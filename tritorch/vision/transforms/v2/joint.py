"""How a transform takes a whole sample: images are changed, all alike; labels and all else pass through."""

from __future__ import annotations

import tritorch
from tritorch.vision.pillow import is_pillow
from tritorch.vision.transforms.functional.images import is_tensor

_MARK = "_is_an_image"


def on_images(change, inputs, also=()):
    """`inputs`, whose images `change` was called on, each with the same random numbers.

    The images are Pillow's pictures anywhere in nested lists, tuples and dictionaries, tensors that were made of such,
    and what is of the classes `also`; where there are none, the first tensor is one. Others are labels, which stay.
    """
    sample = inputs if len(inputs) != 1 else inputs[0]

    def known(leaf):
        return is_pillow(leaf) or getattr(leaf, _MARK, False) or isinstance(leaf, also)

    wanted = known if any(known(leaf) for leaf in _leaves(sample)) else _first_tensor()
    state = tritorch.get_rng_state()

    def changed(leaf):
        if not wanted(leaf):
            return leaf
        tritorch.set_rng_state(state)
        found = change(leaf)
        if is_tensor(found) and wanted is known:
            setattr(found, _MARK, True)  # of several tensors, it is an image
        return found

    return _mapped(changed, sample)


def _first_tensor():
    seen = []

    def wanted(leaf):
        if is_tensor(leaf) and not seen:
            seen.append(leaf)
            return True
        return False

    return wanted


def _leaves(sample):
    if isinstance(sample, dict):
        sample = sample.values()
    elif not isinstance(sample, (list, tuple)):
        yield sample
        return
    for each in sample:
        yield from _leaves(each)


def _mapped(function, sample):
    if isinstance(sample, dict):
        return type(sample)((key, _mapped(function, each)) for key, each in sample.items())
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*(_mapped(function, each) for each in sample))
    if isinstance(sample, (list, tuple)):
        return type(sample)(_mapped(function, each) for each in sample)
    return function(sample)


class Joint:
    """Put before a transform of one image in the list of bases, it takes whole samples."""

    def __call__(self, *inputs):
        return on_images(super().__call__, inputs)


def joint(transform):
    """The class of a transform of one image, for whole samples; pickle finds it in the package above."""
    names = {"__doc__": transform.__doc__, "__module__": __package__, "__qualname__": transform.__name__}
    return type(transform.__name__, (Joint, transform), names)
