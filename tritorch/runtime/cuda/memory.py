"""Device memory: a free list over the driver's stream-ordered pool.

A block belongs to the stream it was allocated on. When its owner is collected it goes back to a free list of that
stream and may be handed out at once: work on one stream runs in order, so the new owner's kernels come after the old
one's. A block that other streams used as well waits for an event on each of them.

Collection may happen anywhere, in any thread and at interpreter shutdown, so it takes no lock and only appends, to the
free list or to a queue of what has to wait. An allocation that a free list serves takes none either: it pops. What both
did is in the order of a log, from which the statistics are counted when somebody asks or the log is long.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from itertools import accumulate

from tritorch.runtime.cuda import driver
from tritorch.runtime.cuda.stream import Event

GRANULE = 512  # bytes; what an owner is charged for is a multiple of it
MEBIBYTE = 1 << 20
_LONGEST_LOG = 8192
_new = object.__new__


class OutOfMemoryError(RuntimeError):
    """The device has no memory left for an allocation, even after all cached blocks were given back."""


class PoolExhausted(Exception):
    """A pool of the driver cannot serve a request; the allocator answers with a trim and one retry."""


class DriverPool:
    """The memory pool of one GPU, and what the allocator asks of the driver. Tests put a pretended one in its place."""

    def __init__(self, device_index):
        self.device_index = device_index

    def allocate(self, nbytes, stream):
        api = self._ready()
        status, pointer = api.cuMemAllocAsync(nbytes, stream.handle)
        if int(status) == driver.OUT_OF_MEMORY:
            raise PoolExhausted
        if status:
            raise driver.error(status, "cuMemAllocAsync")
        return int(pointer)

    def free(self, pointer, stream):
        driver.call(self._ready().cuMemFreeAsync, pointer, stream.handle)

    def synchronize(self):
        driver.call(self._ready().cuCtxSynchronize)

    def trim(self):
        """Give what was freed back to the operating system; only after a synchronize is all of it free."""
        api = self._ready()
        driver.call(api.cuMemPoolTrimTo, driver.call(api.cuDeviceGetMemPool, self.device_index), 0)

    def information(self):
        """(free, total) bytes of the GPU, all processes together."""
        return tuple(map(int, driver.call(self._ready().cuMemGetInfo)))

    def record(self, stream):
        """An event at the end of `stream`."""
        return stream.record_event(Event())

    def _ready(self):
        driver.activate(self.device_index)
        return driver.api()


class Chunk:
    """A piece of device memory got from the driver; goes from owner to owner through the free list that is its home.

    nbytes         what its owner is charged
    log            where that is noted when the owner is collected
    other_streams  which streams its owner used it on, besides its own
    returned       where an owner that is collected leaves it, if other streams used it
    """

    __slots__ = ("capacity", "home", "log", "nbytes", "other_streams", "pointer", "returned", "stream")

    def __init__(self, pointer, capacity, stream, home, log, returned):
        self.pointer, self.capacity, self.stream = pointer, capacity, stream
        self.home, self.log, self.returned = home, log, returned
        self.nbytes, self.other_streams = 0, ()


class Block:
    """One owner's hold on a chunk: views share it, and when the last of them is collected the chunk returns."""

    __slots__ = ("chunk", "pointer")

    def __del__(self):
        chunk = self.chunk
        chunk.log(-chunk.nbytes)
        if chunk.other_streams:
            chunk.returned(chunk)
        else:
            chunk.home.append(chunk)

    nbytes = property(lambda self: self.chunk.nbytes, doc="What the owner is charged.")
    stream = property(lambda self: self.chunk.stream, doc="The stream it was allocated on.")
    other_streams = property(lambda self: self.chunk.other_streams, doc="Other streams that use it.")

    def record_stream(self, stream):
        """Note that work on `stream` uses this block, so that it is not reused before that work is done."""
        chunk = self.chunk
        if stream is not chunk.stream and stream not in chunk.other_streams:
            chunk.other_streams = (*chunk.other_streams, stream)


def charged_bytes(nbytes):
    """What an owner of `nbytes` is charged: the next multiple of 512."""
    return -(-nbytes // GRANULE) * GRANULE


def chunk_capacity(nbytes):
    """The size class that serves `nbytes`: multiples of 512 bytes up to 1 MiB, then eight classes for each doubling.

    So tensors of nearly the same size reuse each other's memory, and at most an eighth of a chunk lies idle.
    """
    charged = charged_bytes(nbytes)
    if charged <= MEBIBYTE:
        return charged
    step = 1 << ((charged - 1).bit_length() - 4)
    return -(-charged // step) * step


class Allocator:
    """Memory of one GPU: free lists by (stream, capacity), and statistics."""

    def __init__(self, pool, device_index=0):
        self.pool, self.device_index = pool, device_index
        self._lock = threading.Lock()  # never taken by collection, which may interrupt its holder
        self._log: list = []  # bytes that owners were charged, negative when they were collected
        self._returned: deque = deque()
        self._waiting: list = []  # (chunk, events of other streams that used it)
        self._free: dict = {}
        self.allocated = self.reserved = self.peak_allocated = self.peak_reserved = 0
        self.owners = self.allocations = self.driver_allocations = self.retries = self.failures = 0
        self._capture: tuple | None = None  # (stream that captures, stream to get memory from, blocks that are kept)
        self.scratch: dict = {}  # stream -> the block that its launches share, see `scratch_of`

    def allocate(self, nbytes, stream):
        """A block of at least `nbytes` for work on `stream`, from the free list or the driver."""
        return self.take(charged_bytes(nbytes), chunk_capacity(nbytes), stream)

    def take(self, charged, capacity, stream):
        """What `allocate` does, for `charged_bytes` and a `chunk_capacity` that the caller has worked out."""
        chunks = self._free.get((stream, capacity))
        try:
            chunk = chunks.pop() if chunks else self._obtain(capacity, charged, stream)
        except IndexError:  # another thread took the last one
            chunk = self._obtain(capacity, charged, stream)
        chunk.nbytes = charged
        block = _new(Block)
        block.chunk, block.pointer = chunk, chunk.pointer
        self._log.append(charged)
        if len(self._log) > _LONGEST_LOG:
            with self._lock:
                self._count()
        if self._capture is not None:
            self.keep(stream, block)
        return block

    def scratch_of(self, nbytes, stream):
        """A block of at least `nbytes` for what a launch on `stream` keeps to itself while it runs.

        Launches of one stream run one after the other, so they share it. Whoever launches holds the block until then.
        """
        block = self.scratch.get(stream)
        if block is None or block.chunk.nbytes < nbytes:
            block = self.scratch[stream] = self.allocate(nbytes, stream)
        return block

    @contextmanager
    def capturing(self, stream, beside):
        """While `stream` captures, let what it needs come from `beside`, and keep all of it in the list this gives.

        Memory got from the driver on `stream` would be a part of the graph, and exist only while the graph runs. Its
        launches get scratch of their own, since it must live as long as the graph.
        """
        kept: list = []
        before = self.scratch.pop(stream, None)
        self._capture = stream, beside, kept
        try:
            yield kept
        finally:
            self._capture = None
            self.scratch.pop(stream, None)
            if before is not None:
                self.scratch[stream] = before

    def captures(self, stream):
        """Whether `stream` captures now."""
        return self._capture is not None and self._capture[0] is stream

    def keep(self, stream, owner):
        """Let the graph that `stream` captures keep something that its replays use; False where it captures none."""
        if not self.captures(stream):
            return False
        self._capture[2].append(owner)
        return True

    def _obtain(self, capacity, nbytes, stream):
        """A chunk where the free list had none: one that waited for other streams, or a new one."""
        with self._lock:
            self._collect()
            chunks = self._free.get((stream, capacity))
            try:
                return chunks.pop() if chunks else self._grow(capacity, nbytes, stream)
            except IndexError:
                return self._grow(capacity, nbytes, stream)

    def _count(self):
        """Bring the statistics up to what the log says; its events are in the order in which they happened."""
        events = self._log[:]
        del self._log[: len(events)]  # others may have been appended meanwhile
        totals = list(accumulate(events, initial=self.allocated))
        taken = len([each for each in events if each > 0])
        self.allocated, self.peak_allocated = totals[-1], max(self.peak_allocated, max(totals))
        self.allocations += taken
        self.owners += 2 * taken - len(events)

    def _collect(self):
        """Let what owners gave back wait for the other streams that used it, and sort what need not into free lists."""
        returned = self._returned
        while returned:
            chunk = returned.popleft()
            # Recorded now, later than the use, which is safe: the event covers all that is queued up to here.
            self._waiting.append((chunk, [self.pool.record(stream) for stream in chunk.other_streams]))
            chunk.other_streams = ()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for chunk, events in waiting:
                if all(event.query() for event in events):
                    chunk.home.append(chunk)
                else:
                    self._waiting.append((chunk, events))

    def _grow(self, capacity, nbytes, stream):
        """A new chunk from the driver; where it has none, all cached ones are given back and it is asked once more."""
        if self.captures(stream):
            return self._beside(capacity, nbytes, stream)
        try:
            pointer = self.pool.allocate(capacity, stream)
        except PoolExhausted:
            self.retries += 1
            self._release_cached()
            try:
                pointer = self.pool.allocate(capacity, stream)
            except PoolExhausted:
                self.failures += 1
                raise OutOfMemoryError(self._out_of_memory(nbytes)) from None
        return self._grown(pointer, capacity, stream)

    def _beside(self, capacity, nbytes, stream):
        """A new chunk while `stream` captures: there at once, and without a retry, which would have to synchronise."""
        other = self._capture[1]
        try:
            pointer = self.pool.allocate(capacity, other)
        except PoolExhausted:
            self.failures += 1
            raise OutOfMemoryError(self._out_of_memory(nbytes)) from None
        other.synchronize()
        return self._grown(pointer, capacity, stream)

    def _grown(self, pointer, capacity, stream):
        self.reserved += capacity
        self.driver_allocations += 1
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        home = self._free.setdefault((stream, capacity), [])
        return Chunk(pointer, capacity, stream, home, self._log.append, self._returned.append)

    def _release_cached(self):
        self.scratch.clear()
        self.pool.synchronize()
        self._collect()  # after the synchronize no chunk has to wait any more
        for chunks in self._free.values():  # the lists stay: chunks that are out return to them
            while chunks:
                chunk = chunks.pop()
                self.pool.free(chunk.pointer, chunk.stream)
                self.reserved -= chunk.capacity
        self.pool.synchronize()
        self.pool.trim()

    def empty_cache(self):
        """Give every cached chunk back to the driver, so that other programs can have the memory."""
        with self._lock:
            self._release_cached()

    def reset_peaks(self):
        """Make the current use the highest seen so far."""
        with self._lock:
            self._count()
            self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def statistics(self):
        """The counters by name, as PyTorch's `memory_stats` names them."""
        with self._lock:
            self._count()
            return {
                "allocated_bytes.all.current": self.allocated,
                "allocated_bytes.all.peak": self.peak_allocated,
                "reserved_bytes.all.current": self.reserved,
                "reserved_bytes.all.peak": self.peak_reserved,
                "allocation.all.current": self.owners,
                "allocation.all.allocated": self.allocations,
                "allocation.all.freed": self.allocations - self.owners,
                "segment.all.allocated": self.driver_allocations,
                "num_alloc_retries": self.retries,
                "num_ooms": self.failures,
            }

    def _out_of_memory(self, nbytes):
        self._count()
        free, total = map(format_size, self.pool.information())
        held, idle = format_size(self.allocated), format_size(self.reserved - self.allocated)
        return (
            f"CUDA out of memory. Tried to allocate {format_size(nbytes)}. GPU {self.device_index} has a total "
            f"capacity of {total} of which {free} is free. Of the allocated memory {held} is allocated by tritorch, "
            f"and {idle} is reserved by tritorch but unallocated."
        )


def format_size(nbytes):
    """`nbytes` for people, such as "2.50 GiB"."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if nbytes >= 1024**power:
            return f"{nbytes / 1024**power:.2f} {unit}"
    return f"{nbytes} bytes"


_allocators: dict = {}


def allocator(device=None):
    """The allocator of a GPU."""
    index = driver.index_of(device)
    found = _allocators.get(index)
    if found is None:
        driver.require(index)
        found = _allocators.setdefault(index, Allocator(DriverPool(index), index))
    return found


def memory_stats(device=None):
    """The allocator's counters by name; all zero, without touching the GPU, before anything was allocated."""
    index = driver.index_of(device)
    return _allocators[index].statistics() if index in _allocators else Allocator(None, index).statistics()


def memory_allocated(device=None):
    """Bytes that tensors hold on a GPU."""
    return memory_stats(device)["allocated_bytes.all.current"]


def max_memory_allocated(device=None):
    """The most bytes that tensors held at once, since the start or `reset_peak_memory_stats`."""
    return memory_stats(device)["allocated_bytes.all.peak"]


def memory_reserved(device=None):
    """Bytes got from the driver, held by tensors or cached for the next ones."""
    return memory_stats(device)["reserved_bytes.all.current"]


def max_memory_reserved(device=None):
    """The most bytes got from the driver at once, since the start or `reset_peak_memory_stats`."""
    return memory_stats(device)["reserved_bytes.all.peak"]


def reset_peak_memory_stats(device=None):
    """Make the current use the highest seen so far."""
    index = driver.index_of(device)
    if index in _allocators:
        _allocators[index].reset_peaks()


def empty_cache():
    """Give all cached memory of all GPUs back to the driver."""
    for each in list(_allocators.values()):
        each.empty_cache()


def mem_get_info(device=None):
    """(free, total) bytes of a GPU, all programs together."""
    return allocator(device).pool.information()


def memory_summary(device=None):
    """A small table of what a GPU's memory is used for, as text."""
    numbers = memory_stats(device)
    rows = [f"tritorch CUDA memory, device {driver.index_of(device)}", f"{'':12}{'current':>14}{'peak':>14}"]
    for name in ("allocated", "reserved"):
        current, peak = (format_size(numbers[f"{name}_bytes.all.{which}"]) for which in ("current", "peak"))
        rows.append(f"{name:12}{current:>14}{peak:>14}")
    rows.append(
        f"{numbers['allocation.all.current']} blocks in use, {numbers['allocation.all.allocated']} handed out, "
        f"{numbers['segment.all.allocated']} from the driver, {numbers['num_alloc_retries']} retries, "
        f"{numbers['num_ooms']} times out of memory"
    )
    return "\n".join(rows)
