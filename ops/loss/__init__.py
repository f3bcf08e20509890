"""Losses that are one kernel."""
