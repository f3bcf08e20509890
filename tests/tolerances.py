"""The one tolerance table, for all tests: that of `tritorch validate`."""

from __future__ import annotations

import numpy as np

from tritorch.validation import tolerance

__all__ = ["close", "tolerance"]


def close(found, expected, gradient=False):
    """Assert that a tensor holds what is expected, within the table's tolerance for its dtype."""
    relative, absolute = tolerance(found.array.dtype, gradient)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=relative, atol=absolute)
