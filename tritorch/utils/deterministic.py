"""Whether memory that is not set is filled: remembered, and without effect."""

from __future__ import annotations

fill_uninitialized_memory = True
