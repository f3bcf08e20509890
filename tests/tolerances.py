"""The one tolerance table, for all tests: that of `tritorch validate`."""

from __future__ import annotations

from tritorch.validation import tolerance

__all__ = ["tolerance"]
