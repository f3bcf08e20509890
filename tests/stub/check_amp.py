"""A loop of mixed precision on device="cuda", as scripts write it: autocast, GradScaler, clipping, checkpointing."""

from __future__ import annotations

import numpy as np
import pytest
from scaled_steps import EVERY, check_skipped
from tolerances import tolerance

import tritorch as torch
from tritorch.runtime.language import triton_missing
from tritorch.utils.checkpoint import checkpoint

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("interpreted")


def trained(device, again=False, steps=3):
    """Losses, scales and parameters of a small net in float16, on a GPU or the device that stands for one."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Linear(8, 3))
    model.to(device)
    random = np.random.default_rng(0)
    x = torch.tensor(random.standard_normal((5, 6)).astype(np.float32)).to(device)
    labels = torch.tensor(random.integers(0, 3, 5)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler(device, init_scale=256.0, growth_interval=2)
    assert scaler.is_enabled()
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        with torch.autocast(device_type=device, dtype=torch.float16):
            output = checkpoint(model, x, use_reentrant=False) if again else model(x)
            assert output.dtype is torch.float16
            loss = torch.nn.functional.cross_entropy(output, labels)
            assert loss.dtype is torch.float32
        scaler.scale(loss * float("inf") if step == 1 else loss).backward()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        found.append((loss.item(), scaler.get_scale(), norm.item()))
    return found, [parameter.detach().cpu().numpy() for parameter in model.parameters()]


@pytest.mark.parametrize("again", [False, True])
def test_a_gpu_does_as_the_interpreter_device(again):
    found, parameters = trained("cuda", again)
    expected, truths = trained("interpreter")
    assert [scale for _, scale, _ in found] == [256.0, 128.0, 128.0]
    relative, absolute = tolerance("float16", gradient=True)
    np.testing.assert_allclose(found, expected, relative, absolute)
    for parameter, truth in zip(parameters, truths, strict=True):
        np.testing.assert_allclose(parameter, truth, relative, absolute)


@pytest.mark.parametrize("name", ["sgd, dampened", "asgd", "adafactor"])
def test_a_gpu_skips_a_step_as_the_host_does(name):
    check_skipped(EVERY[name], "cuda")


def test_what_is_saved_waits_in_pinned_memory():
    x = torch.ones(3, device="cuda", requires_grad=True)
    with torch.autograd.graph.save_on_cpu(pin_memory=True):
        y = x.exp() * x
    kept = y.grad_fn.packed.inputs[0].packed[1]
    assert kept.device.type == "cpu" and kept.is_pinned()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.cpu().numpy(), 2 * np.e, *tolerance("float32", gradient=True))


def test_bfloat16_and_the_old_forms():
    x = torch.ones(2, 2, device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert (x @ x).dtype is torch.bfloat16
    with pytest.warns(FutureWarning, match="is deprecated"):
        context = torch.cuda.amp.autocast()
    with context:
        assert (x @ x).dtype is torch.float16
    assert (x @ x).dtype is torch.float32
