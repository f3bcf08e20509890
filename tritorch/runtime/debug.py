"""Whether kernels are built for debugging: TRITORCH_DEBUG=1 in the environment.

Then `tl.device_assert` in a kernel stops the program: on `cuda` the launch fails and the context is lost, on
`interpreter` the launch raises. Indices are checked this way; without it what is outside reads 0 or is not written.
"""

from __future__ import annotations

import os

enabled = os.environ.get("TRITORCH_DEBUG", "") not in ("", "0")
