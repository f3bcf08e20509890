"""The switches of PyTorch's back ends under their names.

There is one back end here, so most switches only keep what they were set to; `backends.cuda.matmul` really sets how
exactly float32 matrix products are computed.
"""

from __future__ import annotations

from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)
