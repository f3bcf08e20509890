"""Which problems a command is about: ops by name and sizes, kernels of a user's own, or a file of traced shapes.

matmul --shape M=256,N=256,K=256 --shape M=4096,N=4096,K=4096 --dtype bfloat16
path/to/file.py:kernel --shape N=1000000
--shapes shapes.json                 what `tritorch autotune trace` wrote
softmax --shapes shapes.json         of that, calls of softmax
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys

from tritorch.autotune.command.selection import Refused
from tritorch.autotune.op_problem import OpProblem, op_called
from tritorch.autotune.problem import describe
from tritorch.autotune.trace import read_shapes
from tritorch.autotune.tuner import Weighted

_SHOWN = 3  # names of ops that are like another


def add_problem_arguments(parser):
    """OP..., --shapes, --shape, --dtype."""
    parser.add_argument("ops", nargs="*", metavar="OP", help="an op's name, or path/to/file.py:kernel")
    shapes = parser.add_mutually_exclusive_group()
    shapes.add_argument("--shapes", metavar="FILE", help="shapes that `tritorch autotune trace` wrote")
    shapes.add_argument("--shape", action="append", type=sizes_of, metavar="M=..,N=..", help="sizes by name, others as "
                        "the op has them if nobody says otherwise; may be given again")  # fmt: skip
    parser.add_argument("--dtype", action="append", metavar="NAME", help="dtype of the tensors (default float32; of "
                        "--shapes, all); may be given again")  # fmt: skip


def sizes_of(text):
    """The sizes that a text such as "M=256,N=16" gives, by name."""
    found = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        name, given, value = part.partition("=")
        if not given or not name.isidentifier() or not value:
            raise argparse.ArgumentTypeError(f"{part!r} is no size; sizes are given as M=256,N=16")
        if name in found:
            raise argparse.ArgumentTypeError(f"{text!r} gives {name} twice")
        found[name] = _number(value)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} gives no size; sizes are given as M=256,N=16")
    return found


def _number(text):
    """A size: a number where the text is one, such as 4096, 4k or 0.5, else the text."""
    scale = {"k": 1 << 10, "m": 1 << 20}.get(text[-1:].lower(), 1)
    digits = text[:-1] if scale > 1 else text
    if digits.removeprefix("-").isdecimal():
        return int(digits) * scale
    try:
        return float(text)
    except ValueError:
        return text


def problems_of(options):
    """The Weighted problems that options name; a Refused says what is wrong with them."""
    if options.shapes:
        return _from_file(options)
    if not options.ops:
        raise Refused("which ops? Give their names, a kernel as path/to/file.py:kernel, or --shapes FILE")
    found = {}
    for name in map(_meant, options.ops):
        for sizes in options.shape or [{}]:
            for dtype in options.dtype or ["float32"]:
                try:
                    problem = _sized(name, dtype, sizes)
                except ValueError as error:
                    raise Refused(str(error)) from error
                found.setdefault(json.dumps(describe(problem), sort_keys=True), Weighted(problem))
    return list(found.values())


def _meant(name):
    """The op that a name means; of a function's name it is said which that is."""
    found = op_called(name)
    if found is None or found == name:
        return name
    print(f"{name} calls the op {found}", file=sys.stderr)
    return found


def _sized(name, dtype, sizes):
    if ":" in name:
        from tritorch.autotune.kernel_problem import KernelProblem

        return KernelProblem.sized(name, dtype, sizes)
    from tritorch.ops.base import EXPORTS, TABLE

    if name.endswith(".py"):
        raise ValueError(f"{name} has which kernel? A kernel is named as {name}:kernel")
    if name not in TABLE and any(each.rpartition(".")[2] == name for each in EXPORTS):
        stem, words = re.sub(r"\d+d$", "", name), name.split("_")  # of conv2d, of scaled_dot_product_attention
        close = [op for op in TABLE if op.startswith(stem) or op in words]
        hint = f", perhaps {' or '.join(close[:_SHOWN])}" if close else ""
        raise ValueError(
            f"{name!r} is a function that calls other ops{hint}; `tritorch autotune trace` records which, with shapes"
        )
    return OpProblem.sized(name, dtype, sizes)


def _from_file(options):
    """The problems of a file of shapes, those of the ops and dtypes that are named if any are."""
    try:
        read = [Weighted(each.problem, each.share, each.count) for each in read_shapes(options.shapes)]
    except OSError as error:
        raise Refused(f"{options.shapes}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(str(error)) from error
    there, ops = {each.problem.name for each in read}, []
    for name in options.ops:
        name = name if name in there else _meant(name)
        ops.append(name)
        if name not in there:
            close = difflib.get_close_matches(name, there)
            hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(sorted(there))}"
            raise Refused(f"{options.shapes} has no call of {name!r}; {hint}")
    chosen = [
        each
        for each in read
        if (not ops or each.problem.name in ops) and (not options.dtype or each.problem.dtype in options.dtype)
    ]
    if not chosen:
        dtypes = ", ".join(sorted({each.problem.dtype for each in read})) or "nothing"
        raise Refused(f"{options.shapes} has no such calls; its dtypes are {dtypes}")
    return chosen
