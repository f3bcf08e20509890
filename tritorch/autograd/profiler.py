"""The older form of the profiler: `with torch.autograd.profiler.profile() as found: ...; print(found.table())`."""

from __future__ import annotations

import contextlib

from tritorch.profiler import profile as recording
from tritorch.profiler import record_function as record_function


class profile(recording):
    """What `tritorch.profiler.profile` records, with the table and the averages on the object itself."""

    def __init__(self, enabled=True, *, use_cuda=False, use_device=None, record_shapes=False, with_flops=False,
                 profile_memory=False, with_stack=False, with_modules=False, use_kineto=False,
                 use_cpu=True):  # fmt: skip
        self.enabled = enabled
        super().__init__(record_shapes=record_shapes, profile_memory=profile_memory, with_stack=with_stack)

    def start(self):
        """Begin, unless it was made with `enabled=False`."""
        if self.enabled:
            super().start()

    @property
    def function_events(self):
        """Every span."""
        return self.events()

    def table(self, *args, **kwargs):
        """The table of the averages."""
        return self.key_averages().table(*args, **kwargs)

    def total_average(self):
        """All spans as if of one name."""
        return self.events().total_average()

    @property
    def self_cpu_time_total(self):
        """The time of all spans, each without what ran inside it."""
        return self.events().self_cpu_time_total


@contextlib.contextmanager
def emit_nvtx(enabled=True, record_shapes=False):
    """Taken as PyTorch takes it; nothing is sent to NVTX."""
    yield
