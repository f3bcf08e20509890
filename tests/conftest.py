"""What all tiers share: a known default device, a seed, and the tests' own modules on the path."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "2")
# What somebody tuned on this machine is not to change what tests see, nor tests what they find.
os.environ["TRITORCH_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"tritorch-tests-{os.getpid()}")
for _name in ("TRITORCH_AUTOTUNE", "TRITORCH_AUTOTUNE_TABLE"):
    os.environ.pop(_name, None)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, beside which it works, and nothing remembered; gives the store's folder."""
    from tritorch.autotune import lookup
    from tritorch.autotune.store import forget_warnings

    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    forget_warnings()
    lookup.forget()
    yield tmp_path / "cache" / "autotune"
    forget_warnings()
    lookup.forget()


@pytest.fixture(autouse=True)
def _known_start():
    import tritorch

    tritorch.set_default_device("cpu")
    if hasattr(tritorch, "manual_seed"):
        tritorch.manual_seed(0)
    yield
    tritorch.set_default_device(None)
