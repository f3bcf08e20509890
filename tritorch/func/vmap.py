"""vmap: a function of one example made into a function of a batch of them."""

from __future__ import annotations

import functools
import itertools

from tritorch.autograd.variable import Variable
from tritorch.func.batched import Batched, Level, bare, check_randomness
from tritorch.func.graph import transforming
from tritorch.ops.base import TABLE
from tritorch.ops.batching import moved
from tritorch.ops.dimensions import wrap_dim
from tritorch.utils.pytree import broadcast_prefix, tree_flatten, tree_unflatten


def vmap(func, in_dims=0, out_dims=0, randomness="error", *, chunk_size=None):
    """A function that maps `func` over a dimension of its arguments, all examples at once.

    in_dims     an int, or a tree as the arguments are: the dimension that is mapped over, None for what is shared
    out_dims    an int, or a tree as the results are: where that dimension stands in them
    randomness  whether drawing random numbers is an "error", "different" for each example, or the "same" for all
    chunk_size  how many examples at most run at once; None for all

    Keyword arguments are shared. Each op runs by its batching rule on the whole batch; one that has none runs on one
    example after the other, which is right but slow, and is said once. Reading elements (`item`, `if`) is an error.
    """
    check_randomness(randomness)
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapped(*args, **kwargs):
        _check_out_dims(func, out_dims)
        size, dims, flat, spec = _inputs(func, in_dims, args)
        if chunk_size is None or chunk_size >= size:
            outputs, of_outputs, _ = _mapped(func, size, dims, flat, spec, out_dims, randomness, kwargs)
            return tree_unflatten(outputs, of_outputs)
        return _by_chunks(func, size, dims, flat, spec, out_dims, randomness, kwargs, chunk_size)

    return wrapped


def name_of(func):
    """What errors call a function."""
    if hasattr(func, "__name__"):
        return func.__name__
    return f"functools.partial({name_of(func.func)}, ...)" if isinstance(func, functools.partial) else repr(func)


def _check_out_dims(func, out_dims):
    for each in tree_flatten(out_dims)[0]:
        if not (each is None or isinstance(each, int)):
            raise ValueError(
                f"vmap({name_of(func)}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python "
                "collection of ints representing where in the outputs the vmapped dimension should appear."
            )


def _inputs(func, in_dims, args):
    """The size of the batch, and the leaves of the arguments with the dimension of each that is mapped over."""
    call = f"vmap({name_of(func)}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{call}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
            f"got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name_of(func)})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to "
            "vmap over a function with no inputs. The latter is unsupported."
        )
    flat, spec = tree_flatten(args)
    dims = broadcast_prefix(in_dims, spec)
    if dims is None:
        raise ValueError(
            f"{call}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{tree_flatten(in_dims)[1]} but inputs has structure {spec}."
        )
    dims = [_input_dim(call, arg, dim) for arg, dim in zip(flat, dims, strict=True)]
    sizes = [arg.shape[dim] for arg, dim in zip(flat, dims, strict=True) if dim is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any(each != sizes[0] for each in sizes):
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, "
            f"got sizes {sizes} for the mapped dimension"
        )
    return sizes[0], dims, flat, spec


def _input_dim(call, arg, dim):
    if dim is None:
        return None
    if not isinstance(dim, int):
        raise ValueError(
            f"{call}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or None."
        )
    if not isinstance(arg, Variable):
        raise ValueError(
            f"{call}: Got in_dim={dim} for an input but the input is of type {type(arg)}. We cannot vmap over "
            "non-Tensor arguments, please use None as the respective in_dim"
        )
    rank = arg.dim()
    if not -rank <= dim < rank:
        raise ValueError(
            f"{call}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {rank} so expected "
            f"in_dim to satisfy -{rank} <= in_dim < {rank}."
        )
    return dim % rank


def _mapped(func, size, dims, flat, spec, out_dims, randomness, kwargs):
    """The leaves of the results, their tree, and where the batch is in each."""
    level = Level(size, randomness)
    given = [
        arg if dim is None else Batched(moved(arg, dim, 0) if dim else arg, level)
        for arg, dim in zip(flat, dims, strict=True)
    ]
    with transforming(), level:
        result = func(*tree_unflatten(given, spec), **kwargs)
    outputs, of_outputs = tree_flatten(result)
    places = broadcast_prefix(out_dims, of_outputs)
    if places is None:
        raise ValueError(
            f"vmap({name_of(func)}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure "
            f"of `outputs`. out_dims has structure {tree_flatten(out_dims)[1]} but outputs has structure {of_outputs}."
        )
    found = [_output(func, level, each, place) for each, place in zip(outputs, places, strict=True)]
    return found, of_outputs, places


def _output(func, level, output, place):
    name = name_of(func)
    if place is None:
        if isinstance(output, Batched) and output.level is level:
            raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
        return output
    if not isinstance(output, Variable):
        raise ValueError(
            f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(output)}. Did you mean to set "
            "out_dims= to None for output?"
        )
    whole = bare(output, level)
    place = wrap_dim(place, whole.dim())
    return moved(whole, 0, place) if place else whole


def _by_chunks(func, size, dims, flat, spec, out_dims, randomness, kwargs, chunk_size):
    parts = []
    for start in range(0, size, chunk_size):
        length = min(chunk_size, size - start)
        some = [arg if dim is None else arg.narrow(dim, start, length) for arg, dim in zip(flat, dims, strict=True)]
        outputs, of_outputs, places = _mapped(func, length, dims, some, spec, out_dims, randomness, kwargs)
        parts.append(outputs)
    joined = [
        each[0] if place is None else _joined(each, place)
        for each, place in zip(zip(*parts, strict=True), places, strict=True)
    ]
    return tree_unflatten(joined, of_outputs)


def _joined(tensors, place):
    place = wrap_dim(place, tensors[0].dim())
    starts = itertools.accumulate((each.shape[place] for each in tensors[:-1]), initial=0)
    return TABLE["cat"].apply(place, tuple(starts), *tensors)
