"""Stateful: what `save` and `load` ask for its state."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """An object with a state, such as a module or an optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as nested dicts of tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state."""
