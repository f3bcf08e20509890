"""Rows that go to one place: runs of any length, over any number of chunks, onto values or onto nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.autotune.tunable import noting_configs, using
from tritorch.ops.base import TABLE
from tritorch.ops.index import runs
from tritorch.ops.index.segments import accumulate
from tritorch.ops.reduction.family import add
from tritorch.ops.reduction.prod import multiply
from tritorch.ops.reduction.select_kernel import larger
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

COUNT, BOUND = 300, 40
NUMBERS = {
    "all different": np.arange(COUNT) % 256,
    "one for all": np.zeros(COUNT, int),
    "half are one": np.where(np.arange(COUNT) % 2, 7, np.arange(COUNT) % BOUND),
    "long and short": np.repeat([3, 5, 6, 39, 40], [8, 16, 7, 200, 69]),  # the last is none
    "none": np.full(COUNT, BOUND),
}


def with_config(config, call):
    """What `call` gives where the kernel of runs gets this config."""
    with noting_configs() as asked:
        call()
    keys = {one.key for one in asked if one.kernel is runs.run_kernel}
    assert len(keys) == 1
    with using(runs.run_kernel, keys.pop(), config):
        return call()


@pytest.mark.parametrize(("lanes", "width"), [(1, 5), (4, 1)])
@pytest.mark.parametrize("combine", [add, multiply, larger])
@pytest.mark.parametrize("name", NUMBERS)
def test_every_row_counts_once(monkeypatch, name, combine, width, lanes):
    monkeypatch.setattr("tritorch.ops.index.segments.JOINED", 64)  # several tiles of parts for a long run
    numbers, bound = NUMBERS[name], 256 if name == "all different" else BOUND
    draw = np.random.default_rng(1)
    rows, start = draw.choice([-1.0, 1.0, 0.5, 2.0], (COUNT, width)), draw.standard_normal((bound, width))
    ufunc, identity = {add: (np.add, 0), multiply: (np.multiply, 1), larger: (np.maximum, -np.inf)}[combine]
    expected, inside = start.copy(), numbers < bound
    ufunc.at(expected, numbers[inside], rows[inside])

    def call():
        out = start.copy()
        accumulate(out, rows, numbers.astype(np.int32), bound, width, combine=combine, identity=identity)
        return out

    config = {"LANES": lanes, "COLUMNS": 8, "STEPS": 8, "num_warps": 1}
    np.testing.assert_allclose(with_config(config, call), expected, rtol=1e-12)


@pytest.mark.parametrize("name", NUMBERS)
def test_places_without_rows_become_zero(name):
    """The gradient of an embedding, on memory that holds anything; that of the padding is zero too."""
    draw = np.random.default_rng(2)
    numbers, grad = np.minimum(NUMBERS[name], 255), draw.standard_normal((COUNT, 24))
    found = TABLE["embedding_backward"]().forward(grad, numbers, 256, 7)
    np.testing.assert_allclose(
        found, TABLE["embedding_backward"].reference(grad, numbers, 256, 7), rtol=1e-12, atol=1e-13
    )


def test_the_same_bits_at_every_call_and_whatever_else_comes():
    """A place's sum depends on its own rows only through their order."""
    draw = np.random.default_rng(3)
    rows = draw.standard_normal((COUNT, 24)).astype(np.float32)
    numbers = NUMBERS["half are one"]
    first, second = (TABLE["embedding_backward"]().forward(rows, numbers, BOUND, -1) for _ in range(2))
    np.testing.assert_array_equal(first, second)
