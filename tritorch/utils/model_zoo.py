"""The old name of `tritorch.hub.load_state_dict_from_url`."""

from __future__ import annotations

from tritorch.hub import load_state_dict_from_url as load_url  # noqa: F401
