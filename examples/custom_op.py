"""An op of one's own: Triton kernels for its value and its gradient, checked, then trained with on real digits.

python examples/custom_op.py                            the default device; on a CPU these two kernels are interpreted
python examples/custom_op.py --device interpreter       all kernels of a training step are
tritorch autotune sweep examples/custom_op.py:swiglu    tunes one for this machine

SwiGLU (Shazeer, 2020) multiplies one half of a layer by the SiLU of the other: silu(gate) * value. These kernels take
float32 and, for the check of the gradient, float64.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import triton.language as tl
from sklearn.datasets import load_digits

import tritorch as torch
from tritorch import autotune, nn, optim
from tritorch.nn import functional as F

# What a kernel may be launched with; where nothing was tuned, with the knobs' defaults.
SPACE = autotune.Space(BLOCK=autotune.powers(256, 4096, default=1024), num_warps=autotune.warps(1, 8))


def grid(meta):
    """One program a block; `meta` has all arguments and knobs of a launch by name."""
    return (autotune.cdiv(meta["n"], meta["BLOCK"]),)


def reference(gate, value):
    """The truth in NumPy: what every config's result is compared with."""
    return {"out": gate / (1 + np.exp(-gate)) * value}


def backward_reference(grad, gate, value):
    """The same for the gradients."""
    sigmoid = 1 / (1 + np.exp(-gate))
    slope = sigmoid * (1 + gate * (1 - sigmoid))
    return {"grad_gate": grad * value * slope, "grad_value": grad * gate * sigmoid}


def inputs(draw, n=1 << 20):
    """Arguments to tune on: results are arrays of any values."""
    return {"gate": draw(n), "value": draw(n), "out": np.empty(n, draw.dtype), "n": n}


def backward_inputs(draw, n=1 << 20):
    """The same for the gradients."""
    return {name: draw(n) for name in ("grad", "gate", "value", "grad_gate", "grad_value")} | {"n": n}


@autotune.kernel(space=SPACE, key=("n",), inputs=inputs, reference=reference, grid=grid)
def swiglu(
    gate,  # what goes through SiLU: (n,)
    value,  # what is multiplied by it: (n,)
    out,  # the products: (n,)
    n,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    x = tl.load(gate + at, mask=inside)
    tl.store(out + at, x * tl.sigmoid(x) * tl.load(value + at, mask=inside), mask=inside)


@autotune.kernel(space=SPACE, key=("n",), inputs=backward_inputs, reference=backward_reference, grid=grid)
def swiglu_backward(
    grad,  # gradient of the products: (n,)
    gate,  # as in the forward kernel: (n,)
    value,  # likewise: (n,)
    grad_gate,  # gradient of `gate`: (n,)
    grad_value,  # gradient of `value`: (n,)
    n,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    x, upper = tl.load(gate + at, mask=inside), tl.load(grad + at, mask=inside)
    sigmoid = tl.sigmoid(x)
    slope = sigmoid * (1 + x * (1 - sigmoid))
    tl.store(grad_gate + at, upper * tl.load(value + at, mask=inside) * slope, mask=inside)
    tl.store(grad_value + at, upper * x * sigmoid, mask=inside)


class SwiGLU(torch.autograd.Function):
    """The kernels as one step of the graph."""

    @staticmethod
    def forward(ctx, gate, value):
        gate, value = gate.contiguous(), value.contiguous()
        ctx.save_for_backward(gate, value)
        out = torch.empty_like(gate)
        swiglu[grid](gate, value, out, out.numel())
        return out

    @staticmethod
    def backward(ctx, grad):
        gate, value = ctx.saved_tensors
        grad_gate, grad_value = torch.empty_like(gate), torch.empty_like(value)
        swiglu_backward[grid](grad.contiguous(), gate, value, grad_gate, grad_value, gate.numel())
        return grad_gate, grad_value


class GatedNet(nn.Module):
    """64 pixels, a gated layer, ten classes."""

    def __init__(self, hidden=32):
        super().__init__()
        self.up, self.down = nn.Linear(64, 2 * hidden), nn.Linear(hidden, 10)

    def forward(self, x):
        return self.down(SwiGLU.apply(*self.up(x).chunk(2, dim=-1)))


def main():
    """Hold the kernels against NumPy and differences, then learn to read digits with them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", help="cuda, cpu or interpreter")
    torch.set_default_device(parser.parse_args().device)
    torch.manual_seed(0)
    started = time.perf_counter()

    gate, value = torch.randn(3, 700), torch.randn(3, 700)
    difference = np.abs(SwiGLU.apply(gate, value).numpy() - reference(gate.numpy(), value.numpy())["out"]).max()
    assert difference < 1e-5, f"the kernel is off its reference by {difference}"
    pair = [torch.randn(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(SwiGLU.apply, pair), "the gradient kernel is off the differences of the forward one"

    images, labels = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(images).float() / 16, torch.from_numpy(labels)
    model = GatedNet()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for step in range(80):
        batch = torch.arange(step * 64, (step + 1) * 64) % 1500  # the last 297 images are for the test
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(images[1500:]).argmax(1) == labels[1500:]).float().mean().item()
    print(f"{images.device}: off NumPy by {difference:.1e}, gradient checked; loss {loss.item():.3f}, "
          f"test accuracy {accuracy:.1%}, {time.perf_counter() - started:.1f} s")  # fmt: skip
    assert accuracy > 0.8, f"the target is 80% of digits never seen, got {accuracy:.1%}"


if __name__ == "__main__":
    main()
