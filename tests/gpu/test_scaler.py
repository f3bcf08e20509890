"""Optimizers under a GradScaler on a GPU, which alone decides whether a step is taken."""

from __future__ import annotations

import pytest
from scaled_steps import EVERY, check_skipped

import tritorch as torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("name", EVERY)
def test_the_gpu_skips_a_step_as_the_host_does(name):
    check_skipped(EVERY[name], "cuda")
