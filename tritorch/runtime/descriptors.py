"""Whether kernels copy tiles by tensor descriptors where a GPU can; TRITORCH_DESCRIPTORS=0 forbids it.

Kernels that take pointers give the same results, and run wherever a driver or a compiler has trouble with descriptors.
"""

from __future__ import annotations

import os

CAPABILITY = 90  # the first that has the copy engine

enabled = os.environ.get("TRITORCH_DESCRIPTORS", "1") != "0"
