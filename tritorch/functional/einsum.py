"""Sums of products along named dimensions: einsum and tensordot, pairwise, as products of matrices."""

from __future__ import annotations

import itertools
import math

from tritorch.autograd.variable import Variable
from tritorch.functional.matrices import kind_of
from tritorch.ops.autocast import LOWER, WIDEST_ON_GPUS
from tritorch.ops.base import TABLE, export
from tritorch.ops.dimensions import wrap_dims

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DOTS = "..."


@export("einsum", autocast=LOWER)
def einsum(*args):
    """The sum of products that an equation such as "bij,bjk->bik" names, or lists of numbers for its letters.

    A letter that the output lacks is summed over; without "->" the output has, in order, the letters that occur once.
    "..." stands for dimensions that broadcast, and a letter twice in one operand for its diagonal.
    """
    terms, output, operands = _read(args)
    named = [_named(at, term, each) for at, (term, each) in enumerate(zip(terms, operands, strict=True))]
    rank = max((len(label) for labels in named for label in labels if isinstance(label, tuple)), default=0)
    sizes = _sizes(named, operands)
    wanted = _wanted(output, named, rank)
    tensors, labels = [], []
    for each, own in zip(operands, named, strict=True):
        tensor, kept = _without_repeats(each, own)
        single = [place for place, label in enumerate(kept) if tensor.array.shape[place] == 1 != sizes[label]]
        tensors.append(tensor.squeeze(tuple(single)) if single else tensor)
        labels.append([label for place, label in enumerate(kept) if place not in single])
    return _folded(tensors, labels, wanted)


def _folded(tensors, labels, wanted):
    """All products, from left to right, each summed over what nobody needs any more."""
    found, own = tensors[0], labels[0]
    for at in range(1, len(tensors)):
        needed = {*wanted, *itertools.chain.from_iterable(labels[at + 1 :])}
        found, own = contract(found, own, tensors[at], labels[at], needed)
    found, own = _summed(found, own, set(wanted))
    order = tuple([own.index(label) for label in wanted])
    return found if order == tuple(range(len(order))) else found.permute(order)


def contract(a, a_labels, b, b_labels, needed):
    """The product of two tensors by their dimensions' labels, summed over those that are not needed."""
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(f"expected scalar type {kind_of(a)} but found {kind_of(b)}")
    a, a_labels = _summed(a, a_labels, {*needed, *b_labels})
    b, b_labels = _summed(b, b_labels, {*needed, *a_labels})
    both = [label for label in a_labels if label in b_labels]
    batch, inner = [each for each in both if each in needed], [each for each in both if each not in needed]
    left = [label for label in a_labels if label not in both]
    right = [label for label in b_labels if label not in both]
    labels = [*batch, *left, *right]
    if a.array.dtype.kind == "b":
        raise NotImplementedError("\"bmm\" not implemented for 'Bool'")
    first = a.permute(tuple([a_labels.index(each) for each in (*batch, *left, *inner)]))
    second = b.permute(tuple([b_labels.index(each) for each in (*batch, *inner, *right)]))
    shape, other = first.array.shape, second.array.shape
    lead, depth = shape[: len(batch)], math.prod(other[len(batch) : len(batch) + len(inner)])
    rows, columns = shape[len(batch) : len(batch) + len(left)], other[len(batch) + len(inner) :]
    if not inner:  # nothing to sum: a product element by element
        spread = second.reshape((*lead, *(1,) * len(left), *columns))
        return first.reshape((*lead, *rows, *(1,) * len(right))) * spread, labels
    product = TABLE["matmul"].call(
        first.reshape((*lead, math.prod(rows), depth)), second.reshape((*lead, depth, math.prod(columns)))
    )
    return product.reshape((*lead, *rows, *columns)), labels


def _summed(tensor, labels, needed):
    """The tensor summed over the dimensions whose labels are not needed."""
    gone = tuple([at for at, label in enumerate(labels) if label not in needed])
    if not gone:
        return tensor, labels
    return tensor.sum(gone, dtype=tensor.dtype), [label for label in labels if label in needed]


# ---------------------------------------------------------------- the equation


def _read(args):
    """The subscripts of each operand, those of the output or None, and the operands."""
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its "
            "subscripts list"
        )
    if not isinstance(args[0], Variable):
        operands = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
        return *_parsed(args[0], len(operands)), operands
    operands, lists = args[: len(args) // 2 * 2 : 2], args[1::2]
    output = _from_list(args[-1], "output but an ellipsis (...)") if len(args) % 2 else None
    terms = [_from_list(each, f"operand {at} for which an ellipsis") for at, each in enumerate(lists)]
    return terms, output, operands


def _from_list(subscripts, twice):
    found = []
    for each in subscripts:
        if each is Ellipsis:
            _check_once(found, twice)
            found.append(_DOTS)
        elif 0 <= each < len(_LETTERS):
            found.append(_LETTERS[each])
        else:
            raise ValueError("einsum(): subscript in subscript list is not within the valid range [0, 52)")
    return found


def _parsed(equation, count):
    left, arrow, right = equation.partition("->")
    terms, start = [], 0
    for at, part in enumerate(left.split(",")):
        if at >= count:
            raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
        terms.append(_subscripts(part, start, f"operand {at}", f"operand {at} for which an ellipsis"))
        start += len(part) + 1
    if len(terms) < count:
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    output = None
    if arrow:
        output = _subscripts(right, len(left) + 2, "output", "output but an ellipsis (...)")
    return terms, output


def _check_once(found, twice):
    if _DOTS in found:
        raise RuntimeError(f"einsum(): found '.' for {twice} was already found")


def _subscripts(text, start, where, twice):
    found, at = [], 0
    while at < len(text):
        letter = text[at]
        if letter == ".":
            _check_once(found, twice)
            if text[at : at + 3] != _DOTS:
                tail = "(...)" if where == "output" else ""
                raise RuntimeError(f"einsum(): found '.' for {where} that is not part of any ellipsis {tail}".rstrip())
            found.append(_DOTS)
            at += 2
        elif letter in _LETTERS:
            found.append(letter)
        elif letter != " ":
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {start + at} in the equation string, subscripts must be "
                "in [a-zA-Z]"
            )
        at += 1
    return found


def _named(at, term, tensor):
    """A label for each dimension of an operand; those under "..." are numbered from the last, as (0,), (0, 1), ..."""
    ndim, letters = tensor.array.ndim, len(term) - (_DOTS in term)
    if letters > ndim or (letters < ndim and _DOTS not in term):
        problem = "is more than" if _DOTS in term else "does not match"
        tail = "" if _DOTS in term else " and no ellipsis was given"
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({letters}) {problem} the number of dimensions "
            f"({ndim}) for operand {at}{tail}"
        )
    found = []
    for each in term:
        found.extend(_covered(ndim - letters) if each == _DOTS else [each])
    return found


def _covered(rank):
    """The labels of `rank` dimensions under "...", the last of which is (0,)."""
    return [tuple(range(each)) for each in range(rank, 0, -1)]


def _sizes(named, operands):
    """What each label's size is, or PyTorch's error where sizes do not broadcast."""
    sizes = {}
    for at, (labels, tensor) in enumerate(zip(named, operands, strict=True)):
        own = {}
        for label, size in zip(labels, tensor.array.shape, strict=True):
            if own.setdefault(label, size) != size:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for operand {at} but the sizes don't match, {size} != "
                    f"{own[label]}"
                )
        for label, size in own.items():
            present = sizes.get(label, 1)
            if 1 not in (size, present) and size != present:
                raise RuntimeError(_unfit(label, at, size, present))
            sizes[label] = present if size == 1 else size
    return sizes


def _unfit(label, at, size, present):
    if isinstance(label, tuple):
        return (
            f"einsum(): dimension {len(label) - 1} covered by ellipsis in operand {at}has size {size} which does not "
            f"broadcast with previously seen ellipsis with size {present} for the respective dimension"
        )
    return (
        f"einsum(): subscript {label} has size {size} for operand {at} which does not broadcast with previously seen "
        f"size {present}"
    )


def _wanted(output, named, rank):
    """The labels of the output's dimensions."""
    seen = list(itertools.chain.from_iterable(named))
    if output is None:
        return [*_covered(rank), *sorted(each for each in set(seen) - set(_covered(rank)) if seen.count(each) == 1)]
    found = []
    for each in output:
        if each == _DOTS:
            found.extend(_covered(rank))
            continue
        if each in found:
            raise RuntimeError(f"einsum(): output subscript {each} appears more than once in the output")
        if each not in seen:
            raise RuntimeError(
                f"einsum(): output subscript {each} does not appear in the equation for any input operand"
            )
        found.append(each)
    return found


def _without_repeats(tensor, labels):
    """The diagonals of dimensions that have the same label."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            tensor = tensor.diagonal(0, first, second)
            labels = [each for place, each in enumerate(labels) if place not in (first, second)] + [label]
    return tensor, labels


# ---------------------------------------------------------------- by dimensions


@export("tensordot", out=True, autocast=WIDEST_ON_GPUS)
def tensordot(a, b, dims=2):
    """The sum of products over dimensions of both: the last and first `dims`, or two lists of them."""
    if isinstance(dims, Variable):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.array.ndim, b.array.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        dims = list(range(-dims, 0)), list(range(dims))
    first, second = ([each] if isinstance(each, int) else list(each) for each in dims)
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    if a.array.dtype != b.array.dtype:
        raise RuntimeError("both inputs should have same dtype")
    first, second = wrap_dims(first, a.array.ndim), wrap_dims(second, b.array.ndim)
    labels = [list(range(a.array.ndim)), list(range(a.array.ndim, a.array.ndim + b.array.ndim))]
    alone = [[], []]  # dimensions of one element that meet longer ones
    for x, y in zip(first, second, strict=True):
        sizes = a.array.shape[x], b.array.shape[y]
        if sizes[0] != sizes[1] and 1 not in sizes:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {sizes[0]} in dim {x} and second has size "
                f"{sizes[1]} in dim {y}"
            )
        if sizes[0] == sizes[1]:
            labels[1][y] = x
        else:
            alone[0].append(x)
            alone[1].append(labels[1][y])
    summed = {*first, *alone[1]}
    needed = {label for label in (*labels[0], *labels[1]) if label not in summed}
    return contract(a, labels[0], b, labels[1], needed)[0]
