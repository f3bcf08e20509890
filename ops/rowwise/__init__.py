"""Ops that normalise along a dimension."""
