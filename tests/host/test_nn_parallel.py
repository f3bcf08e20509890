"""DataParallel on one device: the same results, and PyTorch's names of its state."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch
from tritorch import nn


def test_data_parallel_is_its_module():
    inner = nn.Linear(3, 2)
    model = nn.DataParallel(inner, device_ids=[0])
    x = tritorch.randn(4, 3, device=next(model.parameters()).device)
    np.testing.assert_array_equal(model(x).detach().numpy(), inner(x).detach().numpy())
    np.testing.assert_array_equal(model(input=x).detach().numpy(), inner(x).detach().numpy())
    assert list(model.state_dict()) == ["module.weight", "module.bias"] and model.module is inner
    found = nn.parallel.data_parallel(inner, (x,))
    np.testing.assert_array_equal(found.detach().numpy(), inner(x).detach().numpy())


def test_names_lie_where_scripts_look():
    from tritorch.nn.parallel import DistributedDataParallel
    from tritorch.nn.parallel.data_parallel import DataParallel

    assert DataParallel is nn.parallel.DataParallel is nn.DataParallel
    assert DistributedDataParallel is nn.parallel.DistributedDataParallel
    assert not isinstance(nn.Linear(1, 1), DistributedDataParallel)
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        DistributedDataParallel(nn.Linear(1, 1))
