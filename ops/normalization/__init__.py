"""Ops that give numbers mean zero and variance one: over rows, groups of channels, or a batch."""
