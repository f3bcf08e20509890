"""Which config a launch gets, from where, and that it costs nothing where nobody tuned anything."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest

from tritorch.autotune import (
    DeviceInfo,
    Space,
    choices,
    device,
    kernel,
    lookup,
    pin_config,
    powers,
    tables,
    unpin_configs,
)
from tritorch.autotune import store as storing
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.lookup import BUNDLED, CACHED, EXPLICIT, FORMULA, PINNED
from tritorch.autotune.store import Store
from tritorch.autotune.tables import Row, Table, write_table
from tritorch.autotune.trial import LAUNCH, Entry, Timing, Trial
from tritorch.autotune.tunable import forget_all_configs, pretending, set_answer, using
from tritorch.runtime import device as devices
from tritorch.runtime import tl

GPU = DeviceInfo("cuda", 132, 232448, 90, "A GPU")


@kernel(
    space=Space(BLOCK=powers(16, 256), num_warps=choices(1, 2, 4), where=lambda BLOCK, n: n >= BLOCK),
    default=lambda device, *, n: {"BLOCK": 16, "num_warps": 1},
    key=("flag",),
)
def scale(
    x,  # what is doubled: (n,)
    out,  # the results: (n,)
    n,
    flag: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) * 2, mask=i < n)


ARRAYS = (np.zeros(100, np.float32), np.zeros(100, np.float32))
SIZES = {"n": 100, "flag": True}
KEY = scale.key_for(ARRAYS, SIZES)


def config(block, num_warps=4):
    return {"BLOCK": block, "num_warps": num_warps}


def trial(block, seconds=1e-3):
    return Trial(config(block), timing=Timing(seconds, seconds, seconds, 9))


def asked(**sizes):
    return scale.config(ARRAYS, **{**SIZES, **sizes})


def found(key=KEY, on=INTERPRETER, **sizes):
    return lookup.find(scale, key, on, {**SIZES, **sizes})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and nothing remembered."""
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tables, "BUNDLED", tmp_path / "bundled")
    monkeypatch.setattr(lookup, "_state", lookup._State())
    storing.forget_warnings()
    forget_all_configs()
    yield tmp_path
    storing.forget_warnings()
    forget_all_configs()


def save(*trials, key=KEY, on=INTERPRETER):
    Store().save(environment_of(on), Entry(key, list(trials)))
    lookup.forget()


def write(path, *rows, on=INTERPRETER, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [Row(key, values, 1e-3, 2e-3) for key, values in rows]
    write_table(path, [Table(replace(environment_of(on), **changes), tuple(rows))])
    lookup.forget()
    return path


def test_sources_in_order(cache, monkeypatch):
    """Explicit, pinned, the user's cache, bundled, the formula: each is put under the one that counts more."""
    assert found() == (config(16, 1), FORMULA, None, "")
    bundled = write(cache / "bundled" / "a-gpu.json", (KEY, config(32)))
    assert found() == (config(32), BUNDLED, KEY, str(bundled)) and asked() == config(32)
    save(trial(64))
    assert found() == (config(64), CACHED, KEY, str(Store().path(environment_of(INTERPRETER), KEY)))
    carried = write(cache / "elsewhere" / "table.json", (KEY, config(16, 2)))
    assert found().source == CACHED
    copy = tables.pin(carried)
    lookup.forget()
    assert found() == (config(16, 2), PINNED, KEY, str(copy)) and copy.parent == tables.pinned_folder()
    monkeypatch.setenv("TRITORCH_AUTOTUNE_TABLE", str(write(cache / "named.json", (KEY, config(32, 2)))))
    assert found()[:2] == (config(32, 2), PINNED)
    pin_config(scale, config(32, 1), flag=True)
    assert found()[:2] == (config(32, 1), EXPLICIT) and asked() == config(32, 1)
    assert found(flag=False).source == PINNED  # the key is the same here, so that the pin alone decides
    with using(scale, KEY, config(64, 1)):
        assert asked() == config(64, 1)
    unpin_configs(scale.kernel_name)
    assert asked() == config(32, 2)


def test_modes(monkeypatch):
    save(trial(64))
    monkeypatch.setenv("TRITORCH_AUTOTUNE", "0")
    assert found().source == FORMULA and asked() == config(16, 1)
    pin_config(scale, config(32))
    assert asked() == config(32)
    monkeypatch.setenv("TRITORCH_AUTOTUNE", "yes")
    forget_all_configs()
    with pytest.raises(ValueError, match=r"TRITORCH_AUTOTUNE is 'yes'; it takes 0 .* cached .* or 1"):
        lookup.mode()
    for chosen in ("1", "cached", ""):
        monkeypatch.setenv("TRITORCH_AUTOTUNE", chosen)
        assert found().source == EXPLICIT and lookup.mode() == (chosen or "cached")


def test_a_config_has_to_fit_the_sizes_at_hand():
    """Sizes of one bucket share a key, conditions look at the exact size."""
    save(trial(128, 1e-3), trial(64, 2e-3), trial(32, 3e-3))
    key = scale.key_for(ARRAYS, {"n": 127, "flag": True})
    assert key == scale.key_for(ARRAYS, {"n": 100, "flag": True})
    assert [each.config["BLOCK"] for each in lookup.answers(scale, KEY, INTERPRETER, {"n": 127, "flag": True})] == [
        64, 32, 16
    ]  # fmt: skip
    assert lookup.find(scale, KEY, INTERPRETER, {"n": 128, "flag": True}).config == config(128)
    assert lookup.find(scale, KEY, INTERPRETER, {"n": 20, "flag": True}) == (config(16, 1), FORMULA, None, "")


def test_a_default_that_won_is_found_whatever_the_space_says():
    save(replace(trial(16), config=config(16, 1)))
    assert found()[:2] == (config(16, 1), CACHED)
    assert lookup.find(scale, KEY, INTERPRETER, {"n": 3, "flag": True}).source == CACHED


def test_a_config_timed_another_way_beats_none():
    save(trial(64), key=KEY.with_policy("graph"))
    assert found()[:3] == (config(64), CACHED, KEY.with_policy("graph"))
    save(trial(32))
    assert found()[:3] == (config(32), CACHED, KEY)


def test_an_old_config_outside_of_the_space_is_passed_over():
    save(replace(trial(64), config={"BLOCK": 512, "num_warps": 4}), trial(32, 5e-3))
    assert found().config == config(32)
    save(replace(trial(64), config={"TILE": 64}), key=KEY.with_policy("graph"))
    assert found(KEY.with_policy("graph")).config == config(32)


@pytest.mark.parametrize(
    "change",
    [
        {"driver": "600.1"},
        {"device": "Another GPU"},
        {"capability": 100},
        {"sms": 114},
        {"triton": "99.1.0"},
        {"flags": "other"},
        {"determinism": "none"},
        {"source": "ffffffffffff"},
        {"arrays": ("float16", "float32")},
        {"facts": (("flag", "False"),)},
    ],
    ids=str,
)
def test_what_was_found_elsewhere_is_a_miss(cache, monkeypatch, change):
    """Fault 36, in the user's cache and, but for the driver, in tables."""
    monkeypatch.setattr(device, "_driver_version", lambda: "580.2")
    device._environment.cache_clear()
    environment = environment_of(GPU)
    in_key = next(iter(change)) in ("source", "arrays", "facts")
    key = replace(KEY, **change) if in_key else KEY
    elsewhere = environment if in_key else replace(environment, **change)
    Store().save(elsewhere, Entry(key, [trial(64)]))
    lookup.forget()
    assert found(on=GPU).source == FORMULA
    lookup.forget()
    assert found(on=GPU).source == FORMULA
    write(cache / "bundled" / "table.json", (key, config(64)), on=GPU, **({} if in_key else change))
    assert found(on=GPU).source == (BUNDLED if "driver" in change else FORMULA)
    save(trial(32), on=GPU)
    assert found(on=GPU)[:2] == (config(32), CACHED)


def test_a_newer_patch_of_triton_takes_a_table(cache):
    own = environment_of(INTERPRETER).triton
    write(cache / "bundled" / "table.json", (KEY, config(64)), triton=".".join(own.split(".")[:2]) + ".77")
    assert found().source == BUNDLED


def test_what_is_known_to_fail_is_passed_over(cache):
    write(cache / "bundled" / "table.json", (KEY, config(64)))
    save(trial(64), trial(32, 2e-3), trial(16, 3e-3))
    lookup.drop(KEY, INTERPRETER, config(64), "it needs too much")
    assert found()[:2] == (config(32), CACHED)
    kept = Store().load(environment_of(INTERPRETER), KEY)
    assert (kept.find(config(64)).state, kept.find(config(64)).cause) == (LAUNCH, "it needs too much")
    allow = lookup.pass_over(scale, KEY.with_policy("graph"), config(32))
    assert asked() == config(16)
    allow()
    assert asked() == config(32)
    lookup.drop(KEY, INTERPRETER, config(32), "nor this")
    lookup.drop(KEY, INTERPRETER, config(16), "nor that")
    assert found().source == FORMULA  # the bundled table's winner is known to fail, too


def test_pins_are_checked():
    with pytest.raises(ValueError, match="BLOCK is 17"):
        pin_config(scale, config(17))
    with pytest.raises(ValueError, match="no size or fact named 'm'; it has n, flag"):
        pin_config(scale, config(32), m=3)
    with pytest.raises(ValueError, match="breaks a condition"):
        pin_config(scale, config(32), n=20)
    with pytest.raises(ValueError, match="no kernel named 'scale'"):
        pin_config("scale", config(32))
    pin_config(scale, config(64))
    assert asked(n=30) == config(16, 1)  # where it does not fit


def test_a_broken_store_raises_into_no_launch(cache):
    save(trial(64))
    path = Store().path(environment_of(INTERPRETER), KEY)
    path.write_text("{")
    with pytest.warns(RuntimeWarning, match=str(path)) as warned:
        for _ in range(3):
            lookup.forget()
            assert asked() == config(16, 1)
    assert len(warned) == 1
    (cache / "autotune" / "pinned").mkdir()
    (cache / "autotune" / "pinned" / "broken.json").write_text("[]")
    with pytest.warns(RuntimeWarning, match="broken.json is no tuning table"):
        lookup.forget()
        assert asked() == config(16, 1)


def test_a_missing_named_table_is_a_warning(monkeypatch):
    monkeypatch.setenv("TRITORCH_AUTOTUNE_TABLE", "/no/such/table.json")
    with pytest.warns(RuntimeWarning, match="/no/such/table.json: No such file"):
        assert asked() == config(16, 1)


def test_a_table_with_a_value_of_no_knob_is_a_warning(cache):
    write(cache / "bundled" / "table.json", (KEY, config(64, 64)))
    with pytest.warns(RuntimeWarning, match=r"table.json: .*num_warps is 64, which is none of \(1, 2, 4\)"):
        assert asked() == config(16, 1)


@pytest.fixture
def touched(monkeypatch):
    """The files and folders that are opened or listed."""
    seen = []
    for module, name in ((os, "listdir"), (os, "scandir"), (os, "stat"), (storing, "open")):
        real = getattr(module, name, open)
        monkeypatch.setattr(
            module, name, lambda path, *rest, real=real, **named: seen.append(str(path)) or real(path, *rest, **named),
            raising=False,
        )  # fmt: skip
    return seen


def test_without_a_store_launches_look_once_and_make_no_key(cache, touched, monkeypatch):
    monkeypatch.setattr(scale, "key_for", lambda *rest: pytest.fail("a key costs milliseconds"))
    assert asked() == config(16, 1)
    looked = [each for each in touched if str(cache) in each]
    assert len(looked) <= 4  # the folders of the environment, of pinned and of bundled tables
    touched.clear()
    for n in range(1, 200):
        asked(n=n)
    assert touched == []
    assert not list(cache.iterdir())


def test_a_key_that_has_no_file_costs_no_look_at_the_disk(touched):
    save(trial(64))
    asked()
    touched.clear()
    assert asked(n=1000) == config(16, 1)  # of another key, and not known before
    assert touched == []


def test_a_config_that_is_known_touches_no_file(cache, touched):
    save(trial(64))
    assert asked() == config(64)
    assert any("scale-" in each for each in touched)
    touched.clear()
    assert all(asked() == config(64) for _ in range(100))
    assert touched == []


class OnGpu:
    """What an array on a GPU shows to `config`."""

    __slots__ = ("code", "device", "dtype", "pointer")

    def __init__(self, pointer=64):
        self.device, self.code, self.pointer, self.dtype = devices.CPU, 3, pointer, np.dtype(np.float32)


def test_the_hot_path_asks_nobody_and_is_fast():
    """benchmarks/config.py measures it; here only that nothing slow crept in, on a busy machine either."""
    asked_for = []
    before = set_answer(lambda kernel, key, device, known: asked_for.append(known) or config(64))
    array, other, ask = OnGpu(), OnGpu(68), scale.config
    try:
        with pretending(GPU):
            for arrays in ((array, array), (array, other), (array, None), (array, array, other), (array,)):
                assert ask(arrays, n=100, flag=True) == ask(arrays, n=100, flag=True) == config(64)
            assert len(asked_for) == 5  # each once, whatever the number of arrays
            ask((array, array), n=100, flag=True)
            start = time.thread_time()
            for _ in range(1000):
                ask((array, array), n=100, flag=True)
            assert time.thread_time() - start < 0.003  # three times what is aimed at
            assert len(asked_for) == 5
    finally:
        set_answer(before)
