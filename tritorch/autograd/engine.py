"""The engine: walks the recorded ops from newest to oldest and hands each its gradient. No recursion.

A node's number is larger than those of all nodes it depends on, so popping the largest number from a heap runs every
node after everything that feeds it. Gradients are reduced to the shape and cast to the dtype of what they belong to
here, once, so that no op has to think of broadcasting in its backward.
"""

from __future__ import annotations

import heapq
import re
import sys
import threading

import numpy as np

from tritorch.autograd import anomaly_mode
from tritorch.autograd.anomaly_mode import state as anomaly
from tritorch.autograd.grad_mode import intercepting, state
from tritorch.autograd.intercept import run_backward
from tritorch.autograd.parts import Parts
from tritorch.autograd.variable import Variable, graphs
from tritorch.ops.base import ADDED, TABLE, Node
from tritorch.ops.layout import element_strides, strides_of_copy
from tritorch.ops.pointwise.cast import Cast
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.shape.views import BasicIndex
from tritorch.runtime import dtypes, transfer
from tritorch.runtime.device import CPU
from tritorch.runtime.memory_format import contiguous_format, is_dense, preserve_format

_BACKWARD = re.compile(r"Backward\d*$")  # an op's node is named for it


class Target:
    """A place whose gradient `grad()` was asked for: an output of a node."""

    __slots__ = ("gradient",)

    def __init__(self):
        self.gradient = None


class Run:
    """One pass: where it starts, and of which nodes the gradient is needed."""

    def __init__(self, roots, needed, targets):
        self.roots, self.needed, self.targets = roots, needed, targets
        self.reached, self.parts = None, Parts()
        self.at_end = []  # called in their order when the pass is through, outside of it
        self.outer = current.run  # the pass in one of whose nodes this one runs

    def will_reach(self, node):
        """Whether the pass comes to a node."""
        if self.needed is not None:
            return node in self.needed or any(node is target for target, _ in self.targets)
        if self.reached is None:
            self.reached, stack = set(), [root.gradient_edge()[0] for root in self.roots]
            while stack:
                each = stack.pop()
                if each not in self.reached:
                    self.reached.add(each)
                    stack.extend(edge[0] for edge in each.edges if edge is not None)
        return node in self.reached


class _Current(threading.local):
    """The pass that runs in this thread."""

    run: Run | None = None


current = _Current()


def outermost():
    """The pass that the script began, in which the one that runs may be nested."""
    run = current.run
    while run.outer is not None:
        run = run.outer
    return run


def run(roots, gradients, targets=None, retain_graph=False, create_graph=False):
    """Propagate `gradients` of the tensors `roots`; fill `targets` ((node, slot) -> Target), else leaves' `.grad`."""
    pending, heap = {}, []  # node -> gradients of its outputs
    needed = None if targets is None else _nodes_leading_to(roots, targets)
    for root, gradient in zip(roots, gradients, strict=True):
        node, slot = root.gradient_edge()
        _deliver(pending, heap, node, slot, gradient)
    if not retain_graph:  # a graph that stays may be part of a later pass: its leaves keep their numbers
        graphs.run += 1
    outer, current.run = current.run, Run(roots, needed, targets)
    parts, at_end = current.run.parts, current.run.at_end
    before, state.recording = state.recording, create_graph
    try:
        while heap:
            node = heapq.heappop(heap)[1]
            received = pending.pop(node)
            _run_node(node, received, pending, parts, heap, targets, needed, retain_graph, create_graph)
    finally:
        state.recording, current.run = before, outer
    for call in at_end:
        call()


def _run_node(node, received, pending, parts, heap, targets, needed, retain_graph, create_graph):
    if parts.found:
        parts.forget(node, received)
    is_leaf = isinstance(node, Variable)
    hooks = node.hooks
    if hooks and not is_leaf:
        received = _run_pre_hooks(node, received)
    if targets is not None:
        for slot, gradient in received.items():
            target = targets.get((node, slot))
            if target is not None:
                target.gradient = gradient if target.gradient is None else target.gradient + gradient
        if node not in needed:
            return
    if is_leaf:
        if targets is None:
            accumulate(node, received[0], create_graph)
        return
    if len(received) == 1 and 0 in received:
        arguments = (received[0],)
    else:
        arguments = tuple([received.get(slot) for slot in range(max(received) + 1)])
    watched = anomaly.enabled
    seen = hooks or watched or (intercepting and state.interceptors)
    part = isinstance(node, BasicIndex) and not (create_graph or seen)
    if part and parts.join(node, arguments[0], pending):
        gradients = ()
    elif watched:
        gradients = anomaly_mode.watched(_call, node, create_graph, arguments)
    else:
        gradients = _call(node, create_graph, *arguments)
    if type(gradients) is not tuple:
        gradients = (gradients,)
    if hooks:
        gradients = _run_post_hooks(node, gradients, received)
    for edge, gradient in zip(node.edges, gradients, strict=False):
        if edge is not None and gradient is not None and gradient is not ADDED:
            to, slot, shape, dtype = edge
            array = gradient.array
            if array.shape != shape or array.dtype != dtype:
                gradient = _fit(gradient, edge, node)
            _deliver(pending, heap, to, slot, gradient)
            if part:
                parts.begin(node, gradient, pending)
    if not retain_graph:
        release(node)
    elif node.packed is not None:
        node.packed.put_back(node)


def _call(node, create_graph, *received):
    if node.versions is not None or node.results:
        check_saved(node)
    node.recording = create_graph
    if intercepting and state.interceptors:
        return run_backward(node, received)
    return node.backward(*received)


def _deliver(pending, heap, node, slot, gradient):
    received = pending.get(node)
    if received is None:
        pending[node] = {slot: gradient}
        heapq.heappush(heap, (-node.sequence, node))
        return
    present = received.get(slot)
    received[slot] = gradient if present is None else present + gradient


def _fit(gradient, edge, node):
    """The gradient summed to the shape and cast to the dtype of what it belongs to."""
    shape, dtype = edge[2], edge[3]
    if gradient.array.shape != shape:
        own = gradient.array.shape
        extra = len(own) - len(shape)
        if extra < 0 or any(a != b and b != 1 for a, b in zip(own[extra:], shape, strict=True)):
            raise RuntimeError(
                f"Function {node.name()} returned an invalid gradient at index {node.edges.index(edge)} - "
                f"got {list(own)} but expected shape compatible with {list(shape)}"
            )
        gradient = gradient.sum_to_size(shape)
    if gradient.array.dtype != dtype:
        gradient = gradient.to(dtypes.of(dtype))
    return gradient


def accumulate(variable, gradient, create_graph):
    """Add to a leaf's `.grad`: take the array over where nobody else holds it, add in place where there is one."""
    if variable.hooks:
        for hook in tuple(variable.hooks.values()):
            gradient = _replaced(hook, gradient)
    present = variable._grad
    if present is None:
        variable._grad = gradient.clone() if create_graph else _own(gradient, variable)
    elif create_graph:
        variable._grad = present + gradient
    else:
        present.add_(gradient.detach() if gradient.requires else gradient)
    if variable.post_accumulate_hooks:
        for hook in tuple(variable.post_accumulate_hooks.values()):
            hook(variable)


def present_gradient(node, position):
    """The `.grad` that `backward` of `node` may add the gradient of an argument to itself, and return ADDED, or None.

    Not where somebody wants to see what is added (a hook, a graph, an interceptor), nor where somebody else holds the
    gradient, who may read it before this pass would come to the leaf. A cast on the way, such as autocast's, is left
    out: what is added is then rounded once instead of twice. The CPU's products cannot add.
    """
    run = current.run
    if run is None or run.targets is not None or state.recording or state.interceptors or anomaly.enabled:
        return None
    leaf = node.edges[position][0]
    if isinstance(leaf, Cast) and not leaf.hooks:
        leaf = leaf.edges[0][0]
    if not isinstance(leaf, Variable) or leaf.device is CPU or leaf.hooks or node.hooks:
        return None
    present = leaf._grad
    if type(present) is not Variable.made_as or present.requires or leaf.post_accumulate_hooks:
        return None
    array = present.array
    if (
        array.shape != node.edges[position][2] or array.dtype != leaf.array.dtype or not transfer.is_contiguous(array)
        # Each is held by what it belongs to, by a name here, and by the call.
        or sys.getrefcount(present) > 3 or sys.getrefcount(array) > 3 or not _has_memory_alone(array)
    ):  # fmt: skip
        return None
    present.counter()[0] += 1
    return present


Node.present_gradient = present_gradient  # type: ignore[attr-defined]  # ops below never import this room


def _replaced(hook, gradient):
    """What a hook makes of a gradient: itself, or another of its size."""
    found = hook(gradient)
    if found is None:
        return gradient
    if not isinstance(found, Variable):
        raise TypeError(f"expected Variable, but hook returned '{type(found).__name__}'")
    if found.array.shape != gradient.array.shape:
        raise RuntimeError(f"hook '{getattr(hook, '__name__', type(hook).__name__)}' has changed the size of value")
    return found


def _own(gradient, variable):
    """A tensor whose array is the leaf's alone, and lies as the leaf does: writes in place reach nobody else's."""
    array = gradient.array
    # The array is held by `gradient`, by `array` here, and by the call's argument; the tensor by what its node was
    # given, by the arguments of `accumulate` and of this function, and by the call's. One more means that somebody
    # shares it, such as another leaf: the gradient of a sum is that of both its terms.
    if (
        sys.getrefcount(array) <= 3
        and sys.getrefcount(gradient) <= 4
        and not gradient.requires
        and _has_memory_alone(array)
        and _lies_like(array, variable.array)
    ):
        return gradient
    strides = strides_of_copy(variable.array, preserve_format if _is_dense(variable.array) else contiguous_format)
    return TABLE["clone"].apply(gradient.detach(), strides)


def _has_memory_alone(array):
    """Whether no other array is on the memory of this one, which is then held by it, by a name here, and by a call."""
    if not isinstance(array, np.ndarray):
        block = array.block
        return sys.getrefcount(block) <= 3
    base = array.base
    return base is None or (
        type(base) is np.ndarray and base.base is None and base.size == array.size and sys.getrefcount(base) <= 3
    )


def _is_dense(array):
    return transfer.is_contiguous(array) or is_dense(tuple(array.shape), element_strides(array))


def _lies_like(array, leaf):
    """Whether a gradient lies as its leaf, or in the order of indices where the leaf has gaps."""
    if array.strides == leaf.strides and (transfer.is_contiguous(leaf) or _is_dense(leaf)):
        return True
    if not _is_dense(leaf):
        return transfer.is_contiguous(array)
    return all(
        size == 1 or own == other for size, own, other in zip(array.shape, array.strides, leaf.strides, strict=True)
    )


def release(node):
    """Let go of what a node saved; a second backward through it is an error."""
    if node.versions is not None or node.results or node.packed is not None:
        node.inputs = node.versions = node.packed = None
        node.results = FREED


FREED = ("freed",)


def check_saved(node):
    """Refuse what was freed or written over since it was saved; unpack what is packed."""
    if node.results is FREED:
        raise RuntimeError(
            "Trying to backward through the graph a second time (or directly access saved tensors after they have "
            "already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
            "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or if "
            f"you need to access saved tensors after calling backward. (in {node.name()})"
        )
    if node.packed is not None:
        node.packed.unpack(node)
        return
    for variable, version in node.versions or ():
        if variable.version is not None and variable.version[0] != version:
            raise version_error(variable, variable.version[0], version, node)
    for saved in node.results:
        if saved.version[0] != saved.written:
            raise version_error(saved, saved.version[0], saved.written, node)


def version_error(what, actual, expected, node):
    """The error for what `node` saved and somebody wrote over."""
    kind = f"torch.{KIND_NAMES[dtypes.of(what.array.dtype).name]}Tensor"
    maker = getattr(what, "node", node)
    of = f", which is output {what.slot} of {_BACKWARD.sub('', maker.name())}," if maker is not None else ""
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{kind} {list(what.array.shape)}]{of} is at version {actual}; expected version {expected} instead "
        f"(saved by {node.name()}). Hint: enable anomaly detection to find the operation that failed to compute its "
        "gradient, with torch.autograd.set_detect_anomaly(True)."
    )


def _nodes_leading_to(roots, targets):
    """The nodes whose gradient is needed to reach a target, found without recursion in order of their numbers."""
    wanted = {node for node, _ in targets}
    # A leaf's number says when its newest graph began, so nothing can be left out by it.
    oldest = min((0 if isinstance(node, Variable) else node.sequence for node in wanted), default=0)
    order, stack, seen = [], [root.gradient_edge()[0] for root in roots], set()
    while stack:
        node = stack.pop()
        if node in seen or node.sequence < oldest:
            continue
        seen.add(node)
        order.append(node)
        stack.extend(edge[0] for edge in node.edges if edge is not None)
    order.sort(key=lambda node: node.sequence)
    needed = set()
    for node in order:
        if any(edge is not None and (edge[0] in needed or edge[0] in wanted) for edge in node.edges):
            needed.add(node)
    return needed


def _run_pre_hooks(node, received):
    for slot, hooks in node.hooks.items():
        if slot not in received:
            continue
        for hook in tuple(hooks.values()):
            received[slot] = _replaced(hook, received[slot])
    for hook in tuple(node.hooks.get("pre", {}).values()):
        replaced = hook(tuple(received.get(slot) for slot in range(max(received) + 1)))
        if replaced is not None:
            received = {slot: each for slot, each in enumerate(replaced) if each is not None}
    return received


def _run_post_hooks(node, gradients, received):
    for hook in tuple(node.hooks.get("post", {}).values()):
        replaced = hook(gradients, tuple(received.get(slot) for slot in range(max(received) + 1)))
        if replaced is not None:
            gradients = tuple(replaced)
    return gradients
