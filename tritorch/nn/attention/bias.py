"""Causal masks that are said by their corner, for `scaled_dot_product_attention`."""

from __future__ import annotations

from tritorch.functional.causal_bias import CausalBias, CausalVariant

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


def causal_upper_left(*size):
    """A mask of (queries, keys) in which the first query meets the first key, as with `is_causal=True`."""
    return _made("causal_upper_left", CausalVariant.UPPER_LEFT, size)


def causal_lower_right(*size):
    """A mask of (queries, keys) in which the last query meets the last key, as while a sequence is generated."""
    return _made("causal_lower_right", CausalVariant.LOWER_RIGHT, size)


def _made(name, variant, size):
    if len(size) != 2:
        raise AssertionError(f"{name} only supports 2D tensors")
    return CausalBias(variant, *size)
