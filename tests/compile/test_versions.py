"""How many versions of a kernel batch sizes ask for: classes of divisibility, and a block size for each doubling."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.autotune import generation
from tritorch.autotune.precompile import distinct
from tritorch.autotune.tunable import pretending
from tritorch.nn import functional as F
from tritorch.runtime import transfer
from tritorch.runtime.binding import binder_of
from tritorch.runtime.kernel import Kernel, materialise, recording_launches
from tritorch.runtime.language import tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

SIZES = range(1, 71)
CLASSES = 3  # 1, divisible by 16, other
DOUBLINGS = 9  # from 1 to 70, and where a formula's block changes once more on the way
WIDTH = 48


def rows(batch):
    """A batch of rows."""
    return torch.ones(batch, WIDTH, device="interpreter")


def images(batch):
    """A batch of images."""
    return torch.ones(batch, 3, 8, 8, device="interpreter")


def words(batch):
    """A batch of sequences."""
    return torch.ones(batch, 6, WIDTH, device="interpreter")


def to_labels(values):
    """The cross entropy of rows against labels."""
    return F.cross_entropy(values, torch.zeros(len(values), dtype=torch.int64, device="interpreter"))


CASES = {
    "linear": (nn.Linear(WIDTH, 32), rows, torch.sum),
    "norm": (nn.LayerNorm(WIDTH), rows, torch.mean),
    "softmax": (nn.Softmax(1), rows, torch.std),
    "loss": (nn.Linear(WIDTH, 10), rows, to_labels),
    "dropout": (nn.Sequential(nn.Dropout(0.5), nn.GELU()), rows, torch.sum),
    "convolution": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.MaxPool2d(2)), images, torch.sum),
    "attention": (nn.MultiheadAttention(WIDTH, 3, dropout=0.5, batch_first=True), words, torch.sum),
    "recurrent": (nn.LSTM(WIDTH, 32, batch_first=True), words, torch.sum),
}


@pytest.fixture(autouse=True)
def _like_an_h200(monkeypatch):
    """Launches are noted with the configs an H200 would get, and not made."""
    monkeypatch.setattr(transfer, "empty_on_host", np.zeros)
    materialise()
    with pretending(generation(90)):
        yield


def launches_of(model, batch, loss):
    """What a step of training launches."""
    model.zero_grad()
    inputs = (batch.requires_grad_(),) * (3 if isinstance(model, nn.MultiheadAttention) else 1)
    with recording_launches(run=False) as launches:
        found = model(*inputs, need_weights=False) if len(inputs) == 3 else model(*inputs)
        loss(found[0] if isinstance(found, tuple) else found).backward()
    return launches


def sites_of(launches):
    """Each launch with where in a step it stands: kernel, formulas, and which of those it is."""
    seen: Counter = Counter()
    for launch in launches:
        values, _ = binder_of(launch.kernel)(*launch.args, **launch.keywords)
        site = (launch.kernel.__name__, *(each.__name__ for each in values if isinstance(each, Kernel)))
        seen[site] += 1
        yield (*site, seen[site]), launch


def constants_of(launch):
    """The constants of a launch that are no switches, and its options."""
    values, options = binder_of(launch.kernel)(*launch.args, **launch.keywords)
    pairs = zip(launch.kernel.params, values, strict=True)
    return repr([value for each, value in pairs if each.is_constexpr and type(value) is not bool] + [options])


def check(sites):
    """That what the launches of each site are compiled for is known after a few sizes."""
    for site, launches in sites.items():
        versions = {constants_of(each) for each in launches}
        assert len(versions) <= DOUBLINGS, f"{site}: {len(versions)} sets of constants: {sorted(versions)[:3]}"
        versions = distinct(launches)
        assert len(versions) <= CLASSES * DOUBLINGS, f"{site}: {len(versions)} versions"


@pytest.mark.parametrize("name", CASES)
def test_batch_sizes_ask_for_few_versions(name):
    model, batch_of, loss = CASES[name]
    model.to("interpreter")
    sites = defaultdict(list)
    for size in SIZES:
        for site, launch in sites_of(launches_of(model, batch_of(size), loss)):
            sites[site].append(launch)
    check(sites)
    first, again = (launches_of(model, batch_of(3), loss) for _ in range(2))
    assert len(distinct(first + again)) == len(distinct(first)), "a second step compiles more"


@Kernel
def filling(
    x,  # written: (n,)
    n,
    SIZE: tl.constexpr,
):
    i = tl.arange(0, 128)
    tl.store(x + i, SIZE, mask=i < n)


def test_a_size_as_a_constant_is_noticed():
    sites = defaultdict(list)
    for size in SIZES:
        with recording_launches(run=False) as launches:
            filling[(1,)](np.zeros(size), size, SIZE=size)
        for site, launch in sites_of(launches):
            sites[site].append(launch)
    with pytest.raises(AssertionError, match=r"'filling', 1.*70 sets of constants"):
        check(sites)
