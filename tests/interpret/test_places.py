"""Division by a product: exact for every number that a 32-bit index can be."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.ops.pooling.place import _divided, reciprocals
from tritorch.runtime import tl
from tritorch.runtime.compile import compile_kernel
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

NUMBERS = 1024


@Kernel
def quotients(
    out,  # numbers // divisor: (BLOCK,)
    numbers,  # from 0 to 2^31 - 1: (BLOCK,)
    reciprocal,
    shift,
    BLOCK: tl.constexpr,
):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, _divided(tl.load(numbers + i), reciprocal, shift))


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 49, 56, 641, 1 << 16, (1 << 20) - 1, 1 << 30, (1 << 31) - 1])
def test_quotients_are_exact(divisor):
    most = (1 << 31) - 1
    draw = np.random.default_rng(divisor)
    multiples = draw.integers(0, most // divisor + 1, NUMBERS // 2) * divisor
    numbers = np.concatenate([multiples, np.maximum(multiples - 1, 0)])  # where a quotient begins, and just before it
    numbers[:3] = 0, most, most - 1
    numbers, out = numbers.astype(np.int32), np.zeros(NUMBERS, np.int32)
    quotients[(1,)](out, numbers, *reciprocals(divisor, (1,))[2:], BLOCK=NUMBERS)
    np.testing.assert_array_equal(out, numbers // divisor)


@pytest.mark.parametrize("divisor", [1, 2, 56])  # shifts of zero and one bit are constants
def test_no_division_is_compiled(divisor):
    given = np.zeros(NUMBERS, np.int32)
    compiled = compile_kernel(quotients, (given, given, *reciprocals(divisor, (1,))[2:]), {"BLOCK": NUMBERS})
    text = compiled.asm["ptx"]
    assert "div." not in text
    assert "shr.s32" not in text  # a product takes all 32 bits
