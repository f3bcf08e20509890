"""A kernel of a user's own chooses its config by key, dtypes and constants, and takes what the call says."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch
from tritorch import autotune
from tritorch.autotune import Space, cdiv, choices, powers, warps
from tritorch.autotune.tunable import KERNELS, forget_all_configs, noting_configs, set_answer, using
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


def blocks(meta):
    return (cdiv(meta["n"], meta["BLOCK"]),)


def add_inputs(draw, n=1000):
    return draw(n), draw(n), np.empty(n, draw.dtype), n


@autotune.kernel(
    space=Space(BLOCK=powers(64, 1024), num_warps=warps()),
    key=("n",),
    inputs=add_inputs,
    reference=lambda x, y, out, n: {"out": x + y},
    grid=blocks,
)
def add(x, y, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) + tl.load(y + i, mask=i < n), mask=i < n)


@autotune.kernel(
    space=Space(BLOCK=powers(64, 1024), where=lambda BLOCK, DEPTH: BLOCK >= DEPTH),
    default=lambda device, n: {"BLOCK": 128 if n < 500 else 512},
    inputs=add_inputs,
)
def scale(out, xs, bias, n, alpha, BLOCK: tl.constexpr, DEPTH: tl.constexpr, SQUARED: tl.constexpr = False):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(xs[0] + i, mask=i < n) * alpha + DEPTH
    if bias is not None:
        value += tl.load(bias + i, mask=i < n)
    if SQUARED:
        value *= value
    tl.store(out + i, value, mask=i < n)


def test_it_launches_with_the_default_and_with_what_the_call_says():
    x, out = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    with recording_launches() as launches:
        add[blocks](x, x, out, 1000)
        np.testing.assert_array_equal(out, 2 * x)
        add[lambda meta: cdiv(meta["out"].size, meta["BLOCK"])](x, x, out, n=1000, BLOCK=64)
        add[1](x, y=x, out=out, n=1000, BLOCK=1024, num_warps=8, num_stages=2)
    assert [launch.grid for launch in launches] == [(4,), (16,), (1,)]
    assert [launch.keywords for launch in launches] == [
        {"BLOCK": 256, "num_warps": 4},
        {"BLOCK": 64, "num_warps": 4},
        {"BLOCK": 1024, "num_warps": 8, "num_stages": 2},
    ]


def test_a_recorded_launch_can_be_made_again_without_asking():
    x, out = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    with recording_launches(run=False) as launches:
        add[blocks](x, x, out, 1000)
    assert not out.any()
    with noting_configs() as asked:
        for launch in launches:
            launch.kernel[launch.grid](*launch.args, **launch.keywords)
    assert not asked
    np.testing.assert_array_equal(out, 2 * x)


def test_tensors_stand_for_their_arrays():
    with tritorch.device("interpreter"):
        x, out = tritorch.ones(1000), tritorch.zeros(1000)
    add[blocks](x, x, out, 1000)
    scale[1](out, (x, x), None, 1000, 0.5, BLOCK=1024, DEPTH=1)
    assert out.sum().item() == 1500
    scale[1](out, (out,), out, 1000, 2.0, BLOCK=1024, DEPTH=1, SQUARED=True)
    assert out.sum().item() == 5.5**2 * 1000


def asked_by(launch):
    with noting_configs() as asked, recording_launches(run=False):
        launch()
    return [each.key for each in asked]


def test_what_decides_is_in_the_key():
    x, out = np.ones(1000, np.float32), np.ones(1000, np.float32)

    def key(n=1000, alpha=0.5, bias=None, out=out, **constants):
        (found,) = asked_by(lambda: scale[1](out, (x,), bias, n, alpha, **{"DEPTH": 61, **constants}))
        return found

    plain = key()
    assert plain.fields() == plain.fields() | {
        "kernel": f"{__name__}.scale", "array 0": "float32", "array 1": "float32", "array 2": "none",
        "n": "<=1024", "DEPTH": "61", "SQUARED": "False",
    }  # fmt: skip
    assert key(alpha=0.25) == key(n=999) == plain  # neither a number that nobody named nor a size of the same bucket
    changed = [key(n=1030), key(bias=x), key(out=out.astype(np.float16)), key(DEPTH=62), key(SQUARED=True)]
    assert [list(each.differs(plain)) for each in changed] == [["n"], ["array 2"], ["array 0"], ["DEPTH"], ["SQUARED"]]


def test_a_dtype_is_a_constant_like_others():
    x, out = np.ones(1000, np.float32), np.ones(1000, np.float32)
    (found,) = asked_by(lambda: scale[1](out, (x,), None, 1000, 1.0, DEPTH=tl.float16, SQUARED=True))
    assert dict(found.facts)["DEPTH"] == "fp16"


def test_a_kernel_of_tritons_own_kind_is_taken_as_it_is():
    import triton

    def negate(x, out, n, BLOCK: tl.constexpr):
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(out + i, -tl.load(x + i, mask=i < n), mask=i < n)

    plain = triton.jit(negate)
    tuned = autotune.kernel(space={"BLOCK": powers(64, 256)}, key="n", inputs=add_inputs)(plain)
    x, out = np.ones(100, np.float32), np.zeros(100, np.float32)
    tuned[blocks](x, out, 100)
    np.testing.assert_array_equal(out, -x)


def test_the_formula_knows_sizes_and_an_answer_from_elsewhere_wins():
    x, out = np.ones(1000, np.float32), np.zeros(1000, np.float32)
    with recording_launches(run=False) as launches:
        scale[1](out, (x,), None, 100, 1.0, DEPTH=1)
        scale[1](out, (x,), None, 1000, 1.0, DEPTH=1)
        (key,) = asked_by(lambda: add[blocks](x, x, out, 1000))
        with using(add, key, {"BLOCK": 64, "num_warps": 1}):
            add[blocks](x, x, out, 1000)
            add[blocks](x, x, out, 1000, num_warps=2)
    assert [launch.keywords["BLOCK"] for launch in launches] == [128, 512, 256, 64, 64]
    assert launches[-1].keywords["num_warps"] == 2


def test_it_is_known_by_its_module_and_name_and_forgets_when_told():
    assert KERNELS[f"{__name__}.add"] is add
    x, out = np.ones(1000, np.float32), np.zeros(1000, np.float32)
    before = set_answer(lambda kernel, key, device, known: {"BLOCK": 512, "num_warps": 1})
    try:
        with recording_launches(run=False) as launches:
            add[blocks](x, x, out, 1000)
    finally:
        set_answer(before)
    forget_all_configs()
    with recording_launches(run=False, launches=launches):
        add[blocks](x, x, out, 1000)
    assert [launch.grid for launch in launches] == [(2,), (4,)]


SPACE = {"BLOCK": powers(64, 1024)}


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"space": Space(BLOCK_M=choices(1, 2))}, ValueError, "knob 'BLOCK_M', which is none of its parameters"),
        ({"space": SPACE, "key": "m"}, ValueError, r"its key names 'm'; its parameters are x, n, BLOCK"),
        ({"space": SPACE, "key": ("BLOCK",)}, ValueError, "its key names 'BLOCK', which is a knob"),
        ({"space": SPACE, "default": lambda device, m: {}}, ValueError, "its key names 'm'"),
        ({"space": Space(**SPACE, where=lambda BLOK: True)}, ValueError, "looks at 'BLOK', which is no knob"),
        ({"space": Space(**SPACE, where=lambda BLOCK: BLOCK > 256)}, ValueError, "ruled out by a condition on BLOCK"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(settings, error, text):
    with pytest.raises(error, match=text) as found:

        @autotune.kernel(**settings, inputs=add_inputs)
        def unfinished(x, n, BLOCK: tl.constexpr):
            tl.store(x, n)

    assert "kernel unfinished" in str(found.value)


def test_a_space_needs_a_default_or_a_way_to_tune():
    with pytest.raises(TypeError, match="reference= and inputs="):
        autotune.kernel(space=SPACE)
    with pytest.raises(TypeError, match="inputs= without space="):
        autotune.kernel(inputs=add_inputs)


def test_launches_that_cannot_be_understood_say_why():
    x = np.ones(10, np.float32)
    with pytest.raises(TypeError, match="kernel add: missing a required argument: 'n'"):
        add[1](x, x, x)
    with pytest.raises(TypeError, match="kernel scale: missing a required argument: 'DEPTH'"):
        scale[1](x, (x,), None, 10, 1.0)
    with pytest.raises(TypeError, match="kernel add: got an unexpected keyword argument 'BLOK'"):
        add[1](x, x, x, 10, BLOK=3)
    with pytest.raises(TypeError, match="kernel add: argument 'y' is a list; it takes Tensors, arrays, numbers"):
        add[1](x, [1.0], x, 10)
    with pytest.raises(TypeError, match="kernel add: no argument is an array"):
        add[1](1, 2, 3, 10)
