"""torch.special: all that ops and compositions export here, and the functions it has in common with torch."""

from __future__ import annotations

from tritorch.namespaces import exported

_root = exported("")
globals().update(exported("special"))
log_softmax, logsumexp, round, softmax = (_root[name] for name in ("log_softmax", "logsumexp", "round", "softmax"))

__all__ = [name for name in globals() if not name.startswith("_") and name not in ("annotations", "exported")]
