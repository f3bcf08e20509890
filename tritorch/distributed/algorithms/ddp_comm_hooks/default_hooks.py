"""Averages of buckets: as they are, or sent as 16-bit numbers."""

from __future__ import annotations

from tritorch import distributed as dist
from tritorch.autograd import no_grad
from tritorch.runtime import dtypes


def allreduce_hook(process_group, bucket):
    """The mean of the gradients over the ranks: what happens without a hook."""
    work = dist.all_reduce(bucket.buffer(), dist.ReduceOp.AVG, process_group, async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def _compressed(process_group, bucket, dtype):
    buffer = bucket.buffer()
    with no_grad():
        small = buffer.to(dtype) / dist.get_world_size(process_group)  # before the sum, which could overflow
    work = dist.all_reduce(small, dist.ReduceOp.SUM, process_group, async_op=True)

    def widen(future):
        with no_grad():
            return buffer.copy_(future.value()[0])

    return work.get_future().then(widen)


def fp16_compress_hook(process_group, bucket):
    """The mean of the gradients, which go over the wire as float16."""
    return _compressed(process_group, bucket, dtypes.float16)


def bf16_compress_hook(process_group, bucket):
    """The mean of the gradients, which go over the wire as bfloat16."""
    return _compressed(process_group, bucket, dtypes.bfloat16)
