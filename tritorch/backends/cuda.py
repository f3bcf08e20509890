"""How matrix products and attention run on a GPU, by PyTorch's names.

`matmul.allow_tf32` is `set_float32_matmul_precision("high")` by another name. Sums of half-precision products are
always kept in float32, whatever `allow_fp16_reduced_precision_reduction` allows; attention has one way of computing.
"""

from __future__ import annotations

from contextlib import contextmanager

from tritorch.runtime import precision
from tritorch.runtime.cuda import driver


class _Matmul:
    """`backends.cuda.matmul`: which shortcuts matrix products may take."""

    __slots__ = (
        "allow_bf16_reduced_precision_reduction", "allow_fp16_accumulation", "allow_fp16_reduced_precision_reduction"
    )  # fmt: skip

    def __init__(self):
        self.allow_fp16_reduced_precision_reduction = self.allow_bf16_reduced_precision_reduction = True
        self.allow_fp16_accumulation = False

    @property
    def allow_tf32(self):
        """Whether float32 matrix products may be computed in tf32."""
        return precision.input_precision() == "tf32"

    @allow_tf32.setter
    def allow_tf32(self, value):
        if not isinstance(value, bool):
            raise RuntimeError(f"set_allow_tf32_cublas expects a bool, but got {type(value).__name__}")
        precision.set_float32_matmul_precision("high" if value else "highest")

    @property
    def fp32_precision(self):
        """The newer name of the same choice: "ieee" or "tf32"."""
        return precision.input_precision()

    @fp32_precision.setter
    def fp32_precision(self, value):
        if value not in ("ieee", "tf32", "none"):
            raise RuntimeError(f"Invalid precision: fp32_precision is one of 'ieee', 'tf32', 'none', got {value!r}")
        precision.set_float32_matmul_precision("high" if value == "tf32" else "highest")

    def __getattr__(self, name):
        raise AttributeError(f"Unknown attribute {name}")


matmul = _Matmul()


def is_built():
    """Whether this build can use CUDA: it can where a driver is found."""
    return driver.is_available()


def _switch(name):
    state = {"on": True}

    def enable(enabled):
        state["on"] = bool(enabled)

    def is_enabled():
        return state["on"]

    enable.__doc__ = f"Remember whether {name} attention is wanted; there is one way of computing attention here."
    is_enabled.__doc__ = f"Whether {name} attention is wanted."
    return enable, is_enabled


enable_flash_sdp, flash_sdp_enabled = _switch("flash")
enable_mem_efficient_sdp, mem_efficient_sdp_enabled = _switch("memory-efficient")
enable_math_sdp, math_sdp_enabled = _switch("plain")
enable_cudnn_sdp, cudnn_sdp_enabled = _switch("cuDNN")


@contextmanager
def sdp_kernel(enable_flash=True, enable_math=True, enable_mem_efficient=True, enable_cudnn=True):
    """Remember which ways of computing attention are wanted inside a `with` block."""
    switches = (
        (enable_flash_sdp, flash_sdp_enabled, enable_flash),
        (enable_math_sdp, math_sdp_enabled, enable_math),
        (enable_mem_efficient_sdp, mem_efficient_sdp_enabled, enable_mem_efficient),
        (enable_cudnn_sdp, cudnn_sdp_enabled, enable_cudnn),
    )
    before = [is_enabled() for _, is_enabled, _ in switches]
    for enable, _, wanted in switches:
        enable(wanted)
    try:
        yield
    finally:
        for (enable, _, _), value in zip(switches, before, strict=True):
            enable(value)
