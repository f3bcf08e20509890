"""Descriptions of problems that people write, or that come from elsewhere: what is none is refused in clear words."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.problem import problem_from
from tritorch.ops.base import TABLE


def tensor(*shape, **more):
    return {"tensor": list(shape), "dtype": "float32", **more}


HOSTILE = {
    "no op": ({"op": "__import__"}, "no op named '__import__'"),
    "an op that is a list": ({"op": ["exp"]}, "no op named"),
    "a view": ({"op": "view", "arguments": []}, "is a view"),
    "another field": ({"op": "exp", "arguments": [], "run": "x"}, "has no 'run'"),
    "no arguments": ({"op": "exp"}, "arguments are a list"),
    "both": ({"op": "matmul", "arguments": [], "sizes": {}}, "arguments and sizes"),
    "sizes in a list": ({"op": "matmul", "sizes": [1]}, "sizes are given by name"),
    "too few": ({"op": "matmul", "arguments": [tensor(3, 3)]}, "takes input, other, transpose_input"),
    "too many": ({"op": "exp", "arguments": [tensor(3), tensor(3)]}, "takes input; got 2"),
    "no tensor": ({"op": "exp", "arguments": [3]}, "none of its arguments is a tensor"),
    "a shape that is none": ({"op": "exp", "arguments": [{"tensor": 5, "dtype": "float32"}]}, "the shape is a list"),
    "a negative size": ({"op": "exp", "arguments": [tensor(-1)]}, "not negative"),
    "a size of true": ({"op": "exp", "arguments": [tensor(True)]}, "whole numbers"),
    "100 dimensions": ({"op": "exp", "arguments": [tensor(*[1] * 100)]}, "up to 64"),
    "a petabyte": ({"op": "exp", "arguments": [tensor(1 << 48)]}, "more than 256 GiB"),
    "a petabyte by strides": ({"op": "exp", "arguments": [tensor(2, strides=[1 << 48])]}, "more than 256 GiB"),
    "a petabyte in parts": ({"op": "cat", "arguments": [0, {"tuple": [0]}, *[tensor(1 << 34)] * 9]}, "256 GiB"),
    "strides of another rank": ({"op": "exp", "arguments": [tensor(3, strides=[1, 1])]}, "2 strides for 1 dim"),
    "an offset": ({"op": "exp", "arguments": [tensor(3, offset=4)]}, "an offset of 4 elements"),
    "an unknown dtype": ({"op": "exp", "arguments": [{"tensor": [3], "dtype": "os.system"}]}, "no dtype named"),
    "an unknown field": ({"op": "exp", "arguments": [tensor(3, fill=1)]}, "a tensor has no 'fill'"),
    "bounds that cross": ({"op": "exp", "arguments": [tensor(3, low=2, high=1)]}, "low is 2.0, which is above high"),
    "half a range": ({"op": "exp", "arguments": [tensor(3, low=2)]}, "go together"),
    "bounds of text": ({"op": "exp", "arguments": [tensor(3, low="a", high="b")]}, "no number that bounds"),
    "an infinite bound": ({"op": "exp", "arguments": [tensor(3, low=0, high=float("inf"))]}, "no number that bounds"),
    "bounds beside the dtype": (
        {"op": "neg", "arguments": [{"tensor": [3], "dtype": "int8", "low": 0, "high": 300}]}, "300 is no int8",
    ),
    "more different ones than there are": (
        {"op": "neg", "arguments": [{"tensor": [3], "dtype": "int8", "low": 0, "high": 1, "unique": True}]},
        "3 different integers between 0 and 1",
    ),
    "values of another count": (
        {"op": "neg", "arguments": [{"tensor": [3], "dtype": "int8", "values": [1]}]}, "as many integers",
    ),
    "a share": ({"op": "exp", "arguments": [tensor(3, share=0.5)]}, "share is of the true values"),
    "an object": ({"op": "exp", "arguments": [{"python": "os.system('x')"}]}, "an object with"),
    "a maker": ({"op": "exp", "arguments": [{"made": "eval", "of": ["1"]}]}, "nothing is made by 'eval'"),
    "a large map": ({"op": "resample", "arguments": [tensor(3), {"tuple": [
        {"made": "nearest", "of": [1 << 40, 1 << 40, None, False]}]}]}, "a number above"),
    "a wrong map": ({"op": "resample", "arguments": [tensor(3), {"tuple": [
        {"made": "nearest", "of": [3]}]}]}, "nearest refuses its arguments"),
    "a huge number": ({"op": "full", "arguments": [{"tuple": [3]}, 1 << 70, {"dtype": "int64"}]}, "more than 64 bits"),
    "a petabyte to make": (
        {"op": "full", "arguments": [{"tuple": [1 << 24, 1 << 24]}, 0, {"dtype": "int8"}]}, "takes more than 256 GiB",
    ),
    "a long text": ({"op": "full", "arguments": [{"tuple": [3]}, "x" * 5000, {"dtype": "int64"}]}, "5000 characters"),
    "a tuple of text": ({"op": "full", "arguments": [{"tuple": "abc"}, 0, {"dtype": "int64"}]}, "is given by a list"),
    "a slice": ({"op": "block_diag", "arguments": [{"slice": [1]}, tensor(3)]}, "a slice is given by"),
    "a float": ({"op": "clamp_max", "arguments": [tensor(3), {"float": "1e5"}]}, "is none of inf, nan"),
    "many values": ({"op": "full", "arguments": [{"tuple": [0] * 100_000}, 0, {"dtype": "int64"}]}, "values"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "words"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_description_is_refused(found, words):
    with pytest.raises(ValueError, match=words):
        problem_from({"kind": "op", **found})


def test_depth_is_limited():
    nested: list = [1]
    for _ in range(50):
        nested = [nested]
    with pytest.raises(ValueError, match="more than 8 lists"):
        problem_from({"kind": "op", "op": "full", "arguments": [nested, 0, {"dtype": "int64"}]})


def test_arguments_nobody_can_describe_are_named():
    with pytest.raises(ValueError, match="clamp_max: argument 'max' is a object, which cannot be described"):
        OpProblem.of(TABLE["clamp_max"], (np.zeros(3, np.float32), object()))
    with pytest.raises(ValueError, match="an array of complex64, which no tensor holds"):
        OpProblem.of(TABLE["exp"], (np.zeros(3, np.complex64),))


def test_short_descriptions_get_the_ops_defaults():
    problem = problem_from({"kind": "op", "op": "to_device", "arguments": [tensor(3), None]})
    assert problem.arguments[2] is False
    special = {"op": "clamp_both", "arguments": [tensor(3), {"float": "-inf"}, {"float": "inf"}]}
    assert problem_from({"kind": "op", **special}).arguments[1:] == (-np.inf, np.inf)
