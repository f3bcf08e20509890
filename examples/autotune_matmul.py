"""A plain Triton matrix product, tuned: from Python here, from the command line for the sizes that you need.

python examples/autotune_matmul.py                                  the GPU; without one the interpreter, which has
                                                                    made-up times, so that everything else is real
tritorch autotune sweep examples/autotune_matmul.py:matmul --shape M=4096,N=4096,K=4096 --dtype bfloat16 --budget 5m
tritorch autotune why   examples/autotune_matmul.py:matmul --shape M=4096,N=4096,K=4096 --dtype bfloat16
tritorch autotune check examples/autotune_matmul.py:matmul --compile-only --arch sm_90

All of them read and write the same store, and so does every program that launches the kernel: `matmul[grid](...)`
takes the best config that is known for its sizes and dtypes, and the default where nothing is.
"""

from __future__ import annotations

import argparse

import numpy as np
import triton.language as tl

import tritorch as torch
from tritorch import autotune
from tritorch.autotune import cdiv, choices, powers, stages


def fits(BLOCK_M, BLOCK_N, BLOCK_K, num_stages, device):
    """Whether the tiles of all stages fit shared memory, if elements have four bytes."""
    return (BLOCK_M + BLOCK_N) * BLOCK_K * 4 * num_stages <= device.shared_memory


def has_work_for_its_threads(BLOCK_M, BLOCK_N, num_warps):
    """From 8 to 128 elements of the tile for each thread: fewer wait for memory, more do not fit the registers."""
    return 8 <= BLOCK_M * BLOCK_N / (32 * num_warps) <= 128


def default(device, M, N):
    """A config that is always good enough to begin with: tuning is never needed to run."""
    side = 32 if min(M, N) < 512 else 64
    return {"BLOCK_M": side, "BLOCK_N": side, "BLOCK_K": 32, "GROUP_M": 8, "num_warps": 4, "num_stages": 2}


def grid(meta):
    """One program a tile; `meta` has all arguments and knobs of a launch by name."""
    return (cdiv(meta["M"], meta["BLOCK_M"]) * cdiv(meta["N"], meta["BLOCK_N"]),)


def inputs(draw, M=1024, N=1024, K=1024):
    """Arguments of a launch to tune on, by name or in order; draw.dtype is what --dtype says."""
    return draw(M, K), draw(K, N), np.empty((M, N), draw.dtype), M, N, K, K, 1, N, 1


@autotune.kernel(
    space=autotune.Space(
        BLOCK_M=powers(16, 128), BLOCK_N=powers(16, 256), BLOCK_K=powers(16, 64), GROUP_M=choices(1, 8),
        num_warps=choices(2, 4, 8), num_stages=stages(2, 4), where=(fits, has_work_for_its_threads),
    ),
    default=default,
    key=("M", "N", "K", "a_inner", "b_column"),
    inputs=inputs,
    reference=lambda a, b: {"out": a @ b},
    flops=lambda M, N, K: 2 * M * N * K,
    grid=grid,
)  # fmt: skip
def matmul(
    a,  # left operand: (M, K) by its strides
    b,  # right operand: (K, N) by its strides
    out,  # the product: (M, N), row by row
    M,
    N,
    K,
    a_row,
    a_inner,
    b_inner,
    b_column,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    # GROUP_M tiles down, then one to the right: programs that run together share operands in the cache.
    down, across = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    first = tl.program_id(0) // (GROUP_M * across) * GROUP_M
    height = tl.minimum(down - first, GROUP_M)
    within = tl.program_id(0) % (GROUP_M * across)
    rows = (first + within % height) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = within // height * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + inner
        left = (rows < M)[:, None] & (k < K)[None, :]
        right = (k < K)[:, None] & (columns < N)[None, :]
        x = tl.load(a + rows[:, None] * a_row + k[None, :] * a_inner, mask=left, other=0)
        y = tl.load(b + k[:, None] * b_inner + columns[None, :] * b_column, mask=right, other=0)
        total = tl.dot(x, y, total, input_precision="ieee")  # as exact as the reference asks of float32
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    tl.store(out + rows[:, None] * N + columns[None, :], total.to(out.dtype.element_ty), mask=inside)


def product(a, b):
    """a @ b by the kernel, on Tensors however they lie in memory."""
    (M, K), N = a.shape, b.shape[1]
    out = torch.empty(M, N, dtype=a.dtype, device=a.device)
    matmul[grid](a, b, out, M, N, K, *a.stride(), *b.stride())
    return out


def main():
    """Tune for one shape, say what it brought, and use it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "interpreter")
    parser.add_argument("--size", type=int, help="of each side (default 2048 on a GPU, else 96)")
    parser.add_argument("--budget", type=float, default=30, help="seconds (default 30)")
    options = parser.parse_args()
    size = options.size or (2048 if options.device.startswith("cuda") else 96)
    found = autotune.tune(matmul, device=options.device, budget=options.budget, M=size, N=size, K=size)
    assert found.best is not None and found.default is not None, "the budget ended before the default was tried"
    flops = 2 * size**3
    for name, trial in (("default", found.default), ("best", found.best)):
        config = " ".join(f"{knob}={value}" for knob, value in trial.config.items())
        print(f"{name:8} {trial.seconds * 1e6:9.2f} us  {flops / trial.seconds / 1e12:7.3f} TFLOP/s   {config}")
    failed = sum(not trial.ok for trial in found.trials)
    print(
        f"{found.gain:.2f} times as fast; {len(found.trials)} configs tried, {found.new} of them now, {failed} failed"
    )
    assert found.best.seconds <= found.default.seconds, "the default is among the trials, so the best is no slower"

    with torch.device(options.device):
        a, b = torch.randn(size, size), torch.randn(size, size)
        difference = (product(a, b) - a @ b).abs().max().item()
        transposed = (product(a.T, b) - a.T @ b).abs().max().item()  # other strides: another key, its own config
    assert max(difference, transposed) < 1e-4 * size**0.5, f"off by {difference} and {transposed}"


if __name__ == "__main__":
    main()
