"""LBFGS: a quasi-Newton method that keeps the last changes of the gradient."""

from __future__ import annotations

from tritorch.autograd.grad_mode import enable_grad, no_grad
from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_rate
from tritorch.optim.line_search import Point, StrongWolfe
from tritorch.optim.optimizer import Optimizer
from tritorch.tensor import Tensor


class LBFGS(Optimizer):
    """p - t H g, with H the inverse of the Hessian as far as the last `history_size` steps and gradients tell.

    A step is up to `max_iter` iterations and `max_eval` calls of `closure`, which clears the gradients, computes the
    loss, calls backward and gives the loss. It ends where no gradient exceeds `tolerance_grad`, or steps and losses
    change by less than `tolerance_change`. `line_search_fn` is None, for steps of length `lr`, or "strong_wolfe".
    All parameters are one vector and one group. A composition of ops: each iteration is a chain of dot products that
    decides what is done next, which one launch cannot.
    Sources: Nocedal, "Updating quasi-Newton matrices with limited storage", 1980; Liu, Nocedal, 1989.
    """

    def __init__(self, params, lr=1, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9,
                 history_size=100, line_search_fn=None):  # fmt: skip
        check_rate(lr)
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self):
        return self.param_groups[0]["params"]

    @no_grad()
    def step(self, closure):
        """Iterate; gives the loss that `closure` computed first."""
        closure = enable_grad()(closure)
        group, state = self.param_groups[0], self.state[self._params[0]]
        lr = group["lr"].item() if isinstance(group["lr"], Tensor) else group["lr"]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = closure()
        loss, gradient = _number(first), self._flat_gradient()
        state["func_evals"] += 1
        if _largest(gradient) <= group["tolerance_grad"]:
            return first
        evaluations = 1
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            self._turn(state, gradient)
            direction, before = state["d"], loss
            state["prev_flat_grad"], state["prev_loss"] = gradient, loss
            state["t"] = min(1.0, 1.0 / float(gradient.abs().sum())) * lr if state["n_iter"] == 1 else lr
            slope = float(gradient.dot(direction))
            if slope > -group["tolerance_change"]:
                break
            if group["line_search_fn"] is not None:
                start = Point(0.0, loss, gradient, slope)
                point, count = self._searched(closure, direction, state["t"], start, group["max_eval"] - evaluations)
                state["t"], loss, gradient = point.step, point.value, point.gradient
                self._move(state["t"], direction)
            else:
                self._move(state["t"], direction)
                count = int(iteration != group["max_iter"])
                if count:
                    loss, gradient = _number(closure()), self._flat_gradient()
            evaluations += count
            state["func_evals"] += count
            if evaluations >= group["max_eval"] or _largest(gradient) <= group["tolerance_grad"]:
                break
            change = group["tolerance_change"]
            if _largest(direction) * state["t"] <= change or abs(loss - before) < change:
                break
        return first

    def _turn(self, state, gradient):
        """Set the direction to -H g, from the history to which the last step and its change of the gradient are added.

        The two loops of Nocedal's recursion; all its numbers stay tensors, so that a GPU need not be waited for.
        """
        if state["n_iter"] == 1:
            state.update(d=-gradient, old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return
        changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        change, step = gradient - state["prev_flat_grad"], state["d"] * state["t"]
        product = change.dot(step)
        if product > 1e-10:
            if len(changes) == self.param_groups[0]["history_size"]:
                for each in (changes, steps, ro):
                    each.pop(0)
            changes.append(change)
            steps.append(step)
            ro.append(1.0 / product)
            state["H_diag"] = product / change.dot(change)
        al = state.setdefault("al", [None] * self.param_groups[0]["history_size"])
        turned = -gradient
        for at in reversed(range(len(changes))):
            al[at] = steps[at].dot(turned) * ro[at]
            turned = turned - al[at] * changes[at]
        turned = turned * state["H_diag"]
        for at in range(len(changes)):
            turned = turned + (al[at] - changes[at].dot(turned) * ro[at]) * steps[at]
        state["d"] = turned

    def _searched(self, closure, direction, step, start, most):
        if self.param_groups[0]["line_search_fn"] != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        origin = [each.clone() for each in self._params]

        def evaluate(step):
            self._move(step, direction)
            loss, gradient = _number(closure()), self._flat_gradient()
            for each, value in zip(self._params, origin, strict=True):
                each.copy_(value)
            return Point(step, loss, gradient, float(gradient.dot(direction)))

        tolerance = self.param_groups[0]["tolerance_change"]
        return StrongWolfe(evaluate, start, _largest(direction), tolerance, most).search(step)

    def _flat_gradient(self):
        found = [each.new_zeros(each.shape) if each._grad is None else each._grad for each in self._params]
        return TABLE["cat"].call([each.reshape(-1) for each in found])

    def _move(self, step, direction):
        """Add `step` times the direction to the parameters."""
        offset = 0
        for each in self._params:
            size = each.numel()
            each.add_(direction[offset : offset + size].reshape(each.shape), alpha=step)
            offset += size


def _number(loss):
    """A loss, which may be a tensor with a gradient, as a number."""
    return loss.item() if isinstance(loss, Tensor) else float(loss)


def _largest(vector):
    return float(vector.abs().max())
