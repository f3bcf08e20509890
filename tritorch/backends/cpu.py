"""What the CPU can do."""

from __future__ import annotations

from pathlib import Path

_FLAGS = (("avx512f", "AVX512"), ("avx2", "AVX2"))


def get_cpu_capability():
    """The widest vector instructions of this CPU, as PyTorch names them: "AVX512", "AVX2", or "DEFAULT"."""
    information = Path("/proc/cpuinfo")
    flags = information.read_text().split() if information.exists() else ()
    return next((name for flag, name in _FLAGS if flag in flags), "DEFAULT")
