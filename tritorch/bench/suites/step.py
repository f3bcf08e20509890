"""Whole training steps: forward, loss, gradients, clipping where it is usual, optimizer; images or tokens a second.

In bfloat16 products run under autocast. On a processor the nets are smaller.
"""

from __future__ import annotations

from tritorch.bench.nets import nets
from tritorch.bench.training import training_case

DTYPES = ("bfloat16", "float32", "tf32")
COMPILED = True  # the other library's compiler is a side of its own without being asked for, where there is a GPU


def cases(dtypes, quick, small):
    """Every net in every dtype."""
    for name, net in nets().items():
        training = net.training(quick, small)
        for dtype in dtypes:
            yield training_case(name, dtype, training, dtype in net.USUAL or small)
