"""NumPy without floating-point warnings: an overflow or 0/0 in an op gives inf or NaN, silently, as on a GPU.

`numpy.errstate` costs more than a small op does, so its context variable is set directly where NumPy has one.
"""

from __future__ import annotations

from functools import partial

import numpy as np

try:
    from numpy._core.umath import _extobj_contextvar as _errors
    from numpy._core.umath import _make_extobj
except ImportError:  # another NumPy: the public and slower way
    HAS_VARIABLE = False
else:
    HAS_VARIABLE = True


if HAS_VARIABLE:
    _silent = _make_extobj(all="ignore")

    silence = partial(_errors.set, _silent)  # switches warnings off; returns what `restore` takes
    restore = _errors.reset
else:

    def silence():
        """Switch warnings off; returns what `restore` takes."""
        return np.seterr(all="ignore")

    def restore(before):
        """Switch warnings back to what they were."""
        np.seterr(**before)
