"""A barrier for all programs of a launch: for kernels whose steps each need what every program computed in the last.

    @Kernel
    def steps(state, arrivals, count, ...):         # launched as steps[(programs,)](..., launch_cooperative_grid=True)
        for step in range(count):
            ...                                     # reads what any program wrote in the step before
            grid_barrier(arrivals)

    steps[(programs,)](state, arrivals_for(state), ...)

The programs must all run at once, which `launch_cooperative_grid=True` makes sure of: a launch of more programs than
fit the GPU is refused. Loads that a loop with `num_stages` above 1 makes ahead of time do not know of the barrier, so
the loop over the steps must not be such a loop: `tl.range(count, num_stages=1)`.
"""

from __future__ import annotations

import numpy as np

from tritorch.runtime import transfer
from tritorch.runtime.device import Device
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import tl

_TOP = tl.constexpr(-0x80000000)  # the bit that tells one crossing from the next
_counters: dict = {}  # stream -> its counter


@Kernel
def grid_barrier(
    arrivals,  # a counter that only launches of one stream use: (1,)
):
    """Wait until every program of the launch is here; what a program wrote before, all see after.

    All programs together add exactly the top bit. It tells one crossing from the next, and the other bits are as
    before: a counter that was 0 once serves every launch after, whatever its number of programs.
    """
    tl.debug_barrier()  # all threads have written what they write
    programs = tl.num_programs(0) * tl.num_programs(1) * tl.num_programs(2)
    is_first = tl.program_id(0) + tl.program_id(1) + tl.program_id(2) == 0
    share = tl.where(is_first, _TOP - (programs - 1), 1).to(tl.int32)
    before = tl.atomic_add(arrivals, share, sem="release", scope="gpu")
    now = tl.atomic_add(arrivals, 0, sem="acquire", scope="gpu")  # which compiles to a load
    while (now ^ before) >= 0:
        now = tl.atomic_add(arrivals, 0, sem="acquire", scope="gpu")
    tl.debug_barrier()


def arrivals_for(array):
    """The counter that a launch with `array` on the current stream gives to `grid_barrier`."""
    if isinstance(array, np.ndarray):
        return np.zeros(1, np.int32)
    from tritorch.runtime.cuda.stream import current_stream

    stream = current_stream(array.device.index)
    found = _counters.get(stream)
    if found is None:
        found = _counters[stream] = transfer.from_host(np.zeros(1, np.int32), Device("cuda", array.device.index))
    return found
