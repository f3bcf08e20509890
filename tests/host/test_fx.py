"""What libraries write of torch.fx when they are imported, and that tracing says what to do instead."""

from __future__ import annotations

import typing

import pytest

import tritorch as torch


def test_wrap_leaves_functions_as_they_are():
    @torch.fx.wrap
    def double(x):
        return 2 * x

    assert double(3) == 6 and torch.fx.wrap("len") == "len"
    assert not isinstance(torch.ones(1), torch.fx.Proxy)
    with pytest.raises(RuntimeError, match="Must be either a callable or string name"):
        torch.fx.wrap(3)


def test_tracing_is_refused_with_advice():
    with pytest.raises(NotImplementedError, match=r"fx\.symbolic_trace\(\) is not in tritorch: .*forward hooks"):
        torch.fx.symbolic_trace(torch.nn.ReLU())


def test_the_names_of_types_stand_beside_torchscript():
    assert torch.jit.annotations.List is typing.List  # noqa: UP006, the old name is the test
