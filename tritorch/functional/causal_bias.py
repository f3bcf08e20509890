"""Causal masks as two numbers, which attention takes without making them where it can."""

from __future__ import annotations

import warnings
from enum import IntEnum, auto

from tritorch import creation
from tritorch.runtime import dtypes
from tritorch.tensor import Tensor


class CausalVariant(IntEnum):
    """Which corner of a mask that is no square its diagonal begins in."""

    UPPER_LEFT = auto()
    LOWER_RIGHT = auto()


class CausalBias(Tensor):
    """A causal mask for `scaled_dot_product_attention`, whose diagonal begins in the corner that its variant names."""

    def __init__(self, variant, seq_len_q, seq_len_kv):
        if not isinstance(variant, CausalVariant):
            raise AssertionError(f"variant must be a CausalVariant, got {type(variant).__name__}")
        super().__init__()
        self.variant, self.seq_len_q, self.seq_len_kv = variant, seq_len_q, seq_len_kv
        if seq_len_q > seq_len_kv and variant == CausalVariant.LOWER_RIGHT:
            warnings.warn(
                "Lower right causal bias will produce NaNs in the output when seq_len_q > seq_len_kv!", stacklevel=2
            )

    def __new__(cls, variant, seq_len_q, seq_len_kv):
        return Tensor.__new__(cls)

    def as_mask(self, device):
        """What `scaled_dot_product_attention` takes for it: (a mask or None, whether it is causal from the top left).

        One query at the lower right may attend every key: while a sequence is generated, there is no mask at all.
        """
        if self.variant == CausalVariant.UPPER_LEFT or self.seq_len_q == self.seq_len_kv:
            return None, True
        return (None, False) if self.seq_len_q == 1 else (self._materialize(device), False)

    def _materialize(self, device=None):
        """The mask itself, True where a query may attend a key."""
        shift = 0 if self.variant == CausalVariant.UPPER_LEFT else self.seq_len_kv - self.seq_len_q
        every = creation.ones(self.seq_len_q, self.seq_len_kv, dtype=dtypes.bool_, device=device or "cpu")
        return every.tril(shift)

    def __repr__(self):
        return repr(self._materialize())
