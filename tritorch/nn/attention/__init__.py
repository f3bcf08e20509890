"""Which implementation of attention may be used, by PyTorch's names: there is one, and it is always used."""

from __future__ import annotations

import contextlib
from enum import IntEnum

from tritorch.backends import cuda
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)  # bias and varlen are imported when first asked for


class SDPBackend(IntEnum):
    """The implementations of scaled_dot_product_attention that PyTorch has."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __repr__(self):
        return f"<SDPBackend.{self.name}: {self.value}>"

    def __str__(self):
        return f"SDPBackend.{self.name}"


@contextlib.contextmanager
def sdpa_kernel(backends, set_priority=False):
    """Inside, say which implementations may be used: what torch.backends.cuda answers follows, results do not."""
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, "
            f"got {type(backends).__name__}"
        )
    chosen = [backends] if isinstance(backends, SDPBackend) else backends
    with cuda.sdp_kernel(
        enable_flash=SDPBackend.FLASH_ATTENTION in chosen,
        enable_math=SDPBackend.MATH in chosen,
        enable_mem_efficient=SDPBackend.EFFICIENT_ATTENTION in chosen,
        enable_cudnn=SDPBackend.CUDNN_ATTENTION in chosen,
    ):
        yield {}
