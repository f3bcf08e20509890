"""NumPy without floating-point warnings: an overflow or 0/0 in an op gives inf or NaN, silently, as on a GPU.

`numpy.errstate` costs more than a small op does, so its context variable is set directly where NumPy has one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

try:
    from numpy._core.umath import _extobj_contextvar as _errors
    from numpy._core.umath import _make_extobj
except ImportError:  # another NumPy: the public and slower way
    HAS_VARIABLE = False
else:
    HAS_VARIABLE = True


def _restore_by_function(before):
    np.seterr(**before)


silence: Any  # switches warnings off; returns what `restore` takes
restore: Any  # switches them back
if HAS_VARIABLE:
    silence, restore = partial(_errors.set, _make_extobj(all="ignore")), _errors.reset
else:
    silence, restore = partial(np.seterr, all="ignore"), _restore_by_function
