"""Scaled dot product attention in memory linear in the sequence length."""
