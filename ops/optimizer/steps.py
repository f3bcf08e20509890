"""Optimizer steps: one launch updates all parameters of a group, in place.

The tensors come as lists one behind the other: parameters, gradients, then the state. The kernel takes their pointers
as a tuple and sees one long virtual index: a program finds the tensor that its block belongs to by the tensors' first
blocks. Groups of more than `AT_ONCE` tensors take one launch for each so many: parameters have room for 4 KiB.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import Space, cdiv, choices, kernel, next_power_of_2, powers
from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous
from tritorch.runtime import dtypes, tl, transfer

AT_ONCE = 64
_PIECE = 65536  # elements updated at once on the host, so that the passes over them find them in the cache


def step_default(device, *, count):
    """Large blocks: every element is read once. Few programs interpreted."""
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 8)), 1024), 131072), "num_warps": 4}
    return {"BLOCK": 1024, "num_warps": 4}


STEP = Space(BLOCK=powers(512, 4096), num_warps=choices(4, 8))


@kernel
def _chosen(pointers, which, N: tl.constexpr, FIRST: tl.constexpr):
    """The pointer number `FIRST + which` of a tuple."""
    found = pointers[FIRST]
    for i in tl.static_range(1, N):
        found = tl.where(which >= i, pointers[FIRST + i], found)
    return found


@kernel
def _place(firsts, counts, N: tl.constexpr):
    """Which tensor this program works on, the number of its block in it, and the count of elements there."""
    program = tl.program_id(0)
    which, first, count = program * 0, program * 0, program * 0 + counts[0]
    for i in tl.static_range(1, N):
        later = program >= firsts[i]
        which = tl.where(later, i, which)
        first = tl.where(later, firsts[i], first)
        count = tl.where(later, counts[i], count)
    return which, program - first, count


@kernel(space=STEP, default=step_default)
def _sgd(
    tensors,  # N parameters, N gradients and, with momentum, N velocities, each contiguous: (counts[i],)
    firsts,  # the first block of each parameter
    counts,
    lr: tl.float64,
    momentum: tl.float64,
    dampening: tl.float64,
    weight_decay: tl.float64,
    N: tl.constexpr,
    MOMENTUM: tl.constexpr,
    FIRST: tl.constexpr,  # the velocities hold nothing yet
    DECAY: tl.constexpr,
    NESTEROV: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    which, block, count = _place(firsts, counts, N)
    index = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    parameter = _chosen(tensors, which, N, 0) + index
    value = tl.load(parameter, mask=inside, other=0).to(COMPUTE)
    step = tl.load(_chosen(tensors, which, N, N) + index, mask=inside, other=0).to(COMPUTE)
    if MAXIMIZE:
        step = -step
    if DECAY:
        step += weight_decay.to(COMPUTE) * value
    if MOMENTUM:
        place = _chosen(tensors, which, N, 2 * N) + index
        velocity = step
        if not FIRST:
            velocity = tl.load(place, mask=inside, other=0).to(COMPUTE) * momentum.to(COMPUTE)
            velocity += (1 - dampening).to(COMPUTE) * step
        tl.store(place, velocity.to(place.dtype.element_ty), mask=inside)
        step = step + momentum.to(COMPUTE) * velocity if NESTEROV else velocity
    tl.store(parameter, (value - lr.to(COMPUTE) * step).to(parameter.dtype.element_ty), mask=inside)


class Step(Op, abstract=True):
    """An op that updates the tensors it is given, where they lie; `reference` gives new ones. See the module's text."""

    in_place = True

    @classmethod
    def host(cls, *args):
        """The update in place: each tensor in pieces that stay in the cache."""
        tensors = [each for each in args if isinstance(each, np.ndarray)]
        numbers, lists = args[: len(args) - len(tensors)], cls.lists(args)
        for row in zip(*lists, strict=True):
            if row[0].dtype != dtypes.COMPUTE[row[0].dtype]:
                results = cls.reference(*numbers, *[each.astype(np.float32) for each in row])
                for each, result in zip(cls.written(row), results, strict=True):
                    each[...] = result
            elif not row[0].ndim:  # NumPy computes with arrays without dimensions as with numbers, out of place
                cls.update(*numbers, *[each.reshape(1) for each in row])
            elif row[0].size <= _PIECE or not all(each.flags.c_contiguous for each in row):
                cls.update(*numbers, *row)
            else:
                flat = [each.reshape(-1) for each in row]
                for start in range(0, flat[0].size, _PIECE):
                    cls.update(*numbers, *[each[start : start + _PIECE] for each in flat])
        return tuple(each for group in cls.written(lists) for each in group)

    @classmethod
    def lists(cls, args):
        """The tensors among `args`, as equally long lists: parameters, gradients and the state."""
        numbers = len(cls.names)
        tensors, kinds = args[numbers:], cls.kinds(*args[:numbers])
        size = len(tensors) // kinds
        return [tensors[at * size : (at + 1) * size] for at in range(kinds)]

    @staticmethod
    def written(row):
        """What is written of a row: all but the gradient."""
        return [row[0], *row[2:]]

    def forward(self, *args):
        """One launch for each `AT_ONCE` parameters."""
        lists = self.lists(args)
        for start in range(0, len(lists[0]), AT_ONCE):
            self._launch(args[: len(self.names)], [each[start : start + AT_ONCE] for each in lists])
        return tuple(each for group in self.written(lists) for each in group)

    def _launch(self, numbers, lists):
        rows = [row for row in zip(*lists, strict=True) if row[0].size]
        if not rows:
            return
        firsts, counts, program = [], [], 0
        launch, config, compute = self.launcher(rows[0][0], max(row[0].size for row in rows))
        for row in rows:
            firsts.append(program)
            counts.append(row[0].size)
            program += cdiv(row[0].size, config["BLOCK"])
        lists = list(zip(*rows, strict=True))
        flat = [[as_contiguous(each) for each in group] for group in lists]
        launch(
            (program,), tuple(each for group in flat for each in group), tuple(firsts), tuple(counts), numbers,
            {"N": len(rows), "COMPUTE": compute, **config},
        )  # fmt: skip
        for own, used in zip(self.written(lists), self.written(flat), strict=True):
            for destination, source in zip(own, used, strict=True):
                if destination is not source and not transfer.is_contiguous(destination):
                    _copy(destination, source)

    @classmethod
    def launcher(cls, array, count):
        """The launch function of the member, its config, and what it computes in."""
        config = cls.kernel.config(array, count=count)
        return cls.launch, config, tl.float64 if array.dtype == np.float64 else tl.float32


def _copy(destination, source):
    if isinstance(destination, np.ndarray):
        destination[...] = source
    else:
        destination.copy_from(source)


class SgdStep(Step):
    """p - lr d, where d = g + weight_decay p, or with momentum d = v = momentum v + (1 - dampening) d.

    With Nesterov momentum d + momentum v in the place of v. `first` says that v is d, as in the first step.
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    kernel = _sgd

    @staticmethod
    def kinds(lr, momentum, dampening, weight_decay, nesterov, maximize, first):
        """Parameters and gradients, and with momentum velocities."""
        return 3 if momentum else 2

    @staticmethod
    def reference(lr, momentum, dampening, weight_decay, nesterov, maximize, first, *tensors):
        size = len(tensors) // (3 if momentum else 2)
        values, velocities = [], []
        for at in range(size):
            value, step = tensors[at], tensors[size + at]
            step = (-step if maximize else step) + weight_decay * value
            if momentum:
                velocity = step if first else momentum * tensors[2 * size + at] + (1 - dampening) * step
                velocities.append(velocity)
                step = step + momentum * velocity if nesterov else velocity
            values.append(value - lr * step)
        return tuple(np.asarray(each, tensors[at % size].dtype) for at, each in enumerate(values + velocities))

    @staticmethod
    def update(lr, momentum, dampening, weight_decay, nesterov, maximize, first, value, step, velocity=None):
        """Update one parameter, and its velocity, in place."""
        if maximize:
            step = -step
        if weight_decay:
            step = step + weight_decay * value
        if momentum:
            if first:
                velocity[...] = step
            else:
                velocity *= momentum
                velocity += step if not dampening else (1 - dampening) * step
            step = step + momentum * velocity if nesterov else velocity
        value -= lr * step

    @staticmethod
    def launch(grid, tensors, firsts, counts, numbers, constants):
        """Launch the kernel."""
        lr, momentum, dampening, weight_decay, nesterov, maximize, first = numbers
        _sgd[grid](
            tensors, firsts, counts, float(lr), float(momentum), float(dampening), float(weight_decay),
            MOMENTUM=momentum != 0, FIRST=bool(first), DECAY=weight_decay != 0, NESTEROV=bool(nesterov),
            MAXIMIZE=bool(maximize), **constants,
        )  # fmt: skip

    @staticmethod
    def samples(draw):
        def tensors(kinds):
            return [draw(*shape) for _ in range(kinds) for shape in ((5, 7), (1025,), (), (0, 3))]

        yield 0.1, 0, 0, 0, False, False, False, *tensors(2)
        yield 0.1, 0, 0, 0.1, False, True, False, *tensors(2)
        yield 0.1, 0.9, 0, 0, False, False, True, *tensors(3)
        yield 0.1, 0.9, 0.5, 0.1, False, False, False, *tensors(3)
        yield 0.1, 0.9, 0, 0.1, True, False, False, *tensors(3)
        yield 1, 0.9, 0, 0, False, False, False, *[draw(3) for _ in range(3 * (AT_ONCE + 1))]


@kernel(space=STEP, default=step_default)
def _adam(
    tensors,  # N parameters, gradients, first moments, second moments (and their maxima): (counts[i],)
    firsts,  # the first block of each parameter
    counts,
    step_size: tl.float64,
    beta1: tl.float64,
    beta2: tl.float64,
    eps: tl.float64,
    decay: tl.float64,  # of the weight: lr * weight_decay if decoupled
    root: tl.float64,  # of the second moment's correction
    N: tl.constexpr,
    DECAY: tl.constexpr,
    DECOUPLED: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    AMSGRAD: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    which, block, count = _place(firsts, counts, N)
    index = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    parameter = _chosen(tensors, which, N, 0) + index
    value = tl.load(parameter, mask=inside, other=0).to(COMPUTE)
    step = tl.load(_chosen(tensors, which, N, N) + index, mask=inside, other=0).to(COMPUTE)
    if MAXIMIZE:
        step = -step
    if DECAY and DECOUPLED:
        value *= (1 - decay).to(COMPUTE)
    elif DECAY:
        step += decay.to(COMPUTE) * value
    place = _chosen(tensors, which, N, 2 * N) + index
    first = tl.load(place, mask=inside, other=0).to(COMPUTE)
    first += (1 - beta1).to(COMPUTE) * (step - first)
    tl.store(place, first.to(place.dtype.element_ty), mask=inside)
    place = _chosen(tensors, which, N, 3 * N) + index
    second = tl.load(place, mask=inside, other=0).to(COMPUTE) * beta2.to(COMPUTE)
    second += (1 - beta2).to(COMPUTE) * step * step
    tl.store(place, second.to(place.dtype.element_ty), mask=inside)
    if AMSGRAD:
        place = _chosen(tensors, which, N, 4 * N) + index
        largest = tl.load(place, mask=inside, other=0).to(COMPUTE)
        second = tl.maximum(second, largest, propagate_nan=tl.PropagateNan.ALL)
        tl.store(place, second.to(place.dtype.element_ty), mask=inside)
    value -= step_size.to(COMPUTE) * first / (tl.sqrt(second) / root.to(COMPUTE) + eps.to(COMPUTE))
    tl.store(parameter, value.to(parameter.dtype.element_ty), mask=inside)


class AdamStep(Step):
    """p - lr m / (sqrt(v) + eps), with moments m of g and v of g^2 averaged by beta1, beta2 and freed of their bias.

    Weight decay is added to the gradient, or taken off the weight if `decoupled` (AdamW); AMSGrad takes the largest v.
    Sources: Kingma, Ba, 2015; Loshchilov, Hutter, 2019; Reddi, Kale, Kumar, 2018.
    """

    kernel = _adam

    @staticmethod
    def kinds(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad, step):
        """Parameters, gradients, two moments, and the largest second one for AMSGrad."""
        return 5 if amsgrad else 4

    @staticmethod
    def reference(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad, step, *tensors):
        kinds = 5 if amsgrad else 4
        size = len(tensors) // kinds
        results = []
        lists = [tensors[k * size : (k + 1) * size] for k in range(kinds)]
        for value, gradient, first, second, *largest in zip(*lists, strict=True):
            gradient = -gradient if maximize else gradient
            if decoupled:
                value = value * (1 - lr * weight_decay)
            else:
                gradient = gradient + weight_decay * value
            first = beta1 * first + (1 - beta1) * gradient
            second = beta2 * second + (1 - beta2) * gradient * gradient
            largest = [np.maximum(largest[0], second)] if amsgrad else []
            root = np.sqrt((largest or [second])[0]) / math.sqrt(1 - beta2**step)
            value = value - lr / (1 - beta1**step) * first / (root + eps)
            results.append([np.asarray(each, gradient.dtype) for each in (value, first, second, *largest)])
        return tuple(each for group in zip(*results, strict=True) for each in group)

    @staticmethod
    def update(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad, step, value, gradient, first, second,
               largest=None):  # fmt: skip
        """Update one parameter and its moments in place."""
        if maximize:
            gradient = -gradient
        if decoupled:
            value *= 1 - lr * weight_decay
        elif weight_decay:
            gradient = gradient + weight_decay * value
        change = gradient - first
        change *= 1 - beta1
        first += change
        second *= beta2
        np.multiply(gradient, gradient, out=change)
        change *= 1 - beta2
        second += change
        if amsgrad:
            np.maximum(largest, second, out=largest)
        np.sqrt(largest if amsgrad else second, out=change)
        change /= math.sqrt(1 - beta2**step)
        change += eps
        np.divide(first, change, out=change)
        change *= lr / (1 - beta1**step)
        value -= change

    @staticmethod
    def launch(grid, tensors, firsts, counts, numbers, constants):
        """Launch the kernel."""
        lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad, step = numbers
        _adam[grid](
            tensors, firsts, counts, lr / (1 - beta1**step), float(beta1), float(beta2), float(eps),
            float(lr * weight_decay if decoupled else weight_decay), math.sqrt(1 - beta2**step),
            DECAY=weight_decay != 0, DECOUPLED=bool(decoupled), MAXIMIZE=bool(maximize), AMSGRAD=bool(amsgrad),
            **constants,
        )  # fmt: skip

    @staticmethod
    def samples(draw):
        def tensors(kinds):
            shapes = (5, 7), (1025,), (), (0, 3)
            made = [draw(*shape) for _ in range(3) for shape in shapes]
            return made + [np.asarray(np.abs(draw(*shape))) for _ in range(kinds - 3) for shape in shapes]

        yield 0.1, 0.9, 0.999, 1e-8, 0, False, False, False, 3, *tensors(4)
        yield 0.1, 0.9, 0.999, 1e-3, 0.1, False, True, False, 1, *tensors(4)
        yield 0.1, 0.8, 0.99, 1e-3, 0.1, True, False, True, 10, *tensors(5)
