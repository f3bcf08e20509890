"""The least time that a problem can take on a device: by its arithmetic, or by the bytes it moves.

A ceiling is what a good kernel attains, not what a datasheet promises: the driver's clocks and widths, the rates of a
multiprocessor, and how much of their product one H200 gave.

Rates (floating-point operations a clock and multiprocessor, sums in float32, without sparsity) are from NVIDIA's
architecture papers: A100 (2020), GA102 (2020), Ada (2022), H100 (2022), Blackwell (2024), RTX Blackwell (2025).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tritorch.runtime import precision

# By capability: float64, float32, tf32, halves, float8 and int8.
_RATES = {
    80: (128, 128, 1024, 2048, 4096),
    86: (4, 256, 512, 1024, 2048),
    89: (4, 256, 512, 1024, 2048),
    90: (256, 256, 2048, 4096, 8192),
    100: (128, 256, 4096, 8192, 16384),
    120: (4, 256, 512, 1024, 2048),
}
_CLASSES = ("float64", "float32", "tf32", "half", "byte")
_CLASS_OF = {"float64": "float64", "tf32": "tf32", "float16": "half", "bfloat16": "half", "int8": "byte",
             "uint8": "byte", "float8_e4m3fn": "byte", "float8_e5m2": "byte"}  # fmt: skip
_GEFORCE_HALVED = ("tf32", "half", "byte")  # GeForce cards add up in float32 at half the rate

# Measured on an H200: bf16 matmul of 8192^3 by cuBLAS 785 TFLOP/s, of 1070 at its highest clock; a device copy
# 4.3 TB/s, of 4.92 by its memory clock.
ATTAINED_FLOPS = 0.73
ATTAINED_BANDWIDTH = 0.87

# Where a driver does not say: a clock in hertz, and a memory of 1 TB/s as its clock and the width of its bus.
_CLOCK, _MEMORY_CLOCK, _BUS = 1.5e9, 1e9, 4000


@dataclass(frozen=True)
class Ceiling:
    """What a device attains: bytes a second, and operations a second by class of dtype."""

    bandwidth: float
    flops: dict

    def rate(self, dtype):
        """Operations a second for a dtype's name; "tf32" is one, and dtypes without a class count as float32."""
        return self.flops[_CLASS_OF.get(dtype, "float32")]

    def seconds(self, work):
        """The least time for a Work."""
        return max(work.flops / self.rate(work.dtype), work.bytes / self.bandwidth)


def ceiling(capability, sms, clock, memory_clock, bus, name=""):
    """The Ceiling of a GPU: clocks in hertz, the memory's bus in bits; 0 where the driver does not say."""
    clock = clock or _CLOCK
    if not memory_clock * bus:
        memory_clock, bus = _MEMORY_CLOCK, _BUS
    known = max((each for each in _RATES if each <= capability), default=min(_RATES))
    rates = dict(zip(_CLASSES, _RATES[known], strict=True))
    if "GeForce" in name:
        rates |= {each: rates[each] / 2 for each in _GEFORCE_HALVED}
    flops = {each: rate * sms * clock * ATTAINED_FLOPS for each, rate in rates.items()}
    return Ceiling(2 * memory_clock * bus / 8 * ATTAINED_BANDWIDTH, flops)  # two transfers a clock


# What the interpreter pretends to be: an H200.
PRETENDED = ceiling(90, 132, 1.98e9, 3.201e9, 6144)


def ceiling_of(device):
    """The Ceiling of a Device."""
    if not device.is_cuda:
        return PRETENDED
    from tritorch.runtime.cuda import driver

    found = driver.properties(device)
    major, minor = found.capability
    return ceiling(10 * major + minor, found.sms, found.clock_rate * 1e3, found.memory_clock_rate * 1e3,
                   found.memory_bus_width, found.name)  # fmt: skip


def seconds(work, device):
    """The least time that a Work can take on a Device, float32 products as exact as they have to be now."""
    if work.dtype == "float32" and precision.input_precision() == "tf32":
        work = replace(work, dtype="tf32")
    return ceiling_of(device).seconds(work)


def fraction(work, measured, device):
    """How much of what the device attains was reached in `measured` seconds."""
    return seconds(work, device) / measured
