"""Small things that scripts touch: settings, sizes, generators, names, and rooms that refuse with advice."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

import tritorch as torch
import tritorch.multiprocessing as mp


def test_threads_are_kept():
    before = torch.get_num_threads(), torch.get_num_interop_threads()
    torch.set_num_threads(3)
    torch.set_num_interop_threads(2)
    assert (torch.get_num_threads(), torch.get_num_interop_threads()) == (3, 2)
    torch.set_num_threads(before[0])
    torch.set_num_interop_threads(before[1])
    with pytest.raises(RuntimeError, match="set_num_threads expects a positive integer"):
        torch.set_num_threads(0)
    with pytest.raises(RuntimeError, match="set_num_threads expects an int, but got str"):
        torch.set_num_threads("2")


def test_determinism_is_one_setting_with_three_names():
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.get_deterministic_debug_mode() == 1 and torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_deterministic_debug_mode("error")
    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    assert torch.get_deterministic_debug_mode() == 0
    for value, error, words in (
        ("loud", RuntimeError, "expected one of `default`, `warn`, `error`, but got loud"),
        (5, RuntimeError, "expected 0, 1, or 2, but got 5"),
        (2.5, TypeError, "must be str or int, but got <class 'float'>"),
    ):
        with pytest.raises(error, match=words):
            torch.set_deterministic_debug_mode(value)
    assert torch.set_flush_denormal(True) is False
    torch.set_warn_always(True)
    assert torch.is_warn_always_enabled()
    torch.set_warn_always(False)


def test_sizes_are_tuples_of_ints():
    size = torch.Size([2, torch.tensor(3)])
    assert size == (2, 3) and repr(size) == f"{size}" == "torch.Size([2, 3])"
    assert [type(each) for each in size] == [int, int]
    one = (1,)
    for made in (size + one, one + size, size * 2, 2 * size, size[:1], torch.ones(2, 3).shape + size):
        assert type(made) is torch.Size
    assert size.numel() == 6 and torch.Size() == ()
    assert type(pickle.loads(pickle.dumps(size))) is type(copy.deepcopy(size)) is torch.Size
    with pytest.raises(TypeError, match=r"takes an iterable of 'int' \(item 1 is 'float'\)"):
        torch.Size([1, 1.5])
    with pytest.raises(TypeError, match=r"can only concatenate tuple \(not list\) to torch.Size"):
        size + list(one)


def test_generators_go_back_and_forth():
    generator = torch.Generator().manual_seed(3)
    first = torch.rand(5, generator=generator)
    used = generator.get_offset()
    generator.set_offset(0)
    assert torch.equal(torch.rand(5, generator=generator), first)
    assert generator.get_offset() == used > 0
    with pytest.raises(RuntimeError, match="manual_seed expected a long, but got str"):
        generator.manual_seed("3")
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with torch.random.fork_rng(devices=[], device_type="cuda"):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(enabled=False):
        torch.rand(3)
    assert not torch.equal(torch.get_rng_state(), state)


def test_names():
    assert torch.typename(torch.ones(2)) == "torch.FloatTensor" or torch.ones(2).is_cuda
    assert torch.typename(torch.nn.Linear(1, 1)) == "tritorch.nn.modules.linear.Linear"
    assert torch.typename(3) == "int" and torch.typename(int) == "int"
    assert torch.get_device_module("cpu") is torch.cpu and torch.get_device_module("cuda") is torch.cuda
    assert (torch.pi, torch.e, torch.inf) == (3.141592653589793, 2.718281828459045, float("inf"))
    assert torch.ones(2)[torch.newaxis].shape == (1, 2)


def test_devices_that_are_not_used_answer_and_refuse():
    for room in (torch.mps, torch.xpu, torch.mtia, torch.backends.mps):
        assert room.is_available() is False
    with pytest.raises(NotImplementedError, match=r"xpu.synchronize\(\) is not in tritorch: it uses NVIDIA GPUs"):
        torch.xpu.synchronize()
    assert torch.cpu.is_available() and torch.cpu.device_count() == 1 and torch.cpu.current_device() == "cpu"
    assert torch.version.hip is None and torch.version.__version__ == torch.__version__
    assert torch.version.cuda is None or isinstance(torch.version.cuda, str)


def test_what_is_left_out_says_what_to_do_instead():
    linear = torch.nn.Linear(1, 1)
    for call in (
        lambda: torch.jit.script(linear),
        lambda: torch.jit.trace(linear, torch.ones(1)),
        lambda: torch.quantization.quantize_dynamic(linear),
        lambda: torch.ao.quantization.prepare_qat(linear),
        lambda: torch.fft.rfft(torch.ones(4)),
        lambda: torch.complex(torch.ones(1), torch.ones(1)),
    ):
        with pytest.raises(NotImplementedError, match=r"^\w+(\.\w+)?\(\).* tritorch"):
            call()


def test_marks_of_torchscript_pass():
    with pytest.warns(UserWarning, match="scaled is not compiled"):

        @torch.jit.script
        def scaled(x):
            return x * 2

    assert scaled(3) == 6

    class Model:
        @torch.jit.ignore
        def first(self):
            return 1

        @torch.jit.ignore(drop=True)
        def second(self):
            return 2

        @torch.jit.export
        @torch.jit.unused
        def third(self):
            return 3

    model = Model()
    assert (model.first(), model.second(), model.third()) == (1, 2, 3)
    assert torch.jit.annotate(int, 3) == 3 and not torch.jit.is_scripting() and not torch.jit.is_tracing()


def test_a_process_alone_is_not_distributed():
    dist = torch.distributed
    assert dist.is_available() and not dist.is_initialized() and dist.group.WORLD is None
    assert dist.Backend("NCCL") == dist.Backend.NCCL == "nccl" and dist.ReduceOp.SUM != dist.ReduceOp.MAX
    for call in (dist.get_rank, dist.get_world_size, dist.barrier, lambda: dist.all_reduce(torch.ones(1))):
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            call()


def test_real_parts_of_fourier_transforms():
    assert torch.fft.fftfreq(4).tolist() == [0.0, 0.25, -0.5, -0.25]
    assert torch.fft.fftfreq(5, 0.5, dtype=torch.float64).tolist() == pytest.approx([0, 0.4, 0.8, -0.8, -0.4])
    assert torch.fft.rfftfreq(5, 0.5).tolist() == pytest.approx([0, 0.4, 0.8])
    odd = torch.arange(10).view(2, 5)
    assert torch.fft.fftshift(odd[0]).tolist() == [3, 4, 0, 1, 2]
    assert torch.fft.ifftshift(odd, dim=1).tolist() == [[2, 3, 4, 0, 1], [7, 8, 9, 5, 6]]
    assert torch.equal(torch.fft.ifftshift(torch.fft.fftshift(odd)), odd)


def test_processes_are_pythons_with_spawn_beside():
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    mp.set_sharing_strategy("file_system")
    assert mp.get_sharing_strategy() == "file_system"
    mp.set_sharing_strategy("file_descriptor")
    with pytest.raises(AssertionError, match="invalid sharing strategy 'memory'"):
        mp.set_sharing_strategy("memory")
    assert mp.get_context("fork").Process and mp.cpu_count() and mp.Queue


def _fails_in_the_second(index, text):
    if index == 1:
        raise ValueError(text)


def _ends(index):
    sys.exit(3)


def test_the_first_process_that_fails_is_told_of():
    with pytest.raises(mp.ProcessRaisedException, match="ValueError: too bad") as found:
        mp.start_processes(_fails_in_the_second, ("too bad",), nprocs=2, start_method="fork")
    assert found.value.error_index == 1
    with pytest.raises(mp.ProcessExitedException, match="process 0 terminated with exit code 3"):
        mp.start_processes(_ends, nprocs=1, start_method="fork")
    mp.start_processes(_fails_in_the_second, ("never",), nprocs=1, start_method="fork")


def test_root_losses_take_the_reduction_as_a_number():
    x, y = torch.tensor([0.5, -1.0]), torch.tensor([1.0, 0.0])
    function = torch.nn.functional
    for number, name in enumerate(("none", "mean", "sum")):
        assert torch.equal(
            torch.binary_cross_entropy_with_logits(x, y, None, None, number),
            function.binary_cross_entropy_with_logits(x, y, reduction=name),
        )
        assert torch.equal(
            torch.margin_ranking_loss(x, y, 2 * y - 1, 0.5, number),
            function.margin_ranking_loss(x, y, 2 * y - 1, 0.5, reduction=name),
        )
    assert torch.kl_div(x, y).shape == (2,)
    weight, bags = torch.arange(6.0).view(3, 2), torch.tensor([0, 2, 2])
    result, bag_of, sizes, _ = torch.embedding_bag(weight, torch.tensor([0, 1, 2]), bags)
    assert result.tolist() == [[2.0, 4.0], [0.0, 0.0], [4.0, 5.0]]
    assert bag_of.tolist() == [0, 0, 2] and sizes.tolist() == [2, 0, 1]


def test_in_place_functions_of_the_root_write_their_argument():
    x = torch.tensor([-1.0, 2.0])
    assert torch.abs_(x) is x and torch.exp_(torch.zeros(1)).item() == 1.0
    assert torch.clamp_(x, 0, 1.5).tolist() == x.tolist() == [1.0, 1.5]


def test_import_stays_clean():
    code = "import tritorch, sys; sys.exit(any(m in sys.modules for m in ('tritorch.jit', 'tritorch.cuda')))"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


def test_complex_dtypes_have_names_and_no_tensors():
    assert torch.complex64.is_complex and torch.cdouble is torch.complex128 and not torch.float32.is_complex
    assert torch.ones(1).dtype not in (torch.complex64, torch.complex128)
    assert pickle.loads(pickle.dumps(torch.complex64)) is torch.complex64
    for call in (lambda: torch.ones(2, dtype=torch.cfloat), lambda: torch.ones(2).to(torch.complex64)):
        with pytest.raises(NotImplementedError, match="tritorch has no complex tensors"):
            call()


def test_the_environment_is_told():
    text = torch.utils.collect_env.get_pretty_env_info()
    assert f"tritorch: {torch.__version__}" in text and "numpy: " in text
    assert torch.utils.deterministic.fill_uninitialized_memory is True
