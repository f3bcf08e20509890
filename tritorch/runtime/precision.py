"""How exactly float32 matrix products are computed on a GPU: IEEE by default, tf32 where allowed."""

from __future__ import annotations

from tritorch.runtime import plans

_PRODUCTS = {"highest": "ieee", "high": "tf32", "medium": "tf32"}  # PyTorch's word -> tl.dot's input_precision
_chosen = "highest"


def get_float32_matmul_precision():
    """ "highest", "high" or "medium", as set."""
    return _chosen


def set_float32_matmul_precision(precision):
    """Allow tf32 in float32 matrix products ("high", "medium"), or ask for full float32 ("highest", the default)."""
    global _chosen
    if precision not in _PRODUCTS:
        raise RuntimeError(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current setting is '{_chosen}'"
        )
    _chosen = precision
    plans.invalidate()


def input_precision():
    """What `tl.dot` is given for float32 operands."""
    return _PRODUCTS[_chosen]
