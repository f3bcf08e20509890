"""Interpret tier: kernels interpreted on NumPy arrays."""
