"""What lets a script's losses be compared between libraries: the same start, and a place to write them.

PyTorch's random bits are its own, so weights, noise and masks come from NumPy here.
"""

import atexit
import json
import os

import numpy as np
import torch

LOSSES = []


def same_weights(model, seed=0):
    """Fill a model's parameters, in the order of their names' registration, from a NumPy generator."""
    draw = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            if len(shape) > 1:
                values = draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
            elif name.endswith("weight"):  # the scale of a normalisation
                values = 1 + 0.1 * draw.standard_normal(shape)
            else:
                values = 0.1 * draw.standard_normal(shape)
            parameter.copy_(torch.from_numpy(np.asarray(values, dtype=np.float32)))
    return model


def report(step, loss, **more):
    """Print a step's loss, and remember it for the file that $LOSSES_FILE names."""
    LOSSES.append(float(loss))
    print(f"step {step:3d}  loss {float(loss):.6f}", *(f" {name} {float(value):.4f}" for name, value in more.items()))


@atexit.register
def _write():
    if "LOSSES_FILE" in os.environ:
        with open(os.environ["LOSSES_FILE"], "w") as file:
            json.dump(LOSSES, file)
