"""Tuned configs on device="cuda": the compiler refuses one, the driver another, and the call ends well (fault 37)."""

from __future__ import annotations

import bridge
import numpy as np
import pytest

import tritorch
from tritorch.autotune import Space, choices, kernel, lookup
from tritorch.autotune.device import cuda_info, environment_of
from tritorch.autotune.store import Store
from tritorch.autotune.trial import COMPILE, LAUNCH, Entry, Timing, Trial
from tritorch.autotune.tunable import forget_all_configs
from tritorch.ops.base import TABLE, Op
from tritorch.ops.layout import empty_like
from tritorch.runtime.cuda import driver
from tritorch.runtime.language import tl, triton_missing
from tritorch.runtime.launcher import set_launch_hook

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

OUT_OF_RESOURCES = 701  # what the driver says of a launch with too many registers


@kernel(space=Space(BLOCK=choices(16, 32, 48, 64)), default=lambda device, *, n: {"BLOCK": 16})
def add_one(
    x,  # what is raised by one: (n,)
    out,  # the results: (n,)
    n,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) + 1, mask=i < n)


@pytest.fixture
def raised():
    """An op of one launch."""

    class Raised(Op):
        """x + 1."""

        op_name = "test_raised"

        @staticmethod
        def reference(x):
            return x + 1

        def forward(self, x):
            """One launch."""
            out = empty_like(x)
            config = add_one.config((x, out), n=x.size)
            add_one[(-(-x.size // config["BLOCK"]),)](x, out, x.size, **config)
            return out

        @staticmethod
        def samples(draw):
            yield (draw(5),)

    yield Raised
    del TABLE["test_raised"]


@pytest.fixture
def refusing(stub):
    """Launches with 64 elements a program are refused as the driver does; others are interpreted."""

    def launch(kernel, grid, args, constants, options):
        if constants.get("BLOCK") == 64:
            raise driver.error(driver.api().CUresult(OUT_OF_RESOURCES), "cuLaunchKernelEx")
        bridge.interpret_launch(kernel, grid, args, constants, options)

    before = set_launch_hook(launch)
    yield
    set_launch_hook(before)


def test_refused_configs_are_dropped(raised, refusing, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path))
    forget_all_configs()
    x = tritorch.arange(100, dtype=tritorch.float32, device="cuda")
    key, environment = add_one.key_for((x.array, x.array), {"n": 100}), environment_of(cuda_info(0))
    trials = [Trial({"BLOCK": each}, timing=Timing(at, at, at, 9)) for at, each in enumerate((48, 64, 32), 1)]
    Store().save(environment, Entry(key, trials))
    lookup.forget()
    with pytest.warns(RuntimeWarning, match=r"add_one failed with .* it is dropped") as warned:
        result = raised.apply(x)
    np.testing.assert_array_equal(result.numpy(), np.arange(100) + 1)
    assert len(warned) == 2
    entry = Store().load(environment, key)
    assert [entry.find({"BLOCK": each}).state for each in (48, 64)] == [COMPILE, LAUNCH]
    assert "LAUNCH_OUT_OF_RESOURCES" in entry.find({"BLOCK": 64}).cause
    assert entry.best().config == {"BLOCK": 32}
    np.testing.assert_array_equal(raised.apply(x).numpy(), np.arange(100) + 1)


def test_a_failed_launch_is_told_by_its_error(refusing):
    x = tritorch.arange(100, dtype=tritorch.float32, device="cuda").array
    with pytest.raises(driver.CudaError) as failed:
        add_one[(2,)](x, x, 100, BLOCK=64)
    launch = failed.value.failed_launch
    assert launch.kernel is add_one and launch.grid == (2,) and launch.args == (x, x, 100, 64)
