"""Meta's accelerators, which tritorch does not use: asking is possible, working is refused."""

from __future__ import annotations

from tritorch.refused import refuse_all


def is_available():
    """Whether there is one that can be used: never."""
    return False


def device_count():
    """How many can be used: none."""
    return 0


def manual_seed(seed):
    """Accepted: there is no generator to seed."""


def manual_seed_all(seed):
    """Accepted: there is no generator to seed."""


def empty_cache():
    """Accepted: there is no memory to give back."""


globals().update(
    refuse_all(
        "mtia",
        ("synchronize", "current_device", "set_device", "current_stream", "memory_allocated", "get_rng_state"),
        "it uses NVIDIA GPUs and the CPU. Ask mtia.is_available() first.",
    )
)
