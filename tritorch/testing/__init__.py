"""Comparing values and making tensors for tests, as torch.testing has it."""

from __future__ import annotations

from tritorch.testing.comparison import assert_allclose as assert_allclose
from tritorch.testing.comparison import assert_close as assert_close
from tritorch.testing.making import make_tensor as make_tensor
