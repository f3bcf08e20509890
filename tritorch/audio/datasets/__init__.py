"""Datasets of sounds."""

from __future__ import annotations

from tritorch.audio.datasets.speechcommands import SPEECHCOMMANDS as SPEECHCOMMANDS
