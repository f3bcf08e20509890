"""Compile tier: kernels built for GPUs that are not there."""
