"""What nodes save for their gradients, packed by hooks: kept elsewhere, or not at all and computed again.

Inside `saved_tensors_hooks` each tensor that a node saves goes through `pack`, and the node keeps what that gives; when
the engine comes to the node, `unpack` has to give the tensor back. The innermost hooks are the ones that count.
"""

from __future__ import annotations

import threading

from tritorch.autograd.intercept import Interceptor
from tritorch.autograd.variable import Variable


class _State(threading.local):
    def __init__(self):
        self.hooks, self.refusal = [], None


_state = _State()


def active_hooks():
    """The innermost hooks of this thread, or None."""
    return _state.hooks[-1] if _state.hooks else None


class saved_tensors_hooks(Interceptor):
    """Inside, what is saved for gradients is kept as `pack_hook(tensor)`, and `unpack_hook` gives the tensor back."""

    def __init__(self, pack_hook, unpack_hook):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def intercept(self, cls, args):
        """The call, and then what its node saved packed."""
        outputs = cls.apply(*args)
        if active_hooks() is self:
            for each in outputs if type(outputs) is tuple else (outputs,):
                if each.node is not None:
                    self.pack(each.node)
                    break
        return outputs

    def pack(self, node):
        """Pack what a node saved, unless it is packed or saved nothing."""
        if node.packed is None and (node.versions is not None or node.results):
            node.packed = Packed(node, self)
            node.packed.put_back(node)

    def __enter__(self):
        if _state.refusal is not None:
            raise RuntimeError(_state.refusal)
        _state.hooks.append(self)
        return super().__enter__()

    def __exit__(self, *error):
        _state.hooks.remove(self)
        super().__exit__(*error)


class disable_saved_tensors_hooks:
    """Inside, entering `saved_tensors_hooks` is an error with this message."""

    def __init__(self, error_message):
        self.message = error_message

    def __enter__(self):
        if _state.hooks:
            raise RuntimeError(self.message)
        self.before, _state.refusal = _state.refusal, self.message

    def __exit__(self, *_):
        _state.refusal = self.before


PACKED = ("packed",)  # in the place of a node's results while they are packed


class Packed:
    """What a node saved, as hooks packed it: for each tensor the packed object, and where its gradient goes."""

    def __init__(self, node, hooks):
        self.unpack_hook = hooks.unpack_hook
        results = {id(each): _PackedResult(each, hooks) for each in node.results}
        self.results = tuple(results.values())
        self.inputs = tuple(
            [
                results[id(each)]
                if id(each) in results
                else _PackedInput(each, hooks)
                if isinstance(each, Variable)
                else each
                for each in node.inputs
            ]
        )

    def put_back(self, node):
        """Let the node hold only what is packed."""
        node.inputs, node.versions, node.results = (), None, PACKED

    def unpack(self, node):
        """Give the node its tensors, until they are put back."""
        results = {id(each): each.unpacked(self.unpack_hook) for each in self.results}
        node.inputs = tuple(
            [
                results[id(each)]
                if id(each) in results
                else each.unpacked(self.unpack_hook)
                if isinstance(each, _PackedInput)
                else each
                for each in self.inputs
            ]
        )
        node.results = tuple(results.values())


class _PackedInput:
    """A saved argument, packed."""

    def __init__(self, tensor, hooks):
        wanted = tensor.wants_gradient()
        self.edge = tensor.gradient_edge() if wanted else (None, 0)
        if tensor.about_to_change:
            bare = _bare(tensor.array.copy(), tensor.device)
        else:
            bare = _bare(tensor.array, tensor.device, tensor.counter())
        self.requires, self.packed = wanted, hooks.pack_hook(bare)

    def unpacked(self, hook):
        """The tensor, with the history that it had."""
        found = _checked(hook(self.packed))
        tensor = _bare(found.array, found.device)
        tensor.node, tensor.slot = self.edge
        tensor.requires = self.requires
        return tensor


class _PackedResult:
    """A saved result, packed."""

    def __init__(self, saved, hooks):
        self.kind, self.slot = type(saved), saved.slot
        self.packed = hooks.pack_hook(_bare(saved.array, saved.device, saved.version))

    def unpacked(self, hook):
        """What the node keeps of a result."""
        found = _checked(hook(self.packed))
        saved = object.__new__(self.kind)
        saved.array, saved.device, saved.slot = found.array, found.device, self.slot
        saved.version, saved.written = [0], 0
        return saved


def _bare(array, device, version=None):
    """The elements without their history."""
    tensor = object.__new__(Variable.made_as)
    tensor.array, tensor.device, tensor.version = array, device, version
    return tensor


def _checked(value):
    if not isinstance(value, Variable):
        raise TypeError(
            f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(value).__name__}"
        )
    return value
