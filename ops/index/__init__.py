"""Ops that read or write elements by their indices."""
