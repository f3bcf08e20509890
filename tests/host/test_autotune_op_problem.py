"""Problems made of ops: described in JSON, made again, run on the interpreter and held against the reference."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import comparing, op_problem
from tritorch.autotune.arguments import TensorSpec, specs_in
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.problem import configs_asked, describe, problem_from
from tritorch.autotune.values import Hollow, Repeating
from tritorch.ops.base import TABLE
from tritorch.ops.host_op import HostOp
from tritorch.ops.recurrent.steps import places_of
from tritorch.runtime import precision
from tritorch.runtime.device import CPU, INTERPRETER
from tritorch.runtime.guarded import guarded_memory
from tritorch.validation import samples_of

KERNELS = sorted(name for name, op in TABLE.items() if not op.views and not issubclass(op, HostOp))
COPIES = {"to_device": "which cannot be described"}  # no kernel of ours runs
# They hand their argument on and launch nothing, or launch one program.
UNASKED = {"adjust_scale", "boundary", "spread", "to_device"}
FEW_SIZES = {"bag_numbers", "overwritten_by", "random_permutation"}  # ask for some arguments, or for none


def sample_of(op, dtype=np.float32):
    """The first sample with a tensor that has elements and dimensions, else the first."""
    samples = samples_of(op, dtype)
    wanted = (s for s in samples if any(isinstance(each, np.ndarray) and each.ndim and each.size for each in s))
    return next(wanted, samples[0])


def problem_of(op, sample):
    return OpProblem.of(op, (*sample, INTERPRETER) if op.creates else sample)


def again(problem):
    """The problem as another process makes it from its description."""
    return problem_from(json.loads(json.dumps(describe(problem))))


def error_of(problem):
    call = problem.call(INTERPRETER)
    return call.compare(call.run())


@pytest.mark.parametrize("name", sorted(set(KERNELS) - set(COPIES)))
def test_every_op_is_described_made_again_and_right(name):
    op = TABLE[name]
    problem = problem_of(op, sample_of(op))
    assert again(problem) == problem and problem.label
    error, where = error_of(again(problem))
    assert error <= 1, where
    asked = configs_asked(problem.call(INTERPRETER, values=False))
    assert bool(asked) != (name in UNASKED) or name in FEW_SIZES


@pytest.mark.parametrize(
    "name", ["matmul", "layer_norm_backward", "attention_backward", "cross_entropy_backward", "sort"]
)
def test_half_precision_too(name):
    op = TABLE[name]
    problem = problem_of(op, sample_of(op, np.dtype(ml_dtypes.bfloat16)))
    assert problem.dtype == "bfloat16"
    error, where = error_of(again(problem))
    assert error <= 1, where


@pytest.mark.parametrize("name", sorted(set(TABLE) - set(KERNELS)) + sorted(COPIES))
def test_ops_without_kernels_are_refused_in_clear_words(name):
    op = TABLE[name]
    words = "is a view and launches no kernel" if op.views else "NumPy runs it on the host"
    with pytest.raises(ValueError, match=COPIES.get(name, words)):
        OpProblem.of(op, sample_of(op))


# ------------------------------------------------------------------------------------------------------------- layouts


LAYOUTS = {
    "in order": lambda x: x,
    "transposed": lambda x: x.T,
    "a step back": lambda x: x[::-1],
    "gaps": lambda x: x[:, ::3],
    "expanded": lambda x: np.broadcast_to(x[:, :1], (8, 5)),
    "no dimensions": lambda x: x[1:2, 2].reshape(()),
    "empty": lambda x: x[:0],
    "shifted": lambda x: x.reshape(-1)[1:],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_come_back(layout):
    memory = np.zeros(8 * 9 + 4, np.float32)
    start = -(memory.ctypes.data % 16) // 4 % 4
    array = layout(memory[start : start + 72].reshape(8, 9))
    problem = again(OpProblem.of(TABLE["exp"], (array,)))
    (spec,) = problem.arguments
    call = problem.call(INTERPRETER)
    (held,) = call._arguments
    made = held.view(held.memory)
    assert made.shape == array.shape
    assert spec.strides is None or made.strides == array.strides
    if array.size:
        assert made.ctypes.data % 16 == array.ctypes.data % 16 or held.memory.ctypes.data % 16
    assert call.compare(call.run())[0] <= 1


def test_integers_keep_their_range_and_order():
    random = np.random.default_rng(0)
    rows = random.integers(3, 1000, (7, 900))
    assert OpProblem.of(TABLE["neg"], (rows,)).arguments[0] == TensorSpec((7, 900), "int64", low=3, high=999)
    ascending = TensorSpec((7, 900), "int64", low=3, high=999, sorted=True)
    assert OpProblem.of(TABLE["neg"], (np.sort(rows, axis=1),)).arguments[0] == ascending
    orders = np.argsort(random.random((4, 100)), axis=1)
    problem = OpProblem.of(TABLE["neg"], (orders,))
    assert problem.arguments[0] == TensorSpec((4, 100), "int64", low=0, high=99, unique=True)
    (held,) = problem.call(INTERPRETER)._arguments
    assert (np.sort(held.host.reshape(4, 100), axis=1) == np.arange(100)).all()
    few = np.array([[5, -2, 5]], np.int32)
    problem = again(OpProblem.of(TABLE["neg"], (few,)))
    assert (problem.call(INTERPRETER)._arguments[0].host == [5, -2, 5]).all()


def pooled(random):
    x = random.standard_normal((2, 3, 24, 24)).astype(np.float32)
    best, indices = TABLE["max_pool"].reference(x, (3, 3), (2, 2), (1, 1), (1, 1), False)
    return best, indices, (24, 24), (3, 3), (2, 2), (1, 1), (1, 1)


def in_windows(random):
    begin = random.integers(0, 3, (40, 7))
    x = random.standard_normal((10, 4, 5, 5, 5)).astype(np.float32)
    return x, np.stack([begin, begin + 2], -1), (2, 2, 3), (2, 2, 2)


def in_runs(random):
    return random.standard_normal((1, 900)).astype(np.float32), (np.arange(900) // 7 * 7)[None], 1


def packed(random):
    sizes, width = (100, 60, 40), 4
    rows, batch = random.standard_normal((200, 3 * width)), random.standard_normal((100, width))
    weight = random.standard_normal((3 * width, width))
    arrays = (each.astype(np.float32) for each in (rows, batch, weight))
    return *arrays, None, places_of(sizes, True), sizes, True


def attended(random):
    query, key, value = random.standard_normal((3, 1, 2, 40, 8)).astype(np.float32)
    sample = query, key, value, None, 0.0, True, 3.0, 0, 0
    output, log_sum = TABLE["attention"].reference(*sample)
    return np.ones_like(output), None, *sample[:4], output, log_sum, *sample[4:]


@pytest.mark.parametrize(("name", "make"), [
    ("max_pool_backward", pooled), ("window_max", in_windows), ("run_sums", in_runs), ("gru_layer", packed),
    ("attention_backward", attended),
])  # fmt: skip
def test_arguments_that_were_drawn_fit_each_other(name, make):
    """Indices that point nowhere would make kernels write anywhere, and other sums than the queries' infinities."""
    problem = again(OpProblem.of(TABLE[name], make(np.random.default_rng(0))))
    assert all(spec.values is None for spec in specs_in(problem.arguments))
    error, where = error_of(problem)
    assert error <= 1, where


def test_values_keep_to_one_side():
    def bounds(values):
        spec = OpProblem.of(TABLE["sqrt"], (np.asarray(values, np.float32),)).arguments[0]
        return spec.low, spec.high

    assert bounds([1, 2.5, 4]) == (1, 4) and bounds([-3, -1]) == (-3, -1) and bounds([-0.7, 0.3]) == (None, None)
    assert bounds([1, 1, 1]) == (0.5, 1.5) and bounds([0, 0]) == (0, 1)  # else no error shows where it is read
    assert bounds([-0.99, 0.5]) == (-1, 1) and bounds([np.inf, 1]) == (None, None)
    problem = OpProblem.of(TABLE["sqrt"], (np.full(300, 2.0, np.float32),))
    values = problem.call(INTERPRETER)._arguments[0].host
    assert values.min() >= 1 and values.max() <= 3 and values.std() > 0.2
    share = OpProblem.of(TABLE["logical_not"], (np.arange(1000) < 900,)).arguments[0].share
    assert share == 0.9


def test_large_draws_repeat_a_few_numbers():
    draw = Repeating(np.float32, 3)
    many = draw(2100, 1000)
    assert many.shape == (2100, 1000) and many.reshape(-1)[0] == many.reshape(-1)[1_000_003]
    assert len(np.unique(many[:, 0])) > 2000  # rows do not begin alike
    assert draw.integers(0, 5, 1_500_000).max() == 4 and draw.booleans(3).shape == (3,)


# ------------------------------------------------------------------------------------------------------------- by size


def test_sizes_make_a_problem():
    problem = OpProblem.sized("matmul", "bfloat16", {"M": 32, "K": 48})
    assert problem.label == "M=32 N=4096 K=48" and problem.dtype == "bfloat16"
    assert describe(problem) == {
        "kind": "op", "op": "matmul", "dtype": "bfloat16", "sizes": {"M": 32, "N": 4096, "K": 48},
    }  # fmt: skip
    assert again(problem) == problem
    assert problem.call(INTERPRETER, values=False).work.flops == 2 * 32 * 4096 * 48
    small = OpProblem.sized("matmul", "float32", {"M": 33, "N": 17, "K": 65})
    assert error_of(small)[0] <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("matmull",), "no op named 'matmull'; did you mean matmul"),
        (("matmul", "int64"), "no floating dtype named 'int64'"),
        (("matmul", "float32", {"Q": 3}), "has no size 'Q'; it takes M=4096 N=4096 K=4096"),
        (("matmul", "float32", {"M": "3"}), "size M is '3'; it takes a number from 0"),
        (("matmul", "float32", {"M": True}), "size M is True"),
        (("matmul", "float32", {"M": 1 << 31}), "size M is 2147483648"),
        (("matmul", "float32", {"M": 1 << 30, "K": 1 << 30}), "more than 256 GiB"),
        (("transpose",), "is a view"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        OpProblem.sized(*arguments)


def test_an_op_without_sizes_says_so(monkeypatch):
    monkeypatch.setattr(TABLE["exp"], "sized", None)
    with pytest.raises(ValueError, match="give them with --shapes"):
        OpProblem.sized("exp")


def test_sizes_that_contradict_each_other_are_the_ops_to_refuse(monkeypatch):
    def sized(draw, N=4, HEADS=3):
        if N % HEADS:
            raise ValueError("HEADS must divide N")
        return (draw(N),)

    monkeypatch.setattr(TABLE["exp"], "sized", staticmethod(sized))
    with pytest.raises(ValueError, match="'exp' cannot be called with N=4 HEADS=3: HEADS must divide N"):
        OpProblem.sized("exp")
    assert error_of(OpProblem.sized("exp", sizes={"HEADS": 2}))[0] <= 1


def test_hollow_draws_take_no_memory():
    draw = Hollow(np.float32)
    made = draw(1 << 16, 1 << 16), draw.integers(0, 9, 1 << 30), draw.uniform(0, 1, 5), draw.booleans(3), draw.apart(4)
    assert [each.sum() for each in made[2:]] == [0, 0, 0] and made[0].nbytes == 1 << 34


# ------------------------------------------------------------------------------------------------------------ the call


def test_values_are_the_same_at_every_call():
    problem = problem_of(TABLE["layer_norm"], sample_of(TABLE["layer_norm"]))
    one, other = (problem.call(INTERPRETER).run()[0] for _ in range(2))
    assert np.array_equal(one, other) and np.abs(one).max() > 0


def test_what_is_written_in_place_is_private():
    op = TABLE["adam_step"]
    call = problem_of(op, samples_of(op)[0]).call(INTERPRETER)
    first, second = call.run(), call.run()
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other) and (one is not other)
    assert call.compare(second)[0] <= 1


def test_arguments_and_results_can_be_guarded():
    problem = OpProblem.sized("matmul", "float32", {"M": 20, "N": 9, "K": 33})
    with guarded_memory() as arguments:
        call = problem.call(INTERPRETER)
    assert arguments.input_bytes > 4 * (20 * 33 + 33 * 9)
    with guarded_memory() as results:
        made = call.run()
    assert call.compare(made)[0] <= 1 and results.buffers and not results.broken() and not arguments.changed()
    op = TABLE["adam_step"]
    call = problem_of(op, samples_of(op)[0]).call(INTERPRETER)
    with guarded_memory() as results:  # also copies of what is written in place
        call.run()
    assert len(results.buffers) >= 16 and not results.broken()


def test_work_counts_what_is_read_once_and_written_once():
    call = OpProblem.of(TABLE["add"], (np.zeros((4, 6), np.float32), np.broadcast_to(np.float32(1), (4, 6)))).call(CPU)
    assert call.work == op_problem.Work(0, 4 * (24 + 1 + 24), "float32")
    op = TABLE["convolution"]
    call = problem_of(op, samples_of(op)[0]).call(INTERPRETER)
    planned = call.work
    call = problem_of(op, samples_of(op)[0]).call(INTERPRETER)
    call.run()
    assert call.work == planned and planned.flops == 2 * (2 * 4 * 7 * 9) * (3 * 3 * 3)


def test_labels_tell_calls_apart():
    a, b = np.zeros((8, 3), np.float32), np.zeros((5, 3), np.float32)
    assert OpProblem.of(TABLE["matmul"], (a, b, False, True)).label == "(8, 3) x (5, 3) transpose_other"
    assert OpProblem.of(TABLE["softmax"], (a, 1, None)).label == "(8, 3) dim=1"
    assert OpProblem.of(TABLE["dropout"], (a, 0.5, 3, 17)).label == "(8, 3)"
    assert OpProblem.of(TABLE["full"], ((4, 5), 7, np.dtype(np.int64), CPU)).label == "(4, 5)"
    many = OpProblem.of(TABLE["sgd_step"], (0.1, 0, 0, 0, False, False, False, *[b] * 12))
    assert many.label == "(5, 3) x (5, 3) x (5, 3) x 9 more"


def test_a_wrong_result_is_seen():
    problem = OpProblem.sized("matmul", "float32", {"M": 20, "N": 30, "K": 40})
    call = problem.call(INTERPRETER)
    (good,) = call.run()
    wrong = good.copy()
    wrong[3, 5] += 1e-2
    error, where = call.compare((wrong,))
    assert error > 10 and "[3, 5]" in where
    assert call.compare((good[:-1],)) == (float("inf"), "shape (19, 30), the reference has (20, 30)")
    assert call.compare(())[1] == "0 results, the reference has 1"
    wrong[3, 5] = np.nan
    assert call.compare((wrong,))[0] == float("inf")


def test_tf32_is_right_where_it_is_allowed():
    def rounded(x):  # to the 11 digits of tf32
        return ((x.view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)

    call = OpProblem.sized("matmul", "float32", {"M": 100, "N": 110, "K": 2000}).call(INTERPRETER)
    a, b = (held.view(held.memory) for held in call._arguments[:2])
    made = (rounded(a) @ rounded(b),)
    before = precision.get_float32_matmul_precision()
    try:
        assert call.compare(made)[0] > 3
        precision.set_float32_matmul_precision("high")
        assert call.compare(made)[0] <= 1 and call.compare((made[0] * 1.05,))[0] > 1
        assert call.compare((rounded(a[:, :-1]) @ rounded(b[:-1]),))[0] > 1  # one term of 2000 is missing
    finally:
        precision.set_float32_matmul_precision(before)


def test_a_small_result_is_held_to_its_own_size():
    """Gradients of a mean over many are tiny; zeros in their place would pass an absolute tolerance."""
    half, op = ml_dtypes.bfloat16, TABLE["cross_entropy_backward"]
    total, lse = np.full((), 512, np.float32), np.full(512, 5.7, np.float32)
    scores, targets = np.zeros((512, 300), half), np.arange(512) % 300
    arguments = np.ones((), half), scores, targets, None, total, lse, -100, "mean"
    call = OpProblem.of(op, arguments).call(INTERPRETER)
    (good,) = call.run()
    assert call.compare((good,))[0] <= 1 and np.abs(good).max() < 0.01
    assert call.compare((np.zeros_like(good),))[0] > 10


def test_large_results_are_compared_in_pieces_and_looked_through_for_nan(monkeypatch):
    monkeypatch.setattr(comparing, "WHOLE", 5000)
    monkeypatch.setattr(comparing, "PIECE", 100)
    true = np.random.default_rng(0).standard_normal((100, 200))
    true[7, 7] = np.nan
    truth = comparing.Truth(true)
    assert not truth.is_whole and truth.starts[0] == 0 and truth.starts[-1] == 19900
    mine = true.astype(np.float32)
    assert truth.compare(mine, 1)[0] <= 1
    last = mine.copy()
    last[-1, -1] += 1
    error, where = truth.compare(last, 1)
    assert error > 1 and "counted from element 19900 of 20000" in where
    unset = mine.copy()
    unset.reshape(-1)[150] = np.nan  # between the first piece and the second
    assert truth.compare(unset, 1) == (float("inf"), "NaN at element 150 of 20000 in a row")
    assert comparing.Truth(np.zeros(20000, np.int64)).is_whole  # whose comparison costs little
