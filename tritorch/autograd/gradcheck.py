"""gradcheck and gradgradcheck: analytic gradients against central differences in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritorch.autograd.variable import Variable
from tritorch.runtime import transfer


class GradcheckError(RuntimeError):
    """A gradient that does not agree with differences."""


@dataclass(frozen=True)
class _Options:
    """What is checked, and how exactly."""

    eps: float
    atol: float
    rtol: float
    nondet_tol: float
    grad_dtypes: bool
    batched_grad: bool
    batched_forward_grad: bool
    forward_ad: bool
    backward_ad: bool
    fast_mode: bool


def gradcheck(
    func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, nondet_tol=0.0, check_undefined_grad=True,
    check_grad_dtypes=False, check_batched_grad=False, check_batched_forward_grad=False, check_forward_ad=False,
    check_backward_ad=True, fast_mode=False, masked=None,
):  # fmt: skip
    """Compare the full Jacobian of `func` at `inputs` with (f(x + eps) - f(x - eps)) / (2 eps).

    Every floating input with requires_grad must be float64. Returns True, or raises GradcheckError (or returns False
    with raise_exception=False).

    fast_mode                   compare u^T J v for random u and v instead of the whole of J
    nondet_tol                  by how much two runs of one gradient may differ
    check_grad_dtypes           a gradient has the dtype of its input
    check_batched_grad          gradients of a batch, by `vmap`, are those of each
    check_forward_ad            J v, which is two passes backward here, agrees too; check_batched_forward_grad: a batch
    check_backward_ad           whether the gradients are checked at all

    Gradients are taken of one output at a time, the others being undefined, so `check_undefined_grad` has nothing to
    add; `masked` is about sparse tensors, which there are none of.
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    if check_batched_grad and not check_backward_ad:
        raise AssertionError("Setting check_batched_grad=True requires check_backward_ad to be True")
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError("Setting check_batched_forward_grad=True requires check_forward_ad to be True")
    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    checked = [each for each in inputs if isinstance(each, Variable) and each.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    options = _Options(
        eps, atol, rtol, nondet_tol, check_grad_dtypes, check_batched_grad, check_batched_forward_grad,
        check_forward_ad, check_backward_ad, fast_mode,
    )  # fmt: skip
    try:
        for position, tensor in enumerate(checked):
            if tensor.array.dtype != np.float64:
                raise GradcheckError(
                    f"input {position} is {tensor.dtype!r}; gradcheck needs float64 to resolve differences"
                )
        _compare(func, inputs, checked, options)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _compare(func, inputs, checked, options):
    count = len(_differentiable(func(*inputs)))
    for number in range(count):
        numeric = _numeric(func, inputs, checked, number, options)
        output = _differentiable(func(*inputs))[number]
        if options.backward_ad:
            _agree(_backward(output, checked, options), numeric, number, options, "Jacobian mismatch")
        if options.forward_ad:
            found = _forward(output, checked, options)
            _agree(found, numeric, number, options, "Jacobian computed with forward mode mismatch")


def _agree(analytic, numeric, number, options, text):
    for position, (matrix, truth) in enumerate(zip(analytic, numeric, strict=True)):
        if not np.allclose(matrix, truth, options.rtol, options.atol, equal_nan=True):
            raise GradcheckError(
                f"{text} for output {number} with respect to input {position},\n"
                f"numerical:{truth}\nanalytical:{matrix}\n"
            )


def _differentiable(results):
    results = results if isinstance(results, (tuple, list)) else (results,)
    return [each for each in results if isinstance(each, Variable) and each.requires_grad]


def _directions(size, fast):
    """The vectors that a Jacobian is multiplied with: all of a basis, or a random one, the same at every call."""
    if not fast:
        return np.eye(size)
    found = np.random.default_rng(size).standard_normal((1, size))
    return found / np.linalg.norm(found)


def _numeric(func, inputs, checked, number, options):
    """For each input (vectors of the input, vectors of the output): the Jacobian, transposed, or its one product."""
    return [_differences(func, inputs, tensor, number, options) for tensor in checked]


def _differences(func, inputs, tensor, number, options):
    place = tensor.detach()
    original = transfer.to_host(place.array).copy()
    columns = []
    for direction in _directions(original.size, options.fast_mode):
        sides = []
        for sign in (1, -1):
            moved = original + (sign * options.eps) * direction.reshape(original.shape)
            place.data.copy_(place.new_tensor(moved))
            sides.append(transfer.to_host(_differentiable(func(*inputs))[number].array).reshape(-1).copy())
        columns.append((sides[0] - sides[1]) / (2 * options.eps))
    place.data.copy_(place.new_tensor(original))
    found = np.array(columns).reshape(len(columns), -1)
    return found @ _directions(found.shape[1], True).T if options.fast_mode else found


def _seeds(tensor, options):
    """The directions of a tensor as tensors of its shape, in one batch."""
    found = _directions(tensor.array.size, options.fast_mode)
    return tensor.new_tensor(found.reshape((len(found), *tensor.array.shape)), dtype=tensor.dtype)


def _backward(output, checked, options):
    """The same as _numeric's, by gradients."""
    seeds = _seeds(output, options)
    rows = _rows(output, checked, seeds, options)
    found = []
    for position, tensor in enumerate(checked):
        matrix = np.array([row[position] for row in rows]).reshape(len(rows), tensor.array.size).T
        if options.fast_mode:
            matrix = _directions(tensor.array.size, True) @ matrix
        found.append(matrix)
    return found


def _rows(output, checked, seeds, options):
    """For each seed the gradient of each input, flat; checked for what the options ask."""
    from tritorch.autograd import grad

    rows = []
    for seed in seeds:
        runs = [grad(output, checked, seed, retain_graph=True, allow_unused=True) for _ in range(2)]
        for position, (first, second) in enumerate(zip(*runs, strict=True)):
            if first is None:
                continue
            if options.grad_dtypes and first.dtype is not checked[position].dtype:
                raise GradcheckError(
                    f"Expected the gradient of input {position} to have its dtype, {checked[position].dtype!r}, but "
                    f"got {first.dtype!r}"
                )
            if not np.allclose(_flat(first), _flat(second), 0, options.nondet_tol, equal_nan=True):
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times "
                    "gives different values, although analytical gradient matches numerical gradient."
                    f"The tolerance for nondeterminism was {options.nondet_tol}."
                )
        rows.append([np.zeros(x.array.size) if g is None else _flat(g) for g, x in zip(runs[0], checked, strict=True)])
    if options.batched_grad and len(rows):
        whole = grad(output, checked, seeds, retain_graph=True, allow_unused=True, is_grads_batched=True)
        _check_batch(whole, rows, "gradient")
    return rows


def _check_batch(whole, rows, what):
    """Refuse a batch of derivatives that are not those of each."""
    for position, batch in enumerate(whole):
        if batch is None:
            continue
        each = np.array([row[position] for row in rows])
        if not np.allclose(_flat(batch).reshape(each.shape), each, equal_nan=True):
            raise GradcheckError(
                f"A batch of {what}s, by vmap, differs from one after the other, at position {position}"
            )


def _flat(tensor):
    return transfer.to_host(tensor.detach().array).reshape(-1)


def _forward(output, checked, options):
    """The same as _numeric's, by products of the Jacobian: the derivative of u^T J by u."""
    from tritorch.autograd import grad

    point = output.detach().new_ones(output.array.shape).requires_grad_()
    pulled = grad(output, checked, point, create_graph=True, allow_unused=True)
    found = []
    for slope, tensor in zip(pulled, checked, strict=True):
        directions = _seeds(tensor, options)
        if slope is None or not slope.requires_grad:
            matrix = np.zeros((len(directions), output.array.size))
        else:
            rows = [[_flat(grad(slope, point, each, retain_graph=True)[0])] for each in directions]
            if options.batched_forward_grad and len(rows):
                _check_batch(grad(slope, point, directions, retain_graph=True, is_grads_batched=True), rows, "tangent")
            matrix = np.array(rows).reshape(len(directions), output.array.size)
        found.append(matrix @ _directions(output.array.size, True).T if options.fast_mode else matrix)
    return found


def gradgradcheck(
    func, inputs, grad_outputs=None, *, eps=1e-6, atol=1e-5, rtol=1e-3, gen_non_contig_grad_outputs=False,
    raise_exception=True, nondet_tol=0.0, check_undefined_grad=True, check_grad_dtypes=False, check_batched_grad=False,
    check_fwd_over_rev=False, check_rev_over_rev=True, fast_mode=False, masked=False,
):  # fmt: skip
    """gradcheck of the gradient of `func`: its second derivatives.

    `grad_outputs` are random unless given, and with `gen_non_contig_grad_outputs` lie in memory with gaps.
    """
    from tritorch.autograd import grad

    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    outputs = _differentiable(func(*inputs))
    if grad_outputs is None:
        random = np.random.default_rng(0)
        grad_outputs = [o.new_tensor(random.standard_normal(o.array.shape)) for o in outputs]
        if gen_non_contig_grad_outputs:
            grad_outputs = [_with_gaps(each) for each in grad_outputs]
        grad_outputs = [each.requires_grad_() for each in grad_outputs]
    grad_outputs = (grad_outputs,) if isinstance(grad_outputs, Variable) else grad_outputs
    differentiated = [each for each in inputs if isinstance(each, Variable) and each.requires_grad]

    def gradient(*args):
        results = _differentiable(func(*args[: len(inputs)]))
        found = grad(results, differentiated, args[len(inputs) :], create_graph=True, allow_unused=True)
        return tuple(each for each in found if each is not None)

    return gradcheck(
        gradient, (*inputs, *grad_outputs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, fast_mode=fast_mode,
    )  # fmt: skip


def _with_gaps(tensor):
    """The same elements, every second one of a longer last dimension; a tensor without dimensions as it is."""
    return tensor.repeat_interleave(2, -1)[..., ::2].detach() if tensor.array.ndim else tensor
