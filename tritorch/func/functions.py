"""autograd.Function under vmap: by a rule that its writer gave, or by one made from its forward and backward."""

from __future__ import annotations

from typing import NamedTuple

from tritorch.autograd.function import Function, FunctionContext
from tritorch.autograd.variable import Variable
from tritorch.func.batched import Batched, Level, bare, without
from tritorch.ops.batching import moved
from tritorch.utils.pytree import broadcast_prefix, tree_flatten, tree_unflatten

_MORE = "For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"


class VmapInfo(NamedTuple):
    """What a Function's static method `vmap` is told of the map."""

    batch_size: int
    randomness: str


def apply_to_batch(level, function, args):
    """The call of a Function some of whose arguments have the batch of `level`, the innermost there is."""
    if not hasattr(function, "setup_context"):
        raise RuntimeError(
            "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must "
            f"override the setup_context staticmethod. {_MORE}"
        )
    flat, spec = tree_flatten(args)
    own = [type(each) is Batched and each.level is level for each in flat]
    values = [each.value if batched else each for each, batched in zip(flat, own, strict=True)]
    with without([level], repeats=False):
        if function.generate_vmap_rule:
            return _wrapped(level, *_by_made_rule(level, function, spec, own, values))
        if function.vmap is Function.vmap:
            raise RuntimeError(
                f"You tried to vmap over {function.__name__}, but it does not have vmap support. Please override and "
                f"implement the vmap staticmethod or set generate_vmap_rule=True. {_MORE}"
            )
        dims = tree_unflatten([0 if batched else None for batched in own], spec)
        info = VmapInfo(level.size, level.randomness)
        return _wrapped(level, *function.vmap(info, dims, *tree_unflatten(values, spec)))


def _wrapped(level, outputs, dims):
    """Outputs with the batch at `dims` as examples."""
    flat, spec = tree_flatten(outputs)
    found = [
        each if dim is None or not isinstance(each, Variable) else Batched(moved(each, dim % each.dim(), 0), level)
        for each, dim in zip(flat, broadcast_prefix(dims, spec), strict=True)
    ]
    return tree_unflatten(found, spec)


def _examples(level, tensors, own):
    return [Batched(each, level) if batched else each for each, batched in zip(tensors, own, strict=True)]


def _by_made_rule(level, function, spec, own, values):
    """The forward on examples, and a backward that runs the function's own on examples again."""
    size, randomness = level.size, level.randomness

    class Rule(Function):
        @staticmethod
        def forward(ctx, *values):
            inner, here = FunctionContext(function, ctx.needs_input_grad), Level(size, randomness)
            with here:
                args = tree_unflatten(_examples(here, values, own), spec)
                results = function.forward(*args)
                function.setup_context(inner, args, results)
            ctx.inner, ctx.saved = inner, [type(each) is Batched for each in inner.to_save]
            ctx.save_for_backward(*[each.value if type(each) is Batched else each for each in inner.to_save])
            ctx.set_materialize_grads(inner.materialize_grads)
            flat, ctx.of_results = tree_flatten(results)
            bared = [bare(each, here) if isinstance(each, Variable) else each for each in flat]
            fixed = [any(each is other for other in inner.not_differentiable) for each in flat]
            ctx.mark_non_differentiable(*[each for each, no in zip(bared, fixed, strict=True) if no])
            return tree_unflatten(bared, ctx.of_results)

        @staticmethod
        def backward(ctx, *grads):
            here = Level(size, "same")
            with here:
                ctx.inner.inputs = tuple(_examples(here, ctx.saved_tensors, ctx.saved))
                found = function.backward(ctx.inner, *[None if each is None else Batched(each, here) for each in grads])
            found = found if isinstance(found, tuple) else (found,)
            found = [None if each is None else bare(each, here) for each in found]
            # A gradient of what the examples share is the sum of theirs.
            shared = zip(found, own, strict=True)
            return tuple([each if each is None or batched else each.sum(0) for each, batched in shared])

    Rule.__name__ = Rule.__qualname__ = function.__name__
    return Rule.apply(*values), 0
