"""Failure: when waiting for other ranks is to end, and with which error."""

from __future__ import annotations

import time


class Watch:
    """Looks, between two polls of an engine, whether waiting still makes sense."""

    def look(self, engine, description, since):
        """Raise the error that ends the wait of `engine` for `description`, begun at `since` (time.monotonic())."""
        if time.monotonic() - since > engine.timeout:
            raise RuntimeError(
                f"rank {engine.rank} of group {engine.group_name!r} timed out after {engine.timeout:g} s in "
                f"{description}"
            )
