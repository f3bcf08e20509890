"""Jacobians and Hessians: vjp or jvp of a function, mapped over the vectors of a basis."""

from __future__ import annotations

import functools
import math

from tritorch.func.graph import Run
from tritorch.func.transforms import Linear, _only_tensors, _with_aux, split_arguments
from tritorch.func.vmap import vmap
from tritorch.ops.base import EXPORTS
from tritorch.utils.pytree import tree_flatten, tree_unflatten


def jacrev(func, argnums=0, *, has_aux=False, chunk_size=None, _preallocate_and_copy=False):
    """A function that gives the Jacobian of `func` by its arguments `argnums`, backward: one pass for each output.

    For an output of shape (*o) and an argument of shape (*i) it has shape (*o, *i); outputs in a tree give the tree of
    what arguments in trees give. All passes run at once, or `chunk_size` of them.
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        chosen, partial = split_arguments(func, argnums, args, kwargs)
        run = Run(partial, chosen)
        output, aux = _with_aux("vjp(f, *primals)", run.result) if has_aux else (run.result, None)
        outputs, of_output = _only_tensors("vjp(f, *primals)", output)
        basis = basis_of(outputs)
        rows = vmap(lambda *seeds: run.pull(outputs, seeds), chunk_size=chunk_size)(*basis)
        found = _by_output(rows, [tuple(each.shape) for each in outputs])
        found = tree_unflatten([_by_argument(each, chosen, argnums) for each in found], of_output)
        return (found, run.handed_on(aux)) if has_aux else found

    return wrapper


def basis_of(tensors):
    """For each tensor, of n elements of N in all, (N, *shape): the part of it that each vector of the basis has."""
    counts = [each.numel() for each in tensors]
    total, start, found = sum(counts), 0, []
    for each, count in zip(tensors, counts, strict=True):
        part = each.detach().new_zeros((total, count)) if each.level is None else _zeros_like(each, total, count)
        if count:
            part[start : start + count].fill_diagonal_(1)
        found.append(part.reshape((total, *each.shape)))
        start += count
    return found


def _zeros_like(tensor, *size):
    """Zeros that are no batch of examples, for one that is."""
    return EXPORTS["zeros"](size, dtype=tensor.dtype, device=tensor.device)


def _by_output(rows, shapes):
    """(N, *i) for each argument as, for each output, a list of (*o, *i)."""
    found, start = [], 0
    for shape in shapes:
        count = math.prod(shape)
        found.append([each.narrow(0, start, count).reshape((*shape, *each.shape[1:])) for each in rows])
        start += count
    return found


def _by_argument(flat, chosen, argnums):
    found = tree_unflatten(flat, tree_flatten(chosen)[1])
    return found[0] if isinstance(argnums, int) else found


def jacfwd(func, argnums=0, has_aux=False, *, randomness="error"):
    """As `jacrev`, forward: one pass for each element of the arguments, by two backward (see `jvp`).

    `func` runs once, outside of any mapping, so `randomness` has nothing to decide.
    """

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        chosen, partial = split_arguments(func, argnums, args, kwargs)
        run = Run(partial, chosen)
        api = "jvp(f, primals, tangents)"
        output, aux = _with_aux(api, run.result) if has_aux else (run.result, None)
        outputs, of_output = _only_tensors(api, output)
        linear, primals = Linear(run, outputs), tree_flatten(chosen)[0]
        columns = vmap(lambda *moves: linear.push(moves), randomness=randomness, out_dims=-1)(*basis_of(primals))
        found = []
        for each in columns:
            start, parts = 0, []
            for primal in primals:
                part = each.narrow(-1, start, primal.numel())
                parts.append(part.reshape((*each.shape[:-1], *primal.shape)))
                start += primal.numel()
            found.append(_by_argument(parts, chosen, argnums))
        found = tree_unflatten(found, of_output)
        return (found, run.handed_on(aux)) if has_aux else found

    return wrapper


def hessian(func, argnums=0):
    """A function that gives the Hessian of `func` by its arguments `argnums`, of shape (*o, *i, *i).

    The Jacobian of the Jacobian, both backward: PyTorch's outer one goes forward, which here would be two more passes.
    """
    return jacrev(jacrev(func, argnums), argnums)
