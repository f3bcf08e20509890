"""Batched: a batch of examples that looks like one, and the Level, of one `vmap`, that it belongs to.

A Batched holds a tensor with the batch as dimension 0 and shows the shape of one example, so all code that is written
on Tensors runs on it unchanged. Its op calls are intercepted by its Level and run, by the op's batching rule, on the
tensors that are held. That is where they are recorded: a gradient is taken of whole batches and needs no rules.

Levels nest. A tensor may be Batched at several, the innermost being the outermost wrapper; each level's interceptor
unwraps its own and leaves the rest to those further out.
"""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager

from tritorch.autograd.grad_mode import state
from tritorch.autograd.inplace import check_fits, check_writable
from tritorch.autograd.intercept import Interceptor
from tritorch.ops.base import TABLE
from tritorch.ops.batching import Examples, moved
from tritorch.printing import tensor_text
from tritorch.runtime.strides import is_contiguous
from tritorch.tensor import Tensor
from tritorch.utils.pytree import tree_flatten, tree_unflatten

_ITEM = (
    "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, "
    "please try to rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch "
    "internals, please file a bug report."
)
_CONTROL_FLOW = (
    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that "
    "yet, please file an issue at https://github.com/pytorch/pytorch/issues ."
)
_NO_DATA = "accessing `data` under vmap transform is not allowed"
_NO_STORAGE = "Cannot access data pointer of Tensor that doesn't have storage"


class NoElements(RuntimeError, AttributeError):
    """Somebody wants to look at the elements of one example, or uses it after its vmap."""


class Outside:
    """What is known of the array of one example of many: how it lies, and no elements."""

    __slots__ = ("_whole",)

    def __init__(self, whole):
        self._whole = whole

    shape = property(lambda self: tuple(self._whole.shape[1:]))
    strides = property(lambda self: tuple(self._whole.strides[1:]))
    dtype = property(lambda self: self._whole.dtype)
    itemsize = property(lambda self: self._whole.itemsize)
    ndim = property(lambda self: self._whole.ndim - 1)
    size = property(lambda self: math.prod(self._whole.shape[1:]))
    nbytes = property(lambda self: self.size * self.itemsize)
    is_contiguous = property(lambda self: is_contiguous(self.shape, self.strides, self.itemsize))
    c_contiguous = is_contiguous
    flags = property(lambda self: self)  # of which c_contiguous is all that anybody asks

    def __getattr__(self, name):
        raise NoElements(f"{_NO_STORAGE}: it is one example of a batch, or was, and vmap gives no {name!r} of it")

    def __array__(self, *args, **kwargs):
        raise NoElements(f"{_NO_STORAGE}: it is one example of a batch, or was")


class Batched(Tensor):
    """A batch of examples, `value`, of the vmap `level`, that looks like one of them."""

    def __new__(cls, value, level):
        self = object.__new__(cls)
        self.value, self.level = value, level
        return self

    def __init__(self, value, level):
        """All is done by __new__."""

    array = property(lambda self: Outside(self.value.array))
    device = property(lambda self: self.value.device)
    node = property(lambda self: self.value.node)
    slot = property(lambda self: self.value.slot)
    requires = property(lambda self: self.value.requires)
    version = property(lambda self: self.value.version)
    view_of = property(lambda self: self.value.view_of)

    def counter(self):
        """The version counter of the memory."""
        return self.value.counter()

    def gradient_edge(self):
        """Where gradients of the whole batch go."""
        return self.value.gradient_edge()

    def wants_gradient(self):
        """Whether a gradient of the batch is wanted or flows through."""
        return self.value.wants_gradient()

    def detach(self):
        """The same memory without the history."""
        return Batched(self.value.detach(), self.level)

    @property
    def data(self):
        raise RuntimeError(_NO_DATA)

    @data.setter
    def data(self, value):
        raise RuntimeError(_NO_DATA)

    def on_host(self):
        """The elements of all examples as a NumPy array."""
        return self.value.on_host()

    def made_alike(self, made):
        """A new tensor for each example."""
        return Batched(repeated(made, self.level.size).clone(), self.level)

    def storage_offset(self):
        """The number of elements before the first example's first in the memory it views."""
        return self.value.storage_offset()

    def register_hook(self, hook):
        """Call `hook(grad)` on the gradient of the examples, which looks like one's."""
        level = self.level

        def on_batch(gradient):
            with level:  # the gradient comes from a pass backward over whole batches
                found = hook(Batched(gradient, level))
                return None if found is None else bare(found, level)

        return self.value.register_hook(on_batch)

    # -------------------------------------------------------------------------------------------- no elements

    def item(self):
        """Refused: it would be as many numbers as there are examples."""
        raise RuntimeError(_ITEM)

    def __bool__(self):
        raise RuntimeError(_CONTROL_FLOW)

    def __index__(self):
        raise RuntimeError(_ITEM)

    def tolist(self):
        """Refused, as every look at elements."""
        raise RuntimeError(_NO_STORAGE)

    def numpy(self, *, force=False):
        """Refused, as every look at elements."""
        raise RuntimeError(_NO_STORAGE)

    def data_ptr(self):
        """Refused: an example's elements may lie anywhere."""
        raise RuntimeError(_NO_STORAGE)

    def __repr__(self):
        inner = tensor_text(self.value) if type(self.value) is not Batched else repr(self.value)
        inner = inner.replace("\n", "\n    ")
        return f"BatchedTensor(lvl={self.level.depth}, bdim=0, value=\n    {inner}\n)"

    def __format__(self, spec):
        return repr(self)

    # -------------------------------------------------------------------------------------------- writes

    def write_in_place(self, function, name, args, kwargs):
        """Write function(self, ...) over the examples, by a write over the batch."""
        recorded = state.recording
        check_writable(self, name, recorded)
        # Whoever saves the old value for a gradient must not find the new one.
        result = function(self.clone() if recorded else self, *args, **kwargs)
        check_fits(self, result, name)
        self.value.copy_(bare(result, self.level))
        return self

    def fill_(self, value):
        """Write `value`, a number or a tensor without dimensions, to every element."""
        if isinstance(value, Tensor):
            return self.copy_(value)
        self.value.fill_(value)
        return self

    def zero_(self):
        """Write zero to every element."""
        return self.fill_(0)


def repeated(tensor, size):
    """The tensor `size` times along a new first dimension, without a copy."""
    return tensor.unsqueeze(0).expand(size, *tensor.array.shape)


def bare(tensor, level):
    """The tensor without `level`, whose batch becomes its first dimension: repeated over it where it has none."""
    if type(tensor) is Batched and tensor.level is level:
        return tensor.value
    if type(tensor) is Batched and tensor.level.depth > level.depth:
        return Batched(moved(bare(tensor.value, level), 0, 1), tensor.level)
    return repeated(tensor, level.size)


def dressed(tensor, level):
    """The reverse of `bare`: the first dimension is the batch of `level`."""
    if type(tensor) is Batched and tensor.level.depth > level.depth:
        return Batched(dressed(moved(tensor.value, 1, 0), level), tensor.level)
    return Batched(tensor, level)


def levels():
    """The levels of this thread, from the outermost to the innermost."""
    return tuple([each for each in state.interceptors if isinstance(each, Level)])


@contextmanager
def without(some, repeats=True):
    """Run ops as if these levels were not there; `repeats` says that random numbers were drawn, and are repeated."""
    before = state.interceptors
    state.interceptors = tuple([each for each in before if each not in some])
    later = levels() if repeats else ()
    modes = [each.randomness for each in later]
    for each in later:
        each.randomness = "same"
    try:
        yield
    finally:
        state.interceptors = before
        for each, mode in zip(later, modes, strict=True):
            each.randomness = mode


def check_randomness(mode):
    """Refuse a mode that there is not."""
    if mode not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {mode}")


_slow: set[str] = set()  # the ops that users were told run on one example after the other


class Level(Interceptor):
    """One vmap over `size` examples: runs op calls on Batched tensors of its own on the whole batch."""

    def __init__(self, size, randomness="error"):
        check_randomness(randomness)
        self.size, self.randomness = size, randomness
        self.depth = 1 + len(levels())

    def intercept(self, cls, args):
        """The op on the whole batch, where an argument has one."""
        batched = tuple([type(arg) is Batched and arg.level is self for arg in args])
        if "seed" in cls.names and (args[cls.names.index("dropout_p")] if "dropout_p" in cls.names else True):
            return self.draw(cls, list(args), batched)
        if True not in batched:
            return cls.apply(*args)
        call = Examples(self.size, [arg.value if own else arg for arg, own in zip(args, batched, strict=True)], batched)
        found = cls.batch(call)
        if found is None:
            warn_slow(cls.op_name)
            found = one_by_one(cls, call)
        return self.wrap(found)

    def apply_function(self, function, args):
        """An autograd.Function with arguments of this level."""
        from tritorch.func.functions import apply_to_batch

        return apply_to_batch(self, function, args)

    def loop(self, function, args, kwargs):
        """A function on one example after the other, what it gives stacked."""
        warn_slow(function.__name__)
        flat, spec = tree_flatten((args, kwargs))
        found = []
        # An example draws numbers of its own where the level is not there to give all of them some.
        with without([self] if self.randomness == "different" else [], repeats=False):
            for at in range(self.size):
                one = [x.value.select(0, at) if type(x) is Batched and x.level is self else x for x in flat]
                own_args, own_kwargs = tree_unflatten(one, spec)
                found.append(tree_flatten(function(*own_args, **own_kwargs)))
        stack = TABLE["stack"].apply
        together = zip(*[leaves for leaves, _ in found], strict=True)
        return tree_unflatten([Batched(stack(0, *each), self) for each in together], found[0][1])

    def wrap(self, found):
        """Results with the batch first as examples."""
        if type(found) is tuple:
            return tuple([Batched(each, self) for each in found])
        return Batched(found, self)

    def draw(self, cls, args, batched):
        """An op that draws random numbers, the same for all examples or not."""
        if self.randomness == "error":
            raise RuntimeError(
                "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
                "'different' randomness flags on vmap or perform the randomness operation out of vmap"
            )
        call = Examples(self.size, [arg.value if own else arg for arg, own in zip(args, batched, strict=True)], batched)
        if self.randomness == "same":
            return self.wrap(one_by_one(cls, call)) if True in batched else cls.apply(*args)
        seed = cls.names.index("seed")
        first, second = args[seed : seed + 2]
        call.args[seed : seed + 2] = own_stream(first, second), 0
        if cls.creates and cls.names[0] == "size":
            return self.wrap(cls.apply((self.size, *call.args[0]), *call.args[1:]))
        found = None if cls.creates else cls.batch(call)
        if found is None:
            seeds = [own_stream(first, second, number + 1) for number in range(self.size)]
            found = one_by_one(cls, call, lambda at, one: [*one[:seed], seeds[at], *one[seed + 1 :]])
        return self.wrap(found)


def own_stream(seed, offset, number=0):
    """A seed for what a batch draws where one example would draw from (seed, offset): nobody else's, and repeatable.

    The three numbers mixed by the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    mixed = 0
    for each in (seed, offset, number + 0x9E3779B97F4A7C15):
        mixed = (mixed ^ each) % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ mixed >> shift) * factor % 2**64
        mixed ^= mixed >> 31
    return mixed


def one_by_one(cls, call, change=None):
    """The op on one example after the other, the results stacked; change(number, arguments) may alter a call."""
    if getattr(cls, "in_place", False):
        raise RuntimeError(f"vmap: {cls.op_name} writes in place and has no batching rule")
    if call.size == 0:
        raise RuntimeError("vmap: The fallback path does not support vmap over dims of size 0")
    found = []
    for at in range(call.size):
        one = [arg.select(0, at) if own else arg for arg, own in zip(call.args, call.batched, strict=True)]
        found.append(cls.apply(*(one if change is None else change(at, one))))
    stack = TABLE["stack"].apply
    if type(found[0]) is tuple:
        return tuple([stack(0, *each) for each in zip(*found, strict=True)])
    return stack(0, *found)


def warn_slow(name):
    """Say, once, that an op or a composition has no batching rule."""
    if name not in _slow:
        _slow.add(name)
        warnings.warn(
            f"There is a performance drop because we have not yet implemented the batching rule for {name}: "
            "it runs on one example after the other.",
            stacklevel=2,
        )
