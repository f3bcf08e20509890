"""The only room that knows CUDA and Triton: devices, arrays, kernels, memory, streams, random bits."""

from __future__ import annotations

from tritorch.runtime.language import tl as tl
