"""The rooms around the GPU that scripts touch whether one is there or not: backends, accelerator, cuda."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tritorch as torch
from tritorch.backends import cudnn
from tritorch.runtime.cuda import driver


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(driver, "_found", (0, "there is no GPU in this test."))


def test_rooms_are_reached_as_attributes_after_one_import():
    code = (
        "import tritorch as torch; torch.utils.data.DataLoader; torch.backends.cudnn.benchmark = True; "
        "torch.backends.cuda.matmul.allow_tf32; torch.accelerator.is_available; torch.cuda.nvtx.range_push('a')"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


def test_allow_tf32_is_the_precision_of_matrix_products():
    assert torch.backends.cuda.matmul.allow_tf32 is False
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        torch.set_float32_matmul_precision("highest")
        assert torch.backends.cuda.matmul.allow_tf32 is False
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        assert torch.backends.cuda.matmul.allow_tf32 is True
    finally:
        torch.set_float32_matmul_precision("highest")
    with pytest.raises(RuntimeError, match="expects a bool, but got str"):
        torch.backends.cuda.matmul.allow_tf32 = "yes"
    with pytest.raises(AttributeError):
        torch.backends.cuda.matmul.allow_tf23 = True


def test_cudnn_keeps_what_it_is_set_to():
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (True, False, False, True)
    with cudnn.flags(enabled=False, deterministic=True):
        assert not cudnn.enabled
        assert cudnn.deterministic
    assert cudnn.enabled and not cudnn.deterministic and cudnn.benchmark_limit is None
    assert not cudnn.is_available() and cudnn.version() is None


def test_attention_switches_are_put_back():
    with torch.backends.cuda.sdp_kernel(enable_flash=False):
        assert not torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.math_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


def test_without_a_gpu_questions_have_answers_and_work_has_a_reason(no_gpu):
    assert torch.accelerator.current_accelerator() is None
    assert torch.accelerator.device_count() == torch.cuda.device_count() == 0
    assert torch.cuda.memory_allocated() == torch.cuda.max_memory_reserved() == 0
    assert torch.cuda.get_rng_state_all() == [] and torch.cuda.get_arch_list() == []
    assert not torch.cuda.is_bf16_supported() and not torch.cuda.is_current_stream_capturing()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.set_device(-1)
    for work in (torch.cuda.current_device, torch.cuda.get_device_name, torch.cuda.synchronize, torch.cuda.Stream,
                 torch.cuda.get_rng_state, torch.cuda.init, torch.accelerator.synchronize):  # fmt: skip
        with pytest.raises(RuntimeError, match="available"):
            work()
    with torch.cuda.stream(None), torch.cuda.device(None), torch.cuda.device_of(torch.ones(2, device="cpu")):
        pass


def test_seeding_a_gpu_that_is_not_there_leaves_the_numbers_of_the_cpu_alone(no_gpu):
    torch.manual_seed(3)
    torch.rand(4)
    state = torch.get_rng_state()
    torch.cuda.manual_seed_all(3)
    torch.cuda.seed()
    torch.cuda.set_rng_state_all([state])
    assert torch.equal(torch.get_rng_state(), state)


def test_old_names_of_memory_say_the_new_ones():
    with pytest.warns(FutureWarning, match="renamed to `torch.cuda.memory_reserved`"):
        assert torch.cuda.memory_cached() == torch.cuda.memory_reserved()


def test_out_of_memory_is_one_class_under_three_names():
    from tritorch.runtime.cuda.memory import OutOfMemoryError

    assert torch.OutOfMemoryError is torch.cuda.OutOfMemoryError is OutOfMemoryError
    assert issubclass(torch.AcceleratorError, RuntimeError)


def test_ranges_for_profilers_nest():
    assert torch.cuda.nvtx.range_push("step") == 0
    assert torch.cuda.nvtx.range_push("forward") == 1
    assert torch.cuda.nvtx.range_pop() == 1
    with torch.cuda.nvtx.range("batch {}", 3):
        assert torch.cuda.nvtx.range_push("inner") == 2
        torch.cuda.nvtx.range_pop()
    assert torch.cuda.nvtx.range_pop() == 0
