"""`check --compile-only` compiles every config of a user's kernel for GPUs that are not there."""

from __future__ import annotations

import pytest

from tritorch.cli.main import FAILED, main
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

FILE = """
import numpy as np
from tritorch import autotune
from tritorch.runtime import tl


@autotune.kernel(
    space={"SIDE": (16, 32, 128), "num_warps": (4, 64), "num_stages": (2, 4)}, key=("K",), grid=(1,),
    default=lambda device, K: {"SIDE": 16, "num_warps": 4, "num_stages": 2},
    inputs=lambda draw, K=512: (draw(256, K), draw(K, 256), np.empty((256, 256), draw.dtype), K),
    reference=lambda a, b: {"out": a @ b},
)
def product(a, b, out, K, SIDE: tl.constexpr):
    tl.static_assert(SIDE != 32, "not this one")
    at = tl.arange(0, SIDE)
    total = tl.zeros([SIDE, SIDE], tl.float32)
    for k in range(0, K, 64):
        inner = k + tl.arange(0, 64)
        x, y = tl.load(a + at[:, None] * K + inner[None, :]), tl.load(b + inner[:, None] * 256 + at[None, :])
        total = tl.dot(x, y, total, input_precision="tf32")
    tl.store(out + at[:, None] * 256 + at[None, :], total)
"""


def test_configs_that_do_not_fit_are_named_with_what_they_lack(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITORCH_NAMED_KERNEL_FILES", raising=False)
    (tmp_path / "products.py").write_text(FILE)
    place = f"{tmp_path / 'products.py'}:product"
    assert main(["autotune", "check", place, "--compile-only", "--arch", "sm_80", "--jobs", "2"]) == FAILED
    out = capsys.readouterr().out
    assert "12 configs, 3 fit, 7 do not fit, 2 do not compile" in out
    assert "SIDE=32 num_warps=4 num_stages=2: compile: " in out and "not this one" in out
    assert "SIDE=16 num_warps=64 num_stages=2: resources: 2048 threads, a block has at most 1024" in out
    assert "SIDE=128 num_warps=4 num_stages=4: resources: needs " in out
    assert "bytes of shared memory, a block of sm_80 has 166912" in out
    assert "SIDE=16 num_warps=4" not in out  # what fits
