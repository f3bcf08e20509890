"""The engine: accumulation, in-place rules, hooks, second derivatives, custom functions, and every error it owes."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tritorch as torch


def leaf(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_gradients_accumulate_and_do_not_share_memory():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).sum().backward()
    (x * y).sum().backward()
    assert x.grad.tolist() == [4.0, 5.0]
    assert y.grad.tolist() == [2.0, 3.0]
    x.grad.zero_()
    assert y.grad.tolist() == [2.0, 3.0]


def test_a_gradient_is_nobody_elses():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = torch.ones(2, dtype=torch.float64)
    (x + y).backward(seed)
    x.grad.add_(1)
    assert y.grad.tolist() == [1.0, 1.0]
    assert seed.tolist() == [1.0, 1.0]


def test_a_tensor_used_twice_sums_its_gradients():
    x = leaf(3.0)
    (x * x + x).backward()
    assert x.grad.item() == 7


def test_broadcast_and_promoted_arguments_get_gradients_of_their_own_shape_and_dtype():
    x = torch.ones(3, 1, requires_grad=True)
    y = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.shape == (3, 1) and x.grad.dtype is torch.float32 and x.grad.tolist() == [[4], [4], [4]]
    assert y.grad.shape == (4,) and y.grad.dtype is torch.float64


def test_backward_twice_names_retain_graph():
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    z = x * x
    z.backward(retain_graph=True)
    z.backward()
    assert x.grad.item() == 12


def test_backward_needs_a_scalar_or_a_gradient_and_something_to_differentiate():
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (leaf(1.0, 2.0) * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        torch.ones(1).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (leaf(1.0, 2.0) * 2).backward(torch.ones(3))


def test_saved_for_backward_and_written_in_place_is_a_version_error():
    x = leaf(1.0, 2.0)
    y = x * 1
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.* is at version 1; expected version 0"):
        z.sum().backward()
    a = x.exp()
    b = a * 2
    a.add_(1)
    with pytest.raises(RuntimeError, match="ExpBackward0"):
        b.sum().backward()


def test_in_place_on_a_leaf_is_an_error():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0:1].add_(1)
    with torch.no_grad():
        x.add_(1)
    assert x.item() == 2


def test_in_place_results_have_the_right_gradient():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.mul_(y.detach().clone())
    y += 1
    y.sum().backward()
    assert x.grad.tolist() == [4.0, 8.0]


def test_in_place_through_a_view_changes_the_history_of_its_root():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    first, rest = y[0], y[1:]
    first.mul_(10)
    rest.add_(x[:2])
    (y * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).sum().backward()
    assert y.tolist() == [10.0, 3.0, 5.0]
    assert x.grad.tolist() == [10 + 2, 2 + 3, 3]


def test_other_views_see_a_write_to_their_root():
    x = leaf(1.0, 2.0)
    y = x * 1
    view = y[1]
    y.mul_(3)
    (view * 2).backward()
    assert x.grad.tolist() == [0.0, 6.0]


def test_in_place_on_expanded_memory_is_an_error():
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        torch.zeros(1, 3).expand(2, 3).add_(1)


def test_in_place_keeps_shape_and_dtype():
    with pytest.raises(RuntimeError, match=r"output with shape \[1\] doesn't match the broadcast shape \[3\]"):
        torch.zeros(1).add_(torch.ones(3))
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        torch.zeros(2, dtype=torch.int64).add_(0.5)


def test_a_chain_of_100_000_ops_needs_no_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    del y
    gc.collect()


def test_graphs_are_freed_without_the_garbage_collector():
    import weakref

    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = (x.exp() * x).tanh()
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_second_derivatives():
    x = leaf(0.5, -1.5)
    (first,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert np.allclose(second.numpy(), 6 * x.detach().numpy())


def test_gradient_of_a_gradient_penalty_reaches_the_weights():
    w, x = leaf(2.0), leaf(3.0)
    (slope,) = torch.autograd.grad(w * w * x, x, create_graph=True)
    (slope**2).backward()
    assert w.grad.item() == 4 * 8


def test_grad_of_intermediate_tensors_and_unused_ones():
    x, unused = leaf(1.0, 2.0), leaf(1.0)
    y = x * 2
    z = (y * y).sum()
    (found,) = torch.autograd.grad(z, y, retain_graph=True)
    assert found.tolist() == [4.0, 8.0]
    assert x.grad is None
    with pytest.raises(RuntimeError, match="allow_unused=True"):
        torch.autograd.grad(z, [x, unused], retain_graph=True)
    found = torch.autograd.grad(z, [x, unused], allow_unused=True)
    assert found[1] is None and found[0].tolist() == [8.0, 16.0]


def test_no_grad_enable_grad_and_inference_mode():
    x = leaf(1.0)
    with torch.no_grad():
        y = x * 2
        with torch.enable_grad():
            z = x * 2
    assert not y.requires_grad and z.requires_grad
    with torch.inference_mode():
        assert not (x * 2).requires_grad

    @torch.no_grad()
    def twice(value):
        return value * 2

    assert not twice(x).requires_grad and (x * 2).requires_grad
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad


def test_detach_shares_memory_and_forgets_history():
    x = leaf(1.0, 2.0)
    y = (x * 2).detach()
    assert not y.requires_grad and y.is_leaf
    x.detach()[0] = 5
    assert x.tolist() == [5.0, 2.0]


def test_hooks_on_leaves_and_on_intermediate_tensors():
    x = leaf(1.0, 2.0)
    seen = []
    y = x * 2
    handle = y.register_hook(lambda grad: grad * 10)
    x.register_hook(lambda grad: seen.append(grad.tolist()))
    y.sum().backward()
    assert x.grad.tolist() == [20.0, 20.0] and seen == [[20.0, 20.0]]
    handle.remove()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [22.0, 22.0]


def test_retain_grad():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0, 8.0]


def test_only_floating_point_requires_grad():
    with pytest.raises(RuntimeError, match="only Tensors of floating point dtype can require gradients"):
        torch.tensor([1, 2], requires_grad=True)
    with pytest.raises(RuntimeError, match="you can only change requires_grad flags of leaf variables"):
        (leaf(1.0) * 2).requires_grad_(False)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, power):
        ctx.save_for_backward(x)
        ctx.power = power
        return x**power

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ctx.power * x ** (ctx.power - 1), None


def test_custom_function_and_its_second_derivative():
    x = leaf(2.0)
    y = Cube.apply(x, 3)
    assert type(y.grad_fn).__name__ == "FunctionContext" and "CubeBackward" in repr(y.grad_fn)
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert first.item() == 12 and second.item() == 12
    assert torch.autograd.gradcheck(lambda t: Cube.apply(t, 3), leaf(1.0, 2.0))


def test_custom_function_with_a_wrong_number_of_gradients():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, grad):
            return grad

    with pytest.raises(RuntimeError, match="returned an incorrect number of gradients"):
        Wrong.apply(leaf(1.0), leaf(2.0)).backward()


def test_gradcheck_notices_a_wrong_gradient():
    class Off(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2.1

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(Off.apply, leaf(1.0, 2.0))
    assert not torch.autograd.gradcheck(Off.apply, leaf(1.0), raise_exception=False)
    assert torch.autograd.gradgradcheck(lambda t: t.sigmoid() * t, leaf(0.3, -0.7))


def test_an_error_in_backward_leaves_no_half_written_gradient():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            raise MemoryError("no more")

    x, y = leaf(1.0), leaf(1.0)
    with pytest.raises(MemoryError):
        (Fails.apply(x) * y).sum().backward()
    x.grad = y.grad = None
    (x * y).backward()
    assert x.grad.item() == 1
    assert torch.is_grad_enabled()


def test_in_place_keeps_the_old_value_for_the_other_argument():
    x, y = leaf(2.0, 3.0), leaf(5.0, 7.0)
    z = x * 1
    z.mul_(y)
    z.sum().backward()
    assert x.grad.tolist() == [5.0, 7.0] and y.grad.tolist() == [2.0, 3.0]


def test_hooks_on_nodes_and_the_graph_they_stand_in():
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y.exp().sum()
    assert z.grad_fn.next_functions[0][0].next_functions[0][0] is y.grad_fn
    assert y.grad_fn.next_functions[0][0].variable is x
    seen = []
    handle = y.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs[0].tolist(), outputs[0].tolist())))
    z.backward(retain_graph=True)
    outputs = y.detach().exp()
    assert seen == [((outputs * 2).tolist(), outputs.tolist())]
    handle.remove()
    z.backward()
    assert len(seen) == 1


def test_once_differentiable_runs_unrecorded():
    from tritorch.autograd.function import once_differentiable

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        @once_differentiable
        def backward(ctx, grad):
            assert not torch.is_grad_enabled()
            return grad * 2

    x = leaf(1.0)
    (found,) = torch.autograd.grad(Double.apply(x), x, create_graph=True)
    assert found.item() == 2 and not found.requires_grad


def test_interceptors_see_calls_innermost_first_and_are_out_of_the_way_meanwhile():
    from tritorch.autograd.intercept import Interceptor

    seen = []

    class Watch(Interceptor):
        def __init__(self, name):
            self.name = name

        def intercept(self, cls, args):
            seen.append((self.name, cls.op_name))
            return cls.apply(*args)

    x = torch.tensor([2.0], requires_grad=True)
    with Watch("outer"), Watch("inner"):
        y = x * x
    assert seen == [("inner", "mul"), ("outer", "mul")]
    y.backward()
    assert x.grad.item() == 4.0 and len(seen) == 2
    with pytest.raises(ZeroDivisionError), Watch("broken"):
        raise ZeroDivisionError
    _ = x * x
    assert len(seen) == 2


def test_a_result_that_no_wanted_gradient_reads_may_be_written_over():
    x = leaf(1.0, 2.0)
    y = x**3  # the exponent's gradient would read the result
    y.add_(1)
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 12.0]
    y = torch.pow(2.0, x)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
