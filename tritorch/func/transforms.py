"""Functions made into functions of derivatives: grad, vjp, jvp, linearize.

Nothing is written to `.grad`, and a gradient is seen only by what depends on the function's own arguments. Where the
result also depends on tensors outside that want gradients, it can be differentiated by them, so transforms nest.
"""

from __future__ import annotations

import functools

from tritorch.autograd.grad_mode import state
from tritorch.autograd.variable import Variable
from tritorch.func.batched import without
from tritorch.func.graph import Run, gradients, recording
from tritorch.utils.pytree import tree_flatten, tree_unflatten


def grad(func, argnums=0, has_aux=False):
    """A function that gives the gradient of `func`, which returns one number, by its arguments `argnums`.

    `argnums` is an int or a tuple of them; with `has_aux`, `func` returns (number, aux) and the result is
    (gradient, aux).
    """

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        found = _grad_and_value(func, argnums, has_aux, args, kwargs)
        return (found[0], found[1][1]) if has_aux else found[0]

    return wrapper


def grad_and_value(func, argnums=0, has_aux=False):
    """As `grad`, but the function gives (gradient, value), or (gradient, (value, aux))."""

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        return _grad_and_value(func, argnums, has_aux, args, kwargs)

    return wrapper


def _grad_and_value(func, argnums, has_aux, args, kwargs):
    chosen, partial = split_arguments(func, argnums, args, kwargs)
    run = Run(partial, chosen)
    output, aux = run.result, None
    if has_aux:
        output, aux = _with_aux("grad_and_value(f)(*args)", output)
    if not isinstance(output, Variable):
        raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(output)}")
    if output.dim():
        raise RuntimeError(
            "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
            f"{output.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
        )
    with recording(run.outer):
        found = run.pull([output], [output.detach().new_ones(())], retain_graph=run.connected)
    found = tree_unflatten(found, tree_flatten(chosen)[1])
    found = found[0] if isinstance(argnums, int) else found
    value = run.handed_on(output)
    return found, (value, run.handed_on(aux)) if has_aux else value


def split_arguments(func, argnums, args, kwargs):
    """The arguments that are differentiated by, as a tuple, and `func` as a function of those alone."""
    places = (argnums,) if isinstance(argnums, int) else argnums
    if not isinstance(places, tuple) or not all(isinstance(each, int) for each in places):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if not places:
        raise RuntimeError("argnums must be non-empty")
    count, wrapped = len(args), []
    for each in places:
        if not -count <= each < count:
            raise RuntimeError(f"Got argnum={each}, but only {count} positional inputs")
        wrapped.append(each % count)
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")

    def partial(*given):
        whole = list(args)
        for place, value in zip(wrapped, given, strict=True):
            whole[place] = value
        return func(*whole, **kwargs)

    return tuple([args[each] for each in wrapped]), partial


def _with_aux(api, output):
    if not (isinstance(output, tuple) and len(output) == 2):
        raise RuntimeError(f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return output


def _only_tensors(api, tree):
    """The leaves of what a function returned, and their tree; PyTorch's error unless all are tensors."""
    flat, spec = tree_flatten(tree)
    for each in flat:
        if not isinstance(each, Variable):
            raise RuntimeError(f"{api}: expected f(*primals) to return only tensors, got unsupported type {type(each)}")
    return flat, spec


def vjp(func, *primals, has_aux=False):
    """func(*primals), and a function that multiplies a cotangent with its Jacobian: (value, vjp_fn[, aux]).

    `vjp_fn` takes cotangents in the structure of the value and gives the gradients of the primals, as a tuple.
    """
    run, output, aux = _run(func, primals, has_aux, "vjp(f, *primals)")
    outputs, spec = _only_tensors("vjp(f, *primals)", output)
    of_primals = tree_flatten(primals)[1]

    def wrapper(cotangents, retain_graph=True, create_graph=None):
        seeds, own = tree_flatten(cotangents)
        if own != spec:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                f"function. cotangents: {_short(own)}, primal output: {_short(spec)}"
            )
        for at, (seed, each) in enumerate(zip(seeds, outputs, strict=True)):
            _check_seed(at, seed, each)
        record = state.recording if create_graph is None else create_graph
        with recording(record):
            return tree_unflatten(run.pull(outputs, seeds, retain_graph), of_primals)

    value = run.handed_on(output)
    return (value, wrapper, run.handed_on(aux)) if has_aux else (value, wrapper)


def _short(spec):
    """A tree of stars, as PyTorch writes it in this place."""
    if spec.is_leaf():
        return "*"
    return str(tree_unflatten(["*"] * spec.num_leaves, spec)).replace("'", "")


def _check_seed(at, seed, output):
    if not isinstance(seed, Variable):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(seed).__name__}")
    if tuple(seed.shape) != tuple(output.shape):
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{at}] has a shape of {seed.shape} "
            f"and output[{at}] has a shape of {output.shape}."
        )


def _run(func, primals, has_aux, api):
    run = Run(func, primals)
    return run, *(_with_aux(api, run.result) if has_aux else (run.result, None))


class Linear:
    """The linear map that a run is at its primals: tangents in, the outputs' tangents out.

    The gradient u -> u^T J is linear in u, and its own gradient by u, v -> J v, is what is asked for: two passes
    backward instead of one forward. The point u = 1 is as good as any, but for ops that treat zero gradients apart.
    """

    def __init__(self, run, outputs):
        self.run, self.outputs = run, outputs
        self.points = [run.bare(each).detach().new_ones(run.bare(each).shape) for each in outputs]
        for each in self.points:
            each.requires = each.is_floating_point()
        pairs = list(zip(map(run.bare, outputs), self.points, strict=True))
        with without(run.levels):
            self.pulled = gradients(pairs, run.leaves, retain_graph=True, create_graph=True)

    def push(self, tangents):
        """The tangents of the outputs, zero where they depend on none of the primals."""
        run = self.run
        record = state.recording and (run.connected or any(each.requires_grad for each in tangents))
        bare = [run.bare(each) for each in tangents]
        pairs = [(g, each) for g, each in zip(self.pulled, bare, strict=True) if g is not None]
        points = [each for each in self.points if each.requires]
        with without(run.levels):
            found = iter(gradients(pairs, points, retain_graph=True, create_graph=record))
            found = [next(found) if each.requires else None for each in self.points]
            found = [u.new_zeros(u.shape) if g is None else g for u, g in zip(self.points, found, strict=True)]
        return [run.seen(each) for each in found]


def jvp(func, primals, tangents, *, strict=False, has_aux=False):
    """func(*primals), and the Jacobian times `tangents`: (value, its tangent[, aux]).

    Computed by two passes backward (see Linear), so all that `func` does must have second derivatives. With `strict`,
    outputs that do not depend on the primals are an error.
    """
    api = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{api}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    (flat, spec), (moves, own) = tree_flatten(primals), tree_flatten(tangents)
    if spec != own:
        raise RuntimeError(
            f"{api}: Expected primals and tangents to have the same python structure. For example, if primals is a "
            f"tuple of 3 tensors, tangents also must be. Got primals with structure {spec} and tangents with structure "
            f"{own}"
        )
    _check_tensors(api, "primals", flat)
    _check_tensors(api, "tangents", moves)
    for each, move in zip(flat, moves, strict=True):
        if each.shape != move.shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the original Tensor, this is "
                f"not supported. Tensor is of size {list(each.shape)} while the given forward gradient is of size "
                f"{list(move.shape)}."
            )
    run, output, aux = _run(func, primals, has_aux, api)
    outputs, of_output = _only_tensors(api, output)
    if strict and not all(each.requires_grad for each in outputs):
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed "
            "with strict=True."
        )
    moved = tree_unflatten(Linear(run, outputs).push(moves), of_output)
    value = run.handed_on(output)
    return (value, moved, run.handed_on(aux)) if has_aux else (value, moved)


def _check_tensors(api, name, flat):
    for each in flat:
        if not isinstance(each, Variable):
            raise RuntimeError(f"{api}: Expected {name} to only contain Tensors, got {type(each)}")
    if not flat:
        raise RuntimeError(f"{api}: Expected {name} to contain at least one Tensor.")


def linearize(func, *primals):
    """func(*primals), and a function that multiplies tangents with its Jacobian, without running `func` again.

    As `jvp`, it takes second derivatives; the tangents have the structure of the primals, the result that of the value.
    """
    run = Run(func, primals)
    outputs, of_output = _only_tensors("linearize(f, *primals)", run.result)
    linear = Linear(run, outputs)
    flat, spec = tree_flatten(primals)

    def push(*tangents):
        moves, own = tree_flatten(tangents)
        if own != spec:
            raise RuntimeError(f"Expected the tangents {own} to have the same argspec as the primals {spec}")
        for at, (each, move) in enumerate(zip(flat, moves, strict=True)):
            if each.shape != move.shape:
                raise RuntimeError(
                    f"tangent:{at} with shape {move.shape} in flattened pytree doesn't match the shape {each.shape} of "
                    "the corresponding primal."
                )
        return tree_unflatten(linear.push(moves), of_output)

    return run.handed_on(run.result), push
