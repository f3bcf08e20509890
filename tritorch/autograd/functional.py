"""torch.autograd.functional: vjp, jvp, vhp, hvp, jacobian, hessian of functions of tensors, and batches of gradients.

Inputs, outputs and vectors are tensors or tuples of them; results have the form of what they belong to. `strict` makes
it an error that an output or a derivative does not depend on an input, which is else a derivative of zeros.
"""

from __future__ import annotations

from tritorch.autograd import grad
from tritorch.autograd.engine import Target, run
from tritorch.autograd.grad_mode import enable_grad
from tritorch.autograd.variable import Variable
from tritorch.func import jacfwd
from tritorch.func.batched import Batched, Level, bare, dressed, levels, without
from tritorch.func.jacobians import basis_of
from tritorch.ops.base import EXPORTS
from tritorch.ops.shape.views import alias_view

# ---------------------------------------------------------------- tuples, and what may be wrong with them


def _as_tuple(given, arg, fn):
    """Whether `given` is a tuple, and it as one; PyTorch's error for anything but tensors."""
    is_tuple = isinstance(given, tuple)
    found = given if is_tuple else (given,)
    for at, each in enumerate(found):
        if not isinstance(each, Variable):
            what = f"value at index {at} has" if is_tuple else f"given {arg} has"
            raise TypeError(
                f"The {arg} given to {fn} must be either a Tensor or a tuple of Tensors but the {what} type "
                f"{type(each)}."
            )
    return is_tuple, found


def _outputs(func, inputs, fn, strict):
    is_tuple, outputs = _as_tuple(func(*inputs), "outputs of the user-provided function", fn)
    _check_outputs(outputs, strict)
    return is_tuple, outputs


def _check_outputs(outputs, strict):
    for at, each in enumerate(outputs):
        if strict and not each.requires_grad:
            raise RuntimeError(
                f"Output {at} of the user-provided function does not require gradients. The outputs must be computed "
                "in a differentiable manner from the input when running in strict mode."
            )


def _leaves(inputs, create_graph):
    """Inputs to differentiate by: part of the caller's graph where one is to be created."""
    found = []
    for each in inputs:
        if create_graph and each.requires_grad:
            found.append(alias_view(each))
        else:
            found.append(each.detach().requires_grad_())
    return tuple(found)


def _check_vector(v, other, is_tuple):
    if len(v) != len(other):
        if is_tuple:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(other)} but got {len(v)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for at, (mine, its) in enumerate(zip(v, other, strict=True)):
        if mine.shape != its.shape:
            entry = f"Entry {at} in " if is_tuple else ""
            raise RuntimeError(f"{entry}v has invalid size: should be {its.shape} but got {mine.shape}.")


def _vector(v, other, is_tuple, fn, of):
    """The vector `v` as a tuple in the form of `other`; ones where None is given and there is one element."""
    if v is None:
        if len(other) != 1 or other[0].numel() != 1:
            raise RuntimeError(
                f"The vector v can only be None if {of} a single Tensor with a single element."
            )  # fmt: skip
        return (other[0].detach().new_ones(other[0].shape),)
    v = _as_tuple(v, "v", fn)[1]
    _check_vector(v, other, is_tuple)
    return tuple(each.detach() if not each.requires_grad else each for each in v)


_OF_INPUT, _OF_OUTPUT = "the input to the user-provided function is", "the user-provided function returns"


def _gradients(outputs, inputs, seeds=None, create_graph=False, retain_graph=None):
    """The gradients of those outputs that have any; None where there is none."""
    seeds = (None,) * len(outputs) if seeds is None else seeds
    pairs = [(y, g) for y, g in zip(outputs, seeds, strict=True) if y is not None and y.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    outputs, seeds = zip(*pairs, strict=True)
    return grad(outputs, inputs, seeds, create_graph=create_graph, retain_graph=retain_graph, allow_unused=True)


def _filled(found, inputs, strict, create_graph=False, what="output", of="input"):
    """Zeros where there is no gradient, unless that is an error."""
    made = []
    for at, (each, like) in enumerate(zip(found, inputs, strict=True)):
        if each is None and strict:
            raise RuntimeError(
                f"The {what} of the user-provided function is independent of {of} {at}. This is not allowed in strict "
                "mode."
            )
        if each is not None and strict and create_graph and not each.requires_grad:
            higher = "jacobian" if what == "output" else "hessian"
            raise RuntimeError(
                f"The {higher} of the user-provided function is independent of input {at}. This is not allowed in "
                "strict mode when create_graph=True."
            )
        made.append(like.detach().new_zeros(like.shape) if each is None else each)
    return tuple(made)


def _finished(found, create_graph, *are_tuples):
    """Results, nested as deep as there are flags, without their history unless it is wanted; single ones unpacked."""
    if not are_tuples:
        return found if create_graph else found.detach()
    inner = tuple([_finished(each, create_graph, *are_tuples[1:]) for each in found])
    return inner if are_tuples[0] else inner[0]


# ---------------------------------------------------------------- products with vectors


def vjp(func, inputs, v=None, create_graph=False, strict=False):
    """The outputs of `func`, and the vector `v`, in their form, times the Jacobian."""
    with enable_grad():
        are_inputs, inputs = _as_tuple(inputs, "inputs", "vjp")
        inputs = _leaves(inputs, create_graph)
        are_outputs, outputs = _outputs(func, inputs, "vjp", strict)
        v = _vector(v, outputs, are_outputs, "vjp", _OF_OUTPUT)
        found = _filled(_gradients(outputs, inputs, v, create_graph), inputs, strict, create_graph)
    return _finished(outputs, create_graph, are_outputs), _finished(found, create_graph, are_inputs)


def jvp(func, inputs, v=None, create_graph=False, strict=False):
    """The outputs of `func`, and the Jacobian times the vector `v`, in the form of the inputs.

    By differentiating the product of a vector with the Jacobian by that vector, so it takes second derivatives.
    """
    with enable_grad():
        are_inputs, inputs = _as_tuple(inputs, "inputs", "jvp")
        inputs = _leaves(inputs, create_graph)
        v = _vector(v, inputs, are_inputs, "jvp", _OF_INPUT)
        are_outputs, outputs = _outputs(func, inputs, "jvp", strict)
        points = tuple([each.detach().new_ones(each.shape).requires_grad_() for each in outputs])
        pulled = _gradients(outputs, inputs, points, True)
        _filled(pulled, inputs, strict)
        pairs = [(g, each) for g, each in zip(pulled, v, strict=True) if g is not None]
        found = _filled(_pushed(pairs, points, create_graph), outputs, strict, create_graph)
    return _finished(outputs, create_graph, are_outputs), _finished(found, create_graph, are_outputs)


def _pushed(pairs, points, create_graph):
    if not pairs:
        return (None,) * len(points)
    pulled, v = zip(*pairs, strict=True)
    return _gradients(pulled, points, v, create_graph)


def _slope(func, inputs, fn, strict):
    """The output of a function of one element, and its gradient, which can be differentiated."""
    is_tuple, outputs = _outputs(func, inputs, fn, strict)
    if is_tuple:
        raise RuntimeError(f"The function given to {fn} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {fn} should contain a single element")
    found = _filled(_gradients(outputs, inputs, create_graph=True), inputs, strict and fn != "hessian")
    for at, each in enumerate(found):
        if strict and not each.requires_grad:
            raise RuntimeError(
                "While computing the hessian, found that the jacobian of the user-provided function with respect to "
                f"input {at} is independent of the input. This is not allowed in strict mode. You should ensure that "
                "your function is twice differentiable and that the jacobian depends on the inputs (this would be "
                "violated by a linear function for example)."
            )
    return outputs, found


def _with_hessian(fn, func, inputs, v, create_graph, strict):
    with enable_grad():
        are_inputs, inputs = _as_tuple(inputs, "inputs", fn)
        inputs = _leaves(inputs, create_graph)
        v = _vector(v, inputs, are_inputs, fn, _OF_INPUT)
        outputs, slope = _slope(func, inputs, fn, strict)
        found = _gradients(slope, inputs, v, create_graph)
        found = _filled(found, inputs, strict, create_graph, what="jacobian")
    return _finished(outputs, create_graph, False), _finished(found, create_graph, are_inputs)


def vhp(func, inputs, v=None, create_graph=False, strict=False):
    """The output of `func`, of one element, and the vector `v`, in the form of the inputs, times its Hessian."""
    return _with_hessian("vhp", func, inputs, v, create_graph, strict)


def hvp(func, inputs, v=None, create_graph=False, strict=False):
    """The output of `func`, of one element, and its Hessian times the vector `v`, in the form of the inputs.

    A Hessian is symmetric, so this is `vhp`: one pass backward less than PyTorch makes.
    """
    return _with_hessian("hvp", func, inputs, v, create_graph, strict)


# ---------------------------------------------------------------- whole Jacobians


def jacobian(func, inputs, create_graph=False, strict=False, vectorize=False, strategy="reverse-mode"):
    """The Jacobian of each output by each input, of shape (*output, *input).

    One pass backward for each element of the outputs; with `vectorize` all at once, as `vmap` does, or, with strategy
    "forward-mode", all of the passes forward, one for each element of the inputs.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs '
            'than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".'
        )
    if vectorize and strict:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. "
            "Please either set `strict=False` or `vectorize=False`."
        )
    if strategy == "forward-mode":
        return _forward(func, inputs, create_graph, vectorize)
    with enable_grad():
        are_inputs, inputs = _as_tuple(inputs, "inputs", "jacobian")
        inputs = _leaves(inputs, create_graph)
        are_outputs, outputs = _outputs(func, inputs, "jacobian", strict)
        if vectorize:
            found = _all_rows(outputs, inputs, create_graph)
        else:
            found = [_rows(at, each, inputs, create_graph, strict) for at, each in enumerate(outputs)]
    return _finished(found, create_graph, are_outputs, are_inputs)


def _rows(number, output, inputs, create_graph, strict):
    """The Jacobian of one output by each input, row after row."""
    rows = []
    flat = output.reshape(-1)
    for at in range(output.numel()):
        found = _gradients((flat[at],), inputs, create_graph=create_graph, retain_graph=True)
        rows.append(_row(number, found, inputs, create_graph, strict))
    if not rows:
        return [each.detach().new_zeros((*output.shape, *each.shape)) for each in inputs]
    stack = EXPORTS["stack"]
    return [
        stack(column).reshape((*output.shape, *each.shape))
        for column, each in zip(zip(*rows, strict=True), inputs, strict=True)
    ]  # fmt: skip


def _row(number, found, inputs, create_graph, strict):
    for at, each in enumerate(found):
        if each is None and strict:
            raise RuntimeError(
                f"Output {number} of the user-provided function is independent of input {at}. This is not allowed in "
                "strict mode."
            )
    return _filled(found, inputs, strict, create_graph)


def _all_rows(outputs, inputs, create_graph):
    """The same, all rows at once."""
    pairs = [(y, g) for y, g in zip(outputs, basis_of(outputs), strict=True) if y.requires_grad]
    total = sum(each.numel() for each in outputs)
    found = grad_of_batches(*zip(*pairs, strict=True), inputs, True, create_graph) if pairs else (None,) * len(inputs)
    found = [x.detach().new_zeros((total, *x.shape)) if g is None else g for g, x in zip(found, inputs, strict=True)]
    start, split = 0, []
    for each in outputs:
        stop = start + each.numel()
        split.append([g[start:stop].reshape((*each.shape, *g.shape[1:])) for g in found])
        start = stop
    return split


def _forward(func, inputs, create_graph, vectorize):
    if create_graph:
        raise NotImplementedError(
            'torch.autograd.functional.jacobian: `create_graph=True` and `strategy="forward-mode"` are not supported '
            'together (yet). Please either set `create_graph=False` or `strategy="reverse-mode"`.'
        )
    if not vectorize:
        raise NotImplementedError(
            "Computing Jacobian using forward-AD or forward-over-reverse Hessian is"
            "only implemented for `vectorize=True`."
        )
    are_inputs, inputs = _as_tuple(inputs, "inputs", "jacobian")
    forms = []

    def listed(*given):
        is_tuple, outputs = _as_tuple(func(*given), "outputs of the user-provided function", "jacobian")
        forms.append(is_tuple)
        return outputs

    found = jacfwd(listed, argnums=tuple(range(len(inputs))))(*[each.detach() for each in inputs])
    return _finished(found, False, forms[0], are_inputs)


def hessian(func, inputs, create_graph=False, strict=False, vectorize=False, outer_jacobian_strategy="reverse-mode"):
    """The Hessian of a function of one element by each pair of inputs, of shape (*input, *other input)."""
    are_inputs, inputs = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def slope(*given):
        leaves = tuple([each if each.requires_grad else each.detach().requires_grad_() for each in given])
        with enable_grad():
            return _slope(func, leaves, "hessian", strict)[1]

    if outer_jacobian_strategy == "forward-mode":
        found = _forward(slope, inputs, create_graph, vectorize)
    else:
        found = jacobian(slope, inputs, create_graph, strict, vectorize)
    return found if are_inputs else found[0][0]


# ---------------------------------------------------------------- batches of gradients


def grad_of_batches(outputs, seeds, inputs, retain_graph, create_graph):
    """What `autograd.grad(is_grads_batched=True)` gives: gradients for batches `seeds` of the outputs' gradients."""
    if any(each is None for each in seeds):
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    for at, (seed, output) in enumerate(zip(seeds, outputs, strict=True)):
        if not output.requires_grad:
            raise RuntimeError(f"element {at} of tensors does not require grad and does not have a grad_fn")
        if tuple(seed.shape[1:]) != tuple(output.shape):
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch "
                "dimension. The sizes of the remaining dimensions are expected to match the shape of corresponding "
                f"output, but a mismatch was detected: grad_output[{at}] has a shape of {seed.shape[1:]} and output"
                f"[{at}] has a shape of {output.shape}. If you only want some tensors in `grad_output` to be "
                "considered batched, consider using vmap."
            )
    level = Level(seeds[0].shape[0], "same")
    places = [each.gradient_edge() for each in inputs]
    targets = {place: Target() for place in places}
    with level:
        run(outputs, [Batched(each, level) for each in seeds], targets, retain_graph, create_graph)
    found = [targets[place].gradient for place in places]
    return [None if each is None else bare(each, level) for each in found]


def grad_of_examples(outputs, seeds, inputs, retain_graph, create_graph):
    """What `autograd.grad` gives inside `vmap`: the gradient of each example, by inputs that each has of its own."""
    around = [each for each in levels() if any(_has(output, each) for output in outputs)]
    if not all(_has(each, level) for each in inputs for level in around):
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    seeds = [seeds] * len(outputs) if seeds is None or isinstance(seeds, Variable) else seeds
    if any(seed is None and output.numel() != 1 for seed, output in zip(seeds, outputs, strict=True)):
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    seeds = [
        output.detach().new_ones(output.shape) if seed is None else seed
        for seed, output in zip(seeds, outputs, strict=True)
    ]
    for level in reversed(around):
        outputs, seeds, inputs = ([bare(each, level) for each in group] for group in (outputs, seeds, inputs))
    with without(around):
        found = grad(outputs, inputs, seeds, retain_graph, create_graph, allow_unused=True)
    for level in around:
        found = [None if each is None else dressed(each, level) for each in found]
    return found


def _has(tensor, level):
    """Whether a tensor is a batch of examples of a level, or of one inside of it that is."""
    while tensor.level is not None:
        if tensor.level is level:
            return True
        tensor = tensor.value
    return False
