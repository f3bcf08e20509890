"""What factorisations raise where a matrix has none."""

from __future__ import annotations

import numpy as np


class LinAlgError(RuntimeError):
    """A factorisation that does not exist or did not converge."""


def raise_where(info, text, kind=LinAlgError, op="linalg"):
    """Raise where an array of LAPACK's codes is not zero: `text` tells of {0}, which is the code of the first such."""
    if not info.any():
        return
    first = int(np.flatnonzero(info)[0])
    where = f"(Batch element {first}): " if info.ndim else ""
    raise kind(f"{op}: {where}{text.format(int(info.reshape(-1)[first]))}")
