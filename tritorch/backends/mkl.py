"""Intel's MKL, which tritorch does not call itself; NumPy's matrix products use the BLAS it was built with."""

from __future__ import annotations


def is_available():
    """Whether MKL is used: not by tritorch."""
    return False
