"""A barrier of all programs compiles to one release, and loads that acquire, with all threads of a program between."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.runtime.barrier import grid_barrier
from tritorch.runtime.compile import Pointer, compile_kernel, resources
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@Kernel
def pass_on(
    x,  # a row a step: (count + 1, programs * BLOCK)
    arrivals,  # (1,)
    count,
    BLOCK: tl.constexpr,
):
    i, row = tl.arange(0, BLOCK), tl.num_programs(0) * BLOCK
    me = tl.program_id(0) * BLOCK
    for step in range(count):
        value = tl.load(x + step * row + (me + BLOCK) % row + i)
        tl.store(x + (step + 1) * row + me + i, value + 1)
        grid_barrier(arrivals)


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_a_barrier_compiles(capability):
    integers = Pointer(np.dtype(np.int32))
    arguments, options = (integers, integers, 100), {"num_warps": 4, "launch_cooperative_grid": True}
    compiled = compile_kernel(pass_on, arguments, {"BLOCK": 256}, options, capability)
    assert compiled.metadata.launch_cooperative_grid and resources(compiled).spills == 0
    lines = [line.strip() for line in compiled.asm["ptx"].splitlines()]
    marks = ("st.global", "bar.sync", ".gpu.release.add", ".gpu.acquire", "ld.global.b32", "ld.global.v")
    order = [mark for line in lines for mark in marks if mark in line]
    release = order.index(".gpu.release.add")
    assert order[release - 1] == "bar.sync"  # behind what all threads of the program stored
    assert order.count(".gpu.release.add") == 1 and ".gpu.acquire" in order[release:]
    last = len(order) - 1 - order[::-1].index(".gpu.acquire")
    assert order[last + 1] == "bar.sync"  # before what any of its threads loads
