"""`tritorch autotune sweep --compile-only`: candidates compiled for a GPU that is not there, and what they take."""

from __future__ import annotations

import json

import pytest

from tritorch.autotune.search import Search
from tritorch.cli.main import GOOD, NOTHING_VALID, main
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

SWEEP = ["autotune", "sweep", "matmul", "--compile-only", "--arch", "sm_90", "--jobs", "1", "--dtype", "bfloat16"]


def test_candidates_are_compiled_and_what_they_take_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path))
    large = {"BLOCK_M": 256, "BLOCK_N": 256, "BLOCK_K": 128, "GROUP_M": 8, "SPLIT_K": 1, "PIECES": 1, "num_warps": 8,
             "num_stages": 3}  # fmt: skip
    first = Search.first_configs
    monkeypatch.setattr(Search, "first_configs", lambda search: [first(search)[0], large])
    file = tmp_path / "compiled.json"
    assert main([*SWEEP, "--json", str(file)]) == GOOD
    out = capsys.readouterr().out
    assert "resources" in out and "BLOCK_K=128" in out and "bytes of shared memory" in out and "sm_90" in out
    (subject,) = json.loads(file.read_text())["subjects"]
    fitting, failed = sorted(subject["configs"], key=lambda each: each["state"])
    assert fitting["resources"]["registers"] > 0 and fitting["resources"]["shared_memory"] <= 232448
    assert failed["state"] == "resources" and failed["config"] == large and failed["cause"]
    monkeypatch.setattr(Search, "first_configs", lambda search: [large])
    assert main(SWEEP) == NOTHING_VALID
    assert not list(tmp_path.glob("autotune/*"))  # nothing was timed, so there is nothing to keep
