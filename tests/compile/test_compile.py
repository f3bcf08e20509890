"""Kernels build for every GPU generation without a GPU, with the specialisation that Triton itself would choose."""

from __future__ import annotations

import subprocess

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune.precompile import distinct
from tritorch.autotune.space import Space
from tritorch.autotune.tunable import kernel
from tritorch.runtime import launch_key, launcher
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import SHARED_MEMORY, Pointer, compile_kernel, resources
from tritorch.runtime.kernel import Kernel, materialise, recording_launches
from tritorch.runtime.language import tl, triton_missing
from tritorch.runtime.specialise import specialise

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

CAPABILITIES = (80, 90, 100)
FLOAT32 = np.dtype(np.float32)


@Kernel
def add(x, y, out, n, alpha, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(x + i, mask=i < n).to(tl.float32) + alpha * tl.load(y + i, mask=i < n).to(tl.float32)
    tl.store(out + i, total.to(out.dtype.element_ty), mask=i < n)


@Kernel
def matmul(a, b, c, n, TILE: tl.constexpr, DEPTH: tl.constexpr):
    i, j, k = tl.arange(0, TILE)[:, None], tl.arange(0, TILE)[None, :], tl.arange(0, DEPTH)
    total = tl.zeros((TILE, TILE), tl.float32)
    for at in range(0, n, DEPTH):
        left, right = tl.load(a + i * n + at + k[None, :]), tl.load(b + (at + k[:, None]) * n + j)
        total = tl.dot(left, right, total)
    tl.store(c + i * n + j, total.to(c.dtype.element_ty))


@Kernel
def hoard(x, N: tl.constexpr):
    i = tl.arange(0, N)
    block = tl.load(x + i[:, None] * N + i[None, :])
    tl.store(x + i[:, None] * N + i[None, :], tl.exp(block) + tl.trans(block))


@Kernel
def every_kind(
    xs, x, flag, count, large, huge, fixed: tl.int64, half: tl.float16, brain: tl.bfloat16, none, N: tl.constexpr
):
    i = tl.arange(0, N)
    value = tl.load(xs[0] + i) + tl.load(xs[1] + i) * half + brain + count + large + huge + fixed
    if flag:
        value = value + 1
    if none is not None:
        value = value + none
    tl.store(x + i, value)


@kernel(
    space=Space(BLOCK=(64, 128), num_warps=(1,)),
    default=lambda device, n: {"BLOCK": 64, "num_warps": 1},
    do_not_specialize=("step", "seed"),
    do_not_specialize_on_alignment="n",
)
def stepping(
    x,  # written: (n,)
    n,
    step,
    seed,
    rows,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + i, step + seed + rows, mask=i < n)


def scaled_values(**changed):
    values = {
        "xs": (Pointer(FLOAT32), Pointer(FLOAT32, 4)),
        "x": Pointer(np.dtype(ml_dtypes.bfloat16)),
        "flag": True,
        "count": 32,
        "large": 2**40 + 1,
        "huge": 2**63,
        "fixed": 16,
        "half": 0.5,
        "brain": 1.5,
        "none": None,
        "N": 128,
    }
    return values | changed


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_builds_without_spilling(capability, dtype):
    compiled = compile_kernel(add, (Pointer(np.dtype(dtype)),) * 3 + (4096, 2.0), {"BLOCK": 1024}, {}, capability)
    used = resources(compiled)
    assert compiled.metadata.target.arch == capability
    assert used.spills == 0
    assert used.shared_memory == 0
    assert used.num_warps == 4
    assert 8 <= used.registers <= 255


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_shared_memory_of_a_pipelined_product_is_known_and_fits(capability):
    pointers = (Pointer(np.dtype(np.float16)),) * 3
    constants, options = {"TILE": 64, "DEPTH": 32}, {"num_warps": 4, "num_stages": 3}
    used = resources(compile_kernel(matmul, (*pointers, 1024), constants, options, capability))
    assert 64 * 32 * 2 * 2 <= used.shared_memory <= SHARED_MEMORY[capability]


def test_spills_are_seen():
    options = {"num_warps": 1, "maxnreg": 32}
    used = resources(compile_kernel(hoard, (Pointer(FLOAT32),), {"N": 64}, options, 90))
    assert used.spills > 0
    assert used.registers <= 32


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_resources_agree_with_nvidia_tools(capability):
    from triton import knobs

    tool = getattr(knobs.nvidia, "cuobjdump", None)
    compiled = compile_kernel(hoard, (Pointer(FLOAT32),), {"N": 32}, {"num_warps": 1}, capability)
    path = next(path for name, path in compiled.metadata_group.items() if name.endswith(".cubin"))
    said = subprocess.run([tool.path, "--dump-resource-usage", path], capture_output=True, text=True, check=True).stdout
    used = resources(compiled)
    assert f"REG:{used.registers} " in said
    assert f"STACK:{used.spills} " in said


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"flag": False, "count": 1, "fixed": 1, "none": Pointer(FLOAT32, 8), "xs": (Pointer(FLOAT32, 2), 1)},
        {"count": -(2**31), "large": 2**31, "huge": 2**64 - 16, "none": 1, "half": 2.0},
        {"count": 2.5, "xs": (None, 16, (Pointer(np.dtype(bool)), 3))},
    ],
)
def test_specialisation_is_what_triton_itself_does(changed, monkeypatch):
    materialise()
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    class Asked:
        get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
        get_current_device = staticmethod(lambda: 0)
        get_current_stream = staticmethod(lambda device: 0)

    monkeypatch.setattr(type(driver), "active", property(lambda self: Asked), raising=False)
    asked = {}

    def record(self, key, signature, device, constexprs, options, attrs, warmup):
        asked.update(signature=signature, constexprs=constexprs, attrs=attrs)

    monkeypatch.setattr(type(every_kind), "_do_compile", record, raising=False)
    values = scaled_values(**changed)
    arguments = {name: as_tensor(value) for name, value in values.items()}
    every_kind.run(grid=(1,), warmup=True, enable_fp_fusion=True, **arguments)
    signature, constants, attributes = specialise(every_kind, tuple(values.values()))
    assert signature == asked["signature"]
    assert constants == asked["constexprs"]
    assert attributes == asked["attrs"]


class AsTensor:
    """What Triton takes for a tensor: an address and a dtype by name."""

    def __init__(self, pointer):
        self.dtype, self.alignment = pointer.dtype.name, pointer.alignment

    def data_ptr(self):
        return self.alignment


def as_tensor(value):
    if isinstance(value, tuple):
        return tuple(map(as_tensor, value))
    return AsTensor(value) if isinstance(value, Pointer) else value


def test_a_float_for_a_declared_integer_is_refused():
    with pytest.raises(TypeError, match=r"kernel every_kind: argument 'fixed' is declared i64, got a float"):
        compile_kernel(every_kind, (), scaled_values(fixed=1.5))


class DeviceArray(Pointer):
    """A pretended array of GPU 0."""

    class device:
        index = 0

    code = 3


class Recorder:
    """Stands for everything below a launch: the stream, cuda-core's kernel and its launch."""

    def __init__(self, monkeypatch):
        from tritorch.runtime.cuda import driver, stream

        self.core, self.launches = self, []
        properties = driver.DeviceProperties("pretended", 9, 0, 0, 132, 49152, 232448, 2048, 32, 0, 0, 0, 0)
        monkeypatch.setattr(driver, "properties", lambda index: properties)
        monkeypatch.setattr(stream, "current_stream", lambda index: self)
        monkeypatch.setattr(launcher.Entry, "_load", lambda entry, compiled, driver: "the kernel")
        monkeypatch.setattr(launcher, "core_launch", lambda: self.launch)

    def launch(self, stream, config, core, *packed):
        assert stream is self
        assert core == "the kernel"
        self.launches.append((config, packed))


@pytest.fixture
def recorder(monkeypatch):
    materialise()
    for each in (add, every_kind, stepping):
        launcher.forget(each)
    yield Recorder(monkeypatch)
    for each in (add, every_kind, stepping):
        launcher.forget(each)


def device_values(**changed):
    values = scaled_values(xs=(DeviceArray(FLOAT32, 256), DeviceArray(FLOAT32, 260)), x=DeviceArray(FLOAT32, 512))
    return values | changed


def test_parameters_are_packed_as_the_cubin_takes_them(recorder):
    every_kind[3, 2](**device_values())
    every_kind[(3, 2)](**device_values(count=1, none=2.0, huge=2**63 + 5))
    (config, first), (_, second) = recorder.launches
    assert config.grid == (3, 2, 1)
    assert config.block == (128, 1, 1)
    assert config.shmem_size == 0
    half, brain, single = 0x3800, 0x3FC0, 0x40000000
    assert first == (256, 260, 512, True, 32, 2**40 + 1, -(2**63), 16, half, brain, 0, 0)
    assert second == (256, 260, 512, True, 2**40 + 1, -(2**63) + 5, 16, half, brain, single, 0, 0)


def test_one_entry_for_each_thing_that_code_depends_on(recorder):
    def run(alignment=256, n=32, alpha=2.0, BLOCK=128, **options):
        array = DeviceArray(FLOAT32, alignment)
        add[(1,)](array, array, array, n, alpha, BLOCK=BLOCK, **options)
        return len(launcher.entries(add))

    assert run() == 1
    assert run(n=64, alpha=-5.0, alignment=512) == 1
    assert run(n=33) == 2
    assert run(n=35) == 2
    assert run(n=1) == 3
    assert run(alignment=4) == 4
    assert run(alpha=2) == 5
    assert run(BLOCK=256) == 6
    assert run(num_warps=8) == 7
    assert {entry.metadata.num_warps for entry in launcher.entries(add)} == {4, 8}
    assert all(entry.spills == 0 and entry.shared_memory == 0 for entry in launcher.entries(add))


STEPS = [(step, seed, n) for step in (0, 1, 2, 16) for seed in (1, 5, 2**20) for n in (32, 33)]


def test_numbers_that_a_tuned_kernel_does_not_specialise_are_compiled_once(recorder):
    array = DeviceArray(FLOAT32, 256)
    with recording_launches() as launches:
        for step, seed, n in STEPS:
            stepping[(1,)](array, n, step, seed, 48, BLOCK=64)
    assert len(launcher.entries(stepping)) == len(distinct(launches)) == 1
    (pointer, *rest) = recorder.launches[4][1]
    assert (pointer, *rest) == (256, 32, 0, 2**20, 48, 0, 0)  # nothing became a constant
    stepping[(1,)](array, 33, 2**40, 5, 48, BLOCK=64)  # a wider type
    stepping[(1,)](array, 1, 2, 5, 48, BLOCK=64)
    stepping[(1,)](array, 33, 2, 5, 49, BLOCK=64)
    assert len(launcher.entries(stepping)) == 4


def test_settings_name_parameters():
    with pytest.raises(TypeError, match=r"kernel add: do_not_specialize takes names of its parameters .*got 'steps'"):
        Kernel(add.fn, do_not_specialize="steps")


def test_constants_that_compare_equal_are_told_apart():
    assert launch_key.tag_of(1) != launch_key.tag_of(True)
    assert launch_key.tag_of(1) != launch_key.tag_of(1.0)
    assert launch_key.tag_of(0.0) != launch_key.tag_of(-0.0)
    assert launch_key.tag_of((1, 2)) != launch_key.tag_of((True, 2))
    assert launch_key.tag_of(4) == launch_key.tag_of(8)


def test_a_launch_without_programs_reaches_no_driver(recorder):
    array = DeviceArray(FLOAT32, 256)
    add[(0,)](array, array, array, 0, 1.0, BLOCK=128)
    assert recorder.launches == []


def test_the_hook_gets_the_launch_after_packing(recorder):
    seen = []
    before = launcher.set_launch_hook(lambda *launch: seen.append(launch))
    try:
        array = DeviceArray(FLOAT32, 256)
        add[(2,)](array, array, array, 32, 1.0, BLOCK=128, num_warps=8)
    finally:
        launcher.set_launch_hook(before)
    assert seen == [(add, (2,), (array, array, array, 32, 1.0), {"BLOCK": 128}, {"num_warps": 8})]
    assert recorder.launches == []


class HostMemory(DeviceArray):
    """A pretended device array whose memory is a NumPy array."""

    def __init__(self, array):
        super().__init__(array.dtype, array.ctypes.data)


def test_the_hook_can_interpret(recorder):
    x, y, out = np.arange(32, dtype=FLOAT32), np.ones(32, FLOAT32), np.zeros(32, FLOAT32)
    before = launcher.set_launch_hook(launcher.interpret_instead)
    try:
        add[(1,)](HostMemory(x), HostMemory(y), HostMemory(out), 32, 0.5, BLOCK=32)
    finally:
        launcher.set_launch_hook(before)
    assert np.array_equal(out, x + np.float32(0.5))


def test_arrays_of_host_and_device_do_not_mix(recorder):
    array = DeviceArray(FLOAT32, 256)
    with pytest.raises(TypeError, match=r"kernel add: argument 'y' is a NumPy array on the host, others are on cuda:0"):
        add[(1,)](array, np.zeros(4, FLOAT32), array, 4, 1.0, BLOCK=128)


def test_arguments_bind_as_python_binds_them():
    materialise()
    values, options = binder_of(add)(1, 2, n=4, alpha=5, out=3, BLOCK=6, num_stages=2)
    assert values == (1, 2, 3, 4, 5, 6)
    assert {name: value for name, value in options.items() if value is not None} == {"num_stages": 2}
