"""Ops over windows of images."""
