"""What indexing, sorting, pooling and joining launch on a GPU: how often, without a copy, and without waiting."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.ops.base import TABLE
from tritorch.ops.resample.maps import linear
from tritorch.runtime.cuda import array as device
from tritorch.runtime.cuda.graph import Graph
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("compiled_once")


def vast(*shape, dtype=np.float32):
    """An array on the device that nobody has written."""
    return device.empty(shape, np.dtype(dtype))


NUMBERS = (1024, 8)  # of rows
INTEGERS, BYTES = np.dtype(np.int64), np.dtype(np.uint8)
WINDOW = (3, 3), (2, 2), (1, 1), (1, 1)
# What: how many launches, of which op, on which arguments.
CASES = {
    "rows of a table": (1, "embedding", lambda: (vast(50304, 64), vast(*NUMBERS, dtype=INTEGERS), -1, False)),
    # Zeros to mark rows, the marks and numbers, four rounds of sorting, the sums, and what goes on beyond a chunk.
    "its gradient": (
        8, "embedding_backward", lambda: (vast(*NUMBERS, 64), vast(*NUMBERS, dtype=INTEGERS), 50304, 0),
    ),
    "gradient of positions": (
        5, "embedding_backward", lambda: (vast(1024, 64), vast(1024, dtype=INTEGERS), 1024, -1),
    ),
    "a long row": (16, "sort", lambda: (vast(1 << 17), 0, False)),
    "rows of 4096": (8, "sort", lambda: (vast(8, 4096), 1, True)),
    "five of 1000": (1, "topk", lambda: (vast(64, 1000), 1, 5, True)),
    "fifty of a vocabulary": (3, "topk", lambda: (vast(4, 50257), 1, 50, True)),
    "many joined": (1, "cat", lambda: (1, tuple(range(0, 120, 12)), *[vast(4, 12, 7, 7) for _ in range(10)])),
    "stacked": (1, "stack", lambda: (0, *[vast(64, 48) for _ in range(4)])),
    "largest of windows": (1, "max_pool", lambda: (vast(2, 8, 56, 56), *WINDOW, False, True)),
    "interpolated": (1, "resample", lambda: (vast(2, 8, 28, 28), (linear(28, 56, None, False, np.float32),) * 2)),
    "gradient of windows": (
        1, "max_pool_backward", lambda: (vast(2, 8, 28, 28), vast(2, 8, 28, 28, dtype=BYTES), (56, 56), *WINDOW),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_launches(stub, name):
    expected, op, arguments = CASES[name]
    given = arguments()

    def call():
        return TABLE[op]().forward(*given)

    call()  # kernels are loaded, which a stream that captures does not allow
    before = [stub.count(each) for each in ("launches", "copies", "memsets")]
    graph = Graph(call)  # raises where anything waits for the device
    graph.replay()
    after = [stub.count(each) for each in ("launches", "copies", "memsets")]
    assert [late - early for early, late in zip(before, after, strict=True)] == [expected, 0, 0]


def test_no_index_is_kept_where_nobody_asks_for_it():
    kept = TABLE["max_pool"]().forward(vast(2, 8, 56, 56), *WINDOW, False, True)[1]
    assert (kept.dtype, kept.shape) == (BYTES, (2, 8, 28, 28))
