"""The collectives that people call, on Tensors: they check, pack what is not one contiguous array, and hand it on."""

from __future__ import annotations

import warnings

from tritorch.autograd.inplace import bump, write
from tritorch.distributed.group import GroupMember, get_group_rank, resolve, world
from tritorch.distributed.reduce_op import ReduceOp
from tritorch.runtime import transfer
from tritorch.tensor import Tensor


def _outside(group, name):
    """Whether this process is not in the group, which earns a warning."""
    if group is not GroupMember.NON_GROUP_MEMBER:
        return False
    warnings.warn(
        f"Running {name} on global rank {world.me.rank} which does not belong to the given group.", stacklevel=4
    )
    return True


def _one(tensor, name):
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor but got {type(tensor)} "
            "instead."
        )
    return tensor


def _many(tensors, name):
    if not isinstance(tensors, (list, tuple)) or not all(isinstance(each, Tensor) for each in tensors):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor] but got "
            f"{type(tensors)} with elements of type {[type(each) for each in tensors]}."
        )
    return tensors


def _whole(array):
    """A contiguous array with these elements: the array itself if it is one."""
    return array if transfer.is_contiguous(array) else transfer.contiguous_copy(array)


def _packed(tensors, count, filled):
    """One flat array for equal tensors one behind the other, filled with them or left as it is."""
    first = tensors[0]
    if len(tensors) != count:
        raise ValueError(f"expected a list of {count} tensors, one for each rank of the group, but got {len(tensors)}")
    if any(each.shape != first.shape or each.dtype is not first.dtype for each in tensors):
        raise ValueError("tensors of a list have to have one shape and one dtype")
    flat = transfer.empty((count, *first.shape), first.array.dtype, first.device)
    if filled:
        for index, each in enumerate(tensors):
            write(flat[index], each.array)
    return flat


def _unpack(flat, tensors):
    def copy():
        for index, each in enumerate(tensors):
            write(each.array, flat[index])

    return copy


def _back(tensor, array):
    """What copies a packed result to the tensor it is for, or None."""
    return None if array is tensor.array else lambda: write(tensor.array, array)


def _finish(engine, work, results, async_op):
    work._result = list(results)
    for each in results:
        bump(each)
    if async_op:
        engine.flush()
        return work
    work.wait()
    return None


def _root(group, rank, group_rank):
    if (rank is None) == (group_rank is None):
        raise ValueError("Must specify either a global rank or a rank of the group, and not both")
    return get_group_rank(group, rank) if group_rank is None else group_rank


def all_reduce(tensor, op=ReduceOp.SUM, group=None, async_op=False):
    """Every rank's `tensor` becomes the reduction of all of them."""
    group = resolve(group)
    if _outside(group, "all_reduce"):
        return None
    engine = group.engine(_one(tensor, "tensor").device)
    array = _whole(tensor.array)
    return _finish(engine, engine.all_reduce(array, ReduceOp(op), _back(tensor, array)), [tensor], async_op)


def reduce(tensor, dst=None, op=ReduceOp.SUM, group=None, async_op=False, group_dst=None):
    """The tensor of rank `dst` becomes the reduction of all."""
    group = resolve(group)
    if _outside(group, "reduce"):
        return None
    engine = group.engine(_one(tensor, "tensor").device)
    array = _whole(tensor.array)
    work = engine.reduce(array, _root(group, dst, group_dst), ReduceOp(op), _back(tensor, array))
    return _finish(engine, work, [tensor], async_op)


def broadcast(tensor, src=None, group=None, async_op=False, group_src=None):
    """Every rank's `tensor` becomes that of rank `src`."""
    group = resolve(group)
    if _outside(group, "broadcast"):
        return None
    engine = group.engine(_one(tensor, "tensor").device)
    array = _whole(tensor.array)
    work = engine.broadcast(array, _root(group, src, group_src), _back(tensor, array))
    return _finish(engine, work, [tensor], async_op)


def all_gather_into_tensor(output_tensor, input_tensor, group=None, async_op=False):
    """`output_tensor` becomes every rank's `input_tensor`, one behind the other."""
    group = resolve(group)
    if _outside(group, "all_gather_into_tensor"):
        return None
    _one(output_tensor, "output_tensor")
    engine = group.engine(_one(input_tensor, "input_tensor").device)
    if output_tensor.dtype is not input_tensor.dtype:
        raise TypeError("output tensor must have the same type as input tensor")
    if output_tensor.numel() != group.size() * input_tensor.numel():
        raise ValueError("output tensor size must be equal to world_size times input tensor size")
    out = _whole(output_tensor.array)
    work = engine.all_gather(out, _whole(input_tensor.array), _back(output_tensor, out))
    return _finish(engine, work, [output_tensor], async_op)


def all_gather(tensor_list, tensor, group=None, async_op=False):
    """`tensor_list` becomes every rank's `tensor`."""
    group = resolve(group)
    if _outside(group, "all_gather"):
        return None
    engine = group.engine(_one(tensor, "tensor").device)
    flat = _packed(_many(tensor_list, "tensor_list"), group.size(), filled=False)
    work = engine.all_gather(flat, _whole(tensor.array), _unpack(flat, tensor_list))
    return _finish(engine, work, tensor_list, async_op)


def gather(tensor, gather_list=None, dst=None, group=None, async_op=False, group_dst=None):
    """The `gather_list` of rank `dst` becomes every rank's `tensor`."""
    group = resolve(group)
    if _outside(group, "gather"):
        return None
    engine = group.engine(_one(tensor, "tensor").device)
    root = _root(group, 0 if dst is None and group_dst is None else dst, group_dst)
    flat = after = None
    if group.rank() == root:
        if not gather_list:
            raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
        flat = _packed(_many(gather_list, "gather_list"), group.size(), filled=False)
        after = _unpack(flat, gather_list)
    elif gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    return _finish(engine, engine.gather(flat, _whole(tensor.array), root, after), gather_list or [], async_op)


def scatter(tensor, scatter_list=None, src=None, group=None, async_op=False, group_src=None):
    """`tensor` becomes this rank's entry of the `scatter_list` of rank `src`."""
    group = resolve(group)
    if _outside(group, "scatter"):
        return None
    engine = group.engine(_one(tensor, "tensor").device)
    root = _root(group, 0 if src is None and group_src is None else src, group_src)
    flat = None
    if group.rank() == root:
        if not scatter_list:
            raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
        flat = _packed(_many(scatter_list, "scatter_list"), group.size(), filled=True)
    elif scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    array = _whole(tensor.array)
    return _finish(engine, engine.scatter(array, flat, root, _back(tensor, array)), [tensor], async_op)


def reduce_scatter_tensor(output, input, op=ReduceOp.SUM, group=None, async_op=False):
    """`output` becomes this rank's part of the reduction of every rank's `input`."""
    group = resolve(group)
    if _outside(group, "reduce_scatter_tensor"):
        return None
    engine = group.engine(_one(output, "output").device)
    if _one(input, "input").dtype is not output.dtype:
        raise TypeError("input tensor must be the same type as the output tensor.")
    if input.numel() != group.size() * output.numel():
        raise ValueError("input tensor must be the same size as output size times world size")
    array = _whole(output.array)
    work = engine.reduce_scatter(array, _whole(input.array), ReduceOp(op), _back(output, array))
    return _finish(engine, work, [output], async_op)


def reduce_scatter(output, input_list, op=ReduceOp.SUM, group=None, async_op=False):
    """`output` becomes the reduction of this rank's entry of every rank's `input_list`."""
    group = resolve(group)
    if _outside(group, "reduce_scatter"):
        return None
    engine = group.engine(_one(output, "output").device)
    flat = _packed(_many(input_list, "input_list"), group.size(), filled=True)
    array = _whole(output.array)
    return _finish(engine, engine.reduce_scatter(array, flat, ReduceOp(op), _back(output, array)), [output], async_op)


def all_to_all_single(output, input, output_split_sizes=None, input_split_sizes=None, group=None, async_op=False):
    """Part r of `input` goes to rank r, and part r of `output` comes from it; parts are along the first dimension."""
    group = resolve(group)
    if _outside(group, "all_to_all_single"):
        return None
    engine = group.engine(_one(output, "output").device)
    received = _counts(_one(output, "output"), output_split_sizes, group.size())
    sent = _counts(_one(input, "input"), input_split_sizes, group.size())
    array = _whole(output.array)
    work = engine.all_to_all(array, _whole(input.array), received, sent, _back(output, array))
    return _finish(engine, work, [output], async_op)


def _counts(tensor, sizes, ranks):
    """The elements of each rank's part of a tensor."""
    rows = tensor.shape[0]
    if not sizes:
        if rows % ranks:
            raise RuntimeError("Tensor's dim 0 does not divide equally across group size")
        sizes = [rows // ranks] * ranks
    if len(sizes) != ranks or sum(sizes) != rows:
        raise RuntimeError("Split sizes doesn't match total dim 0 size")
    row = tensor.numel() // rows if rows else 0
    return [each * row for each in sizes]


def barrier(group=None, async_op=False, device_ids=None):
    """Complete when every rank of the group has called it."""
    group = resolve(group)
    if _outside(group, "barrier"):
        return None
    engine = group.control()
    return _finish(engine, engine.barrier(), [], async_op)
