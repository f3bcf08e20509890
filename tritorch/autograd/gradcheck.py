"""gradcheck and gradgradcheck: analytic gradients against central differences in float64."""

from __future__ import annotations

import numpy as np

from tritorch.autograd.variable import Variable
from tritorch.runtime import transfer


class GradcheckError(RuntimeError):
    """A gradient that does not agree with differences."""


def gradcheck(function, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, nondet_tol=0.0):
    """Compare the full Jacobian of `function` at `inputs` with (f(x + eps) - f(x - eps)) / (2 eps).

    Every floating input with requires_grad must be float64. Returns True, or raises GradcheckError (or returns False
    with raise_exception=False).
    """
    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    checked = [each for each in inputs if isinstance(each, Variable) and each.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, "
            "but none of the them have requires_grad=True."
        )
    try:
        for position, tensor in enumerate(checked):
            if tensor.array.dtype != np.float64:
                raise GradcheckError(
                    f"input {position} is {tensor.dtype!r}; gradcheck needs float64 to resolve differences"
                )
        _compare(function, inputs, checked, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _compare(function, inputs, checked, eps, atol, rtol):
    from tritorch.autograd import grad

    count = len(_differentiable(function(*inputs)))
    for number in range(count):
        output = _differentiable(function(*inputs))[number]
        analytic = [np.zeros((tensor.array.size, output.array.size)) for tensor in checked]
        for element in range(output.array.size):
            seed = np.zeros(output.array.size)
            seed[element] = 1
            seed = output.new_tensor(seed.reshape(output.array.shape), dtype=output.dtype)
            found = grad(output, checked, seed, retain_graph=True, allow_unused=True)
            for matrix, gradient in zip(analytic, found, strict=True):
                if gradient is not None:
                    matrix[:, element] = transfer.to_host(gradient.array).reshape(-1)
        for position, (tensor, matrix) in enumerate(zip(checked, analytic, strict=True)):
            numeric = _numeric(function, inputs, tensor, number, eps)
            if not np.allclose(matrix, numeric, rtol, atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {number} with respect to input {position},\n"
                    f"numerical:{numeric}\nanalytical:{matrix}\n"
                )


def _differentiable(results):
    results = results if isinstance(results, (tuple, list)) else (results,)
    return [each for each in results if isinstance(each, Variable) and each.requires_grad]


def _numeric(function, inputs, tensor, number, eps):
    place = tensor.detach()
    original = transfer.to_host(place.array).copy()
    columns = []
    for element in np.ndindex(original.shape):
        sides = []
        for sign in (1, -1):
            moved = original.copy()
            moved[element] += sign * eps
            place.data.copy_(place.new_tensor(moved))
            sides.append(transfer.to_host(_differentiable(function(*inputs))[number].array).reshape(-1).copy())
        columns.append((sides[0] - sides[1]) / (2 * eps))
    place.data.copy_(place.new_tensor(original))
    return np.array(columns).reshape(original.size, -1)


def gradgradcheck(function, inputs, grad_outputs=None, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True):
    """gradcheck of the gradient of `function`: its second derivatives."""
    from tritorch.autograd import grad

    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    outputs = _differentiable(function(*inputs))
    if grad_outputs is None:
        random = np.random.default_rng(0)
        grad_outputs = [o.new_tensor(random.standard_normal(o.array.shape)).requires_grad_() for o in outputs]
    differentiated = [each for each in inputs if isinstance(each, Variable) and each.requires_grad]

    def gradient(*args):
        results = _differentiable(function(*args[: len(inputs)]))
        return grad(results, differentiated, args[len(inputs) :], create_graph=True, allow_unused=True)

    everything = (*inputs, *grad_outputs)
    return gradcheck(gradient, everything, eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)
