"""torch.testing: what counts as close, what the message says, what `make_tensor` makes. Messages are PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tritorch.testing import assert_allclose, assert_close, make_tensor

NAN = float("nan")


@pytest.fixture(autouse=True)
def on_the_cpu():
    with torch.device("cpu"):
        yield


@pytest.mark.parametrize(
    ("actual", "expected", "options"),
    [
        ([1.0, 2.0], [1.0, 2.0], {}),
        (1, 1, {}),
        (None, None, {}),
        (NAN, NAN, {"equal_nan": True}),
        (float("inf"), float("inf"), {}),
        (1.0, 1.1, {"rtol": 0.2, "atol": 0}),
        (np.ones(2), np.ones(2), {}),
        ({"a": [1, 2.5]}, {"a": [1, 2.5]}, {}),
    ],
)
def test_equal_enough(actual, expected, options):
    assert_close(actual, expected, **options)


def test_tolerances_are_those_of_the_dtype():
    for dtype, near, far in (
        (torch.float16, 1e-3, 3e-3), (torch.bfloat16, 1e-2, 3e-2), (torch.float32, 1e-5, 3e-5),
        (torch.float64, 1e-7, 1e-6),
    ):  # fmt: skip
        one = torch.ones(1, dtype=torch.float64)
        assert_close((one + near).to(dtype), one.to(dtype))
        with pytest.raises(AssertionError, match="not close"):
            assert_close((one + far).to(dtype), one.to(dtype))


MESSAGES = [
    (
        lambda: (torch.tensor([[1.0, 2], [5, 6]]), torch.tensor([[1.0, 3], [5, 7]])),
        "Tensor-likes are not close!\n\nMismatched elements: 2 / 4 (50.0%)\n"
        "Greatest absolute difference: 1.0 at index (0, 1) (up to 1e-05 allowed)\n"
        "Greatest relative difference: 0.3333333432674408 at index (0, 1) (up to 1.3e-06 allowed)",
    ),
    (
        lambda: (torch.tensor([1, 2]), torch.tensor([1, 3])),
        "Tensor-likes are not equal!\n\nMismatched elements: 1 / 2 (50.0%)\n"
        "Greatest absolute difference: 1 at index (1,)\nGreatest relative difference: 0.3333333432674408 at index (1,)",
    ),
    (
        lambda: (torch.tensor([NAN]), torch.tensor([NAN])),
        "Tensor-likes are not close!\n\nMismatched elements: 1 / 1 (100.0%)\n"
        "Greatest absolute difference: nan at index (0,) (up to 1e-05 allowed)\n"
        "Greatest relative difference: nan at index (0,) (up to 1.3e-06 allowed)",
    ),
    (
        lambda: (torch.tensor([True]), torch.tensor([False])),
        "Tensor-likes are not equal!\n\nMismatched elements: 1 / 1 (100.0%)\n"
        "Greatest absolute difference: 1 at index (0,)\nGreatest relative difference: inf at index (0,)",
    ),
    (
        lambda: ([[1, 2], [3, 4]], [[1, 2], [3, 5]]),
        "Scalars are not equal!\n\nExpected 5 but got 4.\nAbsolute difference: 1\nRelative difference: 0.2\n\n"
        "The failure occurred for item [1][1]",
    ),
    (
        lambda: ({"a": torch.tensor(1.0)}, {"a": torch.tensor(2.0)}),
        "Scalars are not close!\n\nExpected 2.0 but got 1.0.\nAbsolute difference: 1.0 (up to 1e-05 allowed)\n"
        "Relative difference: 0.5 (up to 1.3e-06 allowed)\n\nThe failure occurred for item ['a']",
    ),
    (lambda: ([1.0, 2], [1.0]), "The length of the sequences mismatch: 2 != 1"),
    (
        lambda: ({"a": 1}, {"b": 1}),
        "The keys of the mappings do not match:\nMissing keys in the actual mapping: ['b']\n"
        "Additional keys in the actual mapping: ['a']",
    ),
    (lambda: (True, False), "Booleans mismatch: True is not False"),
    (lambda: (1, 1.0), "The (d)types do not match: <class 'int'> != <class 'float'>."),
    (
        lambda: (torch.ones(1), torch.ones(1).double()),
        "The values for attribute 'dtype' do not match: torch.float32 != torch.float64.",
    ),
    (
        lambda: (torch.ones(1), torch.ones(1, 1)),
        "The values for attribute 'shape' do not match: torch.Size([1]) != torch.Size([1, 1]).",
    ),
]


@pytest.mark.parametrize(("pair", "message"), MESSAGES)
def test_messages(pair, message):
    with pytest.raises(AssertionError) as found:
        assert_close(*pair())
    assert str(found.value) == message


def test_options():
    one = torch.ones(1)
    assert_close(one, one.double(), check_dtype=False)
    assert_close(torch.ones(2, 3), torch.ones(3, 2).t())
    with pytest.raises(AssertionError, match=r"'stride\(\)' do not match: \(3, 1\) != \(1, 2\)"):
        assert_close(torch.ones(2, 3), torch.ones(3, 2).t(), check_stride=True)
    with pytest.raises(AssertionError, match=r"^mine$"):
        assert_close(one, one + 1, msg="mine")
    with pytest.raises(AssertionError, match=r"^here: Tensor-likes"):
        assert_close(one, one + 1, msg=lambda text: f"here: {text}")
    with pytest.raises(ValueError, match="but got no atol"):
        assert_close(one, one, rtol=0.1)
    for pair in ((one, [1.0]), (one, 1.0), ("a", "a"), (np.ones(1), one)):
        with pytest.raises(TypeError, match="No comparison pair was able to handle inputs of type"):
            assert_close(*pair)
    with pytest.raises(TypeError, match="No comparison pair"):
        assert_close(torch.nn.Parameter(one), one, allow_subclasses=False)
    with pytest.warns(FutureWarning, match="deprecated"):
        assert_allclose([1.0], one.double())


def test_made_tensors_are_as_asked():
    torch.manual_seed(0)
    for dtype, found in ((torch.int64, range(-9, 10)), (torch.uint8, range(10)), (torch.bool, (False, True))):
        assert sorted(set(make_tensor((400,), dtype=dtype, device="cpu").tolist())) == list(found)
    floats = make_tensor(2, 300, dtype=torch.float32, device="cpu", low=0, high=2, requires_grad=True)
    assert floats.shape == (2, 300) and floats.requires_grad and floats.is_leaf
    assert 0 <= floats.min() < 0.1 < 1.9 < floats.max() < 2
    assert not make_tensor((4, 4), dtype=torch.float32, device="cpu", noncontiguous=True).is_contiguous()
    assert make_tensor((400,), dtype=torch.uint8, device="cpu", exclude_zero=True).min() == 1
    assert set(make_tensor((99,), dtype=torch.int64, device="cpu", low=1.5, high=3.5).tolist()) == {2, 3}
    with pytest.raises(ValueError, match="`low` must be less than `high`, but got 5 >= 2"):
        make_tensor((2,), dtype=torch.float32, device="cpu", low=5, high=2)
    with pytest.raises(ValueError, match="`requires_grad=True` is not supported"):
        make_tensor((2,), dtype=torch.int64, device="cpu", requires_grad=True)
    with pytest.raises(ValueError, match="cannot be NaN"):
        make_tensor((2,), dtype=torch.float32, device="cpu", low=NAN)
