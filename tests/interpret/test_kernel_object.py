"""One kernel object: lazy, interpreted on NumPy arrays with a GPU's numbers, and compiled in the same process."""

from __future__ import annotations

import sys
import threading

import ml_dtypes
import numpy as np
import pytest

from tritorch.runtime.compile import Pointer, compile_kernel
from tritorch.runtime.kernel import Kernel, materialise
from tritorch.runtime.language import libdevice, tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

SCALE = tl.constexpr(3)
FLOATS = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]


@Kernel
def helper(x):
    return x * SCALE


@Kernel
def scaled_sum(x, y, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = helper(tl.load(x + i, mask=i < n).to(tl.float32)) + tl.load(y + i, mask=i < n).to(tl.float32)
    tl.store(out + i, total.to(out.dtype.element_ty), mask=i < n)


@Kernel
def mapped(xs, out, n, FORMULA: tl.constexpr, INPUTS: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    values = ()
    for at in tl.static_range(INPUTS):
        values += (tl.load(xs[at] + i, mask=i < n, other=0).to(tl.float32),)
    tl.store(out + i, FORMULA(*values).to(out.dtype.element_ty), mask=i < n)


@Kernel
def strided(x, out, shape, strides, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    row, column = i // shape[1], i % shape[1]
    live = i < shape[0] * shape[1]
    tl.store(out + i, tl.load(x + row * strides[0] + column * strides[1], mask=live), mask=live)


class Formula(Kernel):
    def host_call(self, *args):
        return self.fn(*args)


@Formula
def product(x, y):
    return x * y


@Formula
def difference_of_products(x, y, z):
    return product(x, y) - product(y, z)


def run_sum(dtype, n=1000):
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, n)).astype(dtype)
    out = np.full(n + 8, 7, dtype)
    scaled_sum[(2,)](x, y, out, n, BLOCK=512)
    return x, y, out


@pytest.mark.parametrize("dtype", FLOATS)
def test_arithmetic_rounds_once_to_the_stored_dtype(dtype):
    x, y, out = run_sum(dtype)
    expected = (x.astype(np.float32) * np.float32(3) + y.astype(np.float32)).astype(dtype)
    assert np.array_equal(out[:1000], expected)
    assert (out[1000:] == 7).all(), "wrote behind the end"


def test_interpreting_leaves_the_language_as_it_was():
    materialise()
    import triton.language as real
    from triton.runtime import interpreter as stock
    from triton.runtime.jit import JITFunction

    def state():
        kept = [real, real.core, real.math, real.tensor, JITFunction, stock]
        return [dict(vars(each)) for each in kept], type(stock.interpreter_builder)

    run_sum(np.float32)
    before = state()
    run_sum(ml_dtypes.bfloat16)
    assert state() == before
    assert all(map(real.core.is_builtin, (real.load, real.core.load, real.math.exp, real.tensor.__add__)))
    assert JITFunction.__call__.__module__ == JITFunction.__module__
    assert type(stock.interpreter_builder) is stock.InterpreterBuilder
    assert sys.modules[__name__].tl is real
    assert "interpreter_semantic" not in globals()


def test_compiles_alike_before_and_after_interpreting():
    arguments = (Pointer(np.dtype(np.float32)),) * 3 + (1000,)
    before = compile_kernel(scaled_sum, arguments, {"BLOCK": 512})
    run_sum(np.float32)
    assert compile_kernel(scaled_sum, arguments, {"BLOCK": 512}).hash == before.hash


@pytest.mark.parametrize(("formula", "count"), [(product, 2), (difference_of_products, 3)])
def test_formula_as_constant_gets_a_tuple_of_loaded_values(formula, count):
    xs = tuple(np.random.default_rng(1).standard_normal((count, 300)).astype(np.float32))
    out = np.zeros(300, np.float32)
    mapped[(1,)](xs, out, 300, FORMULA=formula, INPUTS=count, BLOCK=512)
    assert np.array_equal(out, formula(*xs))
    pointers = (Pointer(np.dtype(np.float32)),) * count
    compiled = compile_kernel(
        mapped, (pointers, Pointer(np.dtype(np.float32)), 300), {"FORMULA": formula, "INPUTS": count, "BLOCK": 512}
    )
    assert compiled.asm["cubin"]


def test_formula_called_in_another_thread_while_a_kernel_runs_is_the_host_formula():
    seen = []

    class OnHost(Kernel):
        def host_call(self, *args):
            return "host"

    class Probe(Formula):
        def __call__(self, *args):
            if not seen:
                thread = threading.Thread(target=lambda: seen.append(OnHost(product.fn)(2, 3)))
                thread.start()
                thread.join()
            return super().__call__(*args)

    probe = Probe(product.fn)
    out = np.zeros(4, np.float32)
    mapped[(1,)]((np.ones(4, np.float32),) * 2, out, 4, FORMULA=probe, INPUTS=2, BLOCK=4)
    assert seen == ["host"]
    assert (out == 1).all()


def test_views_go_by_pointer_and_strides():
    x = np.arange(60, dtype=np.int64).reshape(6, 10)[1:5:2, ::-3]
    out = np.zeros(x.size, np.int64)
    strides = tuple(each // x.itemsize for each in x.strides)
    strided[(1,)](x, out, x.shape, strides, BLOCK=8)
    assert np.array_equal(out, x.reshape(-1))


def test_closures_are_constants_of_each_kernel():
    def times(factor):
        factor = tl.constexpr(factor)

        @Kernel
        def kernel(x, BLOCK: tl.constexpr):
            i = tl.arange(0, BLOCK)
            tl.store(x + i, tl.load(x + i) * factor)

        return kernel

    x = np.ones(4, np.int32)
    times(3)[(1,)](x, BLOCK=4)
    times(5)[(1,)](x, BLOCK=4)
    assert (x == 15).all()


@Kernel
def logic(x, y, both, n, flag, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a, b = tl.load(x + i, mask=i < n), tl.load(y + i, mask=i < n)
    result = a & (b == flag)
    tl.store(both + i, result, mask=i < n)


@pytest.mark.parametrize("flag", [True, False])
def test_bool_arrays_and_bool_arguments(flag):
    x, y = np.random.default_rng(2).integers(0, 2, (2, 50)).astype(bool)
    out = np.zeros(51, bool)
    logic[(1,)](x, y, out, 50, flag, BLOCK=64)
    assert np.array_equal(out[:50], x & (y == flag))
    assert not out[50]
    assert set(out.view(np.uint8)) <= {0, 1}
    assert compile_kernel(logic, (Pointer(np.dtype(bool)),) * 3 + (50, flag), {"BLOCK": 64}).asm["cubin"]


@Kernel
def smallest_magnitude(a, b):
    return tl.where(tl.abs(a) < tl.abs(b), a, b)


@Kernel
def best(a, at, b, bt):
    keep = (a > b) | ((a == b) & (at < bt))
    return tl.where(keep, a, b), tl.where(keep, at, bt)


@Kernel
def reductions(x, values, places, N: tl.constexpr, M: tl.constexpr):
    rows, columns = tl.arange(0, N), tl.arange(0, M)
    block = tl.load(x + rows[:, None] * M + columns[None, :])
    tl.store(values + rows, tl.sum(block, 1))
    tl.store(values + N + rows, tl.max(block, 1))
    tl.store(values + 2 * N + rows, tl.min(block, 1))
    tl.store(values + 3 * N + rows, tl.reduce(block, 1, smallest_magnitude))
    where = tl.broadcast_to(columns[None, :], (N, M))
    top, place = tl.reduce((block, where), 1, best)
    tl.store(values + 4 * N + rows, top)
    tl.store(places + rows, place)
    tl.store(places + N + rows, tl.argmax(block, 1))
    tl.store(places + 2 * N + rows, tl.argmin(block, 1))
    tl.store(values + 5 * N, tl.sum(block))


def test_reductions():
    x = np.random.default_rng(3).integers(-50, 50, (8, 16)).astype(np.float32) + np.float32(0.25)
    values, places = np.zeros(41, np.float32), np.zeros(24, np.int32)
    reductions[(1,)](x, values, places, N=8, M=16)
    rows = values[:40].reshape(5, 8)
    assert np.array_equal(rows[0], x.sum(1))
    assert np.array_equal(rows[1], x.max(1))
    assert np.array_equal(rows[2], x.min(1))
    assert np.array_equal(np.abs(rows[3]), np.abs(x).min(1))
    assert np.array_equal(rows[4], x.max(1))
    assert values[40] == x.sum()
    assert np.array_equal(places.reshape(3, 8), [x.argmax(1), x.argmax(1), x.argmin(1)])


@Kernel
def linear(a, b, c, d):
    return a * c, b * c + d


@Kernel
def scans(x, out, N: tl.constexpr, REVERSE: tl.constexpr):
    i = tl.arange(0, N)
    block = tl.load(x + i)
    tl.store(out + i, tl.cumsum(block, 0, reverse=REVERSE))
    half = block * 0 + 0.5
    _, decayed = tl.associative_scan((half, block), 0, linear, reverse=REVERSE)
    tl.store(out + N + i, decayed)


@pytest.mark.parametrize("reverse", [False, True])
def test_scans(reverse):
    x = np.arange(16, dtype=np.float32)
    out = np.zeros(32, np.float32)
    scans[(1,)](x, out, N=16, REVERSE=reverse)
    ordered = x[::-1] if reverse else x
    decayed, carried = [], 0.0
    for each in ordered:
        carried = carried * 0.5 + each
        decayed.append(carried)
    expected = np.array([np.cumsum(ordered), decayed], np.float32)
    assert np.array_equal(out.reshape(2, 16), expected[:, ::-1] if reverse else expected)


@Kernel
def scanned_blocks(x, out, AXIS: tl.constexpr, N: tl.constexpr, M: tl.constexpr):
    at = tl.arange(0, N)[:, None] * M + tl.arange(0, M)[None, :]
    block = tl.load(x + at)
    tl.store(out + at, tl.cumsum(block, AXIS))
    tl.store(out + N * M + at, tl.associative_scan(block, AXIS, smallest_magnitude))


@pytest.mark.parametrize("axis", [0, 1])
def test_scans_of_blocks_go_along_their_axis(axis):
    x = np.random.default_rng(5).permutation(32).astype(np.float32).reshape(4, 8)
    out = np.zeros((2, 4, 8), np.float32)
    scanned_blocks[(1,)](x, out, AXIS=axis, N=4, M=8)
    assert np.array_equal(out, [np.cumsum(x, axis), np.minimum.accumulate(x, axis)])


@Kernel
def matmul(a, b, c, N: tl.constexpr):
    i, j = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    product = tl.dot(tl.load(a + i * N + j), tl.load(b + i * N + j), out_dtype=tl.float32, input_precision="ieee")
    tl.store(c + i * N + j, product)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_dot_accumulates_in_float32(dtype):
    a, b = np.random.default_rng(4).integers(-8, 8, (2, 16, 16)).astype(dtype)
    c = np.zeros((16, 16), np.float32)
    matmul[(1,)](a, b, c, N=16)
    assert np.array_equal(c, a.astype(np.float32) @ b.astype(np.float32))


@Kernel
def narrow(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i).to(out.dtype.element_ty))


def test_rounding_is_to_nearest_even_and_float8_saturates():
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1e30, np.inf, np.nan, -0.0, 3.0e38, 1e-40], np.float32)
    out = np.zeros(8, ml_dtypes.bfloat16)
    narrow[(1,)](x, out, N=8)
    assert out.tobytes() == x.astype(ml_dtypes.bfloat16).tobytes()
    out = np.zeros(8, ml_dtypes.float8_e4m3fn)
    narrow[(1,)](x, out, N=8)
    assert out.astype(np.float32)[2] == 448
    assert np.isnan(out.astype(np.float32)[4])


@Kernel
def device_library(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, libdevice.tanh(tl.load(x + i)))


def test_libdevice():
    x = np.linspace(-2, 2, 8, dtype=np.float32)
    out = np.zeros(8, np.float32)
    device_library[(1,)](x, out, N=8)
    assert np.array_equal(out, np.tanh(x))
    assert compile_kernel(device_library, (Pointer(x.dtype),) * 2, {"N": 8}).asm["cubin"]


@Kernel
def loops(x, out, n, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.load(x + i, mask=i < n, other=0)
    tl.store(out, tl.sum(total, 0))


def test_range_over_an_argument():
    x, out = np.arange(50, dtype=np.float32), np.zeros(1, np.float32)
    loops[(1,)](x, out, 50, BLOCK=16)
    assert out[0] == x.sum()


def test_no_programs_no_launch():
    x = np.zeros(4, np.float32)
    scaled_sum[(0,)](x, x, x, 4, BLOCK=4)
    assert not x.any()


def test_errors_name_the_kernel_and_the_argument():
    @Kernel
    def broken(x, BLOCK: tl.constexpr):
        tl.store(x + tl.arange(0, BLOCK), tl.zeros((BLOCK,), tl.nonsense))

    x = np.zeros(4, np.float32)
    with pytest.raises(RuntimeError, match=r"kernel broken, program \(0, 0, 0\) of grid \(1, 1, 1\): AttributeError"):
        broken[(1,)](x, BLOCK=4)
    with pytest.raises(TypeError, match=r"kernel scaled_sum: argument 'n': takes arrays, .* got numpy.int64"):
        scaled_sum[(1,)](x, x, x, np.int64(4), BLOCK=4)
    with pytest.raises(TypeError, match=r"scaled_sum\(\) missing 1 required positional argument: 'BLOCK'"):
        scaled_sum[(1,)](x, x, x, 4)
    with pytest.raises(TypeError, match="num_warp"):
        scaled_sum[(1,)](x, x, x, 4, BLOCK=4, num_warp=8)
    with pytest.raises(TypeError, match=r"kernel scaled_sum cannot be called outside of kernels"):
        scaled_sum(x, x, x, 4, 4)
    with pytest.raises(ValueError, match="grid"):
        scaled_sum[(1, 70000)](x, x, x, 4, BLOCK=4)
