"""torch.special: functions under their names there."""

from __future__ import annotations

from tritorch.namespaces import exported

_found = exported("")
erf, exp2, expm1, log1p = _found["erf"], _found["exp2"], _found["expm1"], _found["log1p"]
expit, round = _found["sigmoid"], _found["round"]
log_softmax, logsumexp, softmax = _found["log_softmax"], _found["logsumexp"], _found["softmax"]

__all__ = ["erf", "exp2", "expit", "expm1", "log1p", "log_softmax", "logsumexp", "round", "softmax"]
