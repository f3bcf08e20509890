"""The suites in GB/s: bytes that must move, the copy beside them, gradients, and the figures of bandwidth over size."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from made_up_peer import install, stand_in

import tritorch
from tritorch.autotune.trial import Timing
from tritorch.bench import measure as measuring
from tritorch.bench import peer as peers
from tritorch.bench.bandwidth import BandwidthCase, Op, device_copy, family
from tritorch.bench.case import DRAWN, Input
from tritorch.bench.measure import drawn, measure
from tritorch.bench.plot import NothingToDraw, check_place, panels
from tritorch.bench.suites import index, optimizer, suites
from tritorch.cli.main import GOOD, USAGE, main
from tritorch.runtime.device import CPU

SQUARE = Op("square", lambda lib, x: x * x, lambda m, n: (Input((m, n), requires_grad=True),), lambda m, n: (m, n),
            kept=lambda m, n: m * n)  # fmt: skip


@pytest.fixture
def torch(monkeypatch):
    """A library in torch's place."""
    return install(monkeypatch, stand_in())


@pytest.fixture
def timed(monkeypatch):
    """Times in milliseconds of the functions in turn, in the place of any stopwatch."""

    def give(*milliseconds):
        timings = [Timing(each * 1e-3, each * 1e-3, each * 1e-3, 5) for each in milliseconds]
        watch = SimpleNamespace(turns=lambda functions: timings[: len(functions)])
        monkeypatch.setattr(measuring, "stopwatch_for", lambda device, on_host, is_whole: watch)

    return give


def bandwidth_suites():
    """Those whose cases have a size."""
    return [name for name, suite in suites().items() if hasattr(suite, "AXIS")]


def test_every_family_has_its_suite():
    assert set(bandwidth_suites()) >= {"pointwise", "reduction", "softmax", "norm", "imagenorm", "loss", "scan", "sort",
                                       "index", "pool", "resample", "optimizer", "dropout", "copy"}  # fmt: skip


@pytest.mark.parametrize("name", bandwidth_suites())
def test_lines_of_a_family(name):
    """Every line has a case for each size; what moves grows with the size where elements do."""
    lines = {}
    for case in suites()[name].cases(("float32",), False, False):
        if isinstance(case, BandwidthCase):
            lines.setdefault(case.line, []).append(case)
    for cases in lines.values():
        sizes = [case.size for case in cases]
        assert sizes == sorted(set(sizes)) and len(sizes) >= 5 and sizes[-1] >= 100 * sizes[0]
        assert all(case.unit == "GB/s" and case.work.bytes > 0 == case.work.flops for case in cases)


@pytest.mark.parametrize("name", bandwidth_suites())
def test_bytes_cover_inputs_and_results(name):
    """A forward moves each result once at least, a gradient each gradient and the slope of the result."""
    for case in suites()[name].cases(("float32",), True, True):
        if not isinstance(case, BandwidthCase) or case.reduced is not None:
            continue
        found = case.step(tritorch, *[each.requires_grad_() if asked.requires_grad else each for asked, each in
                                      zip(case.inputs, drawn(case, CPU), strict=True)])()  # fmt: skip
        results = found if isinstance(found, tuple) else (found,)
        given = sum(each.numel() * each.element_size() for each in results)
        slope = 4 * case.inputs[-1].size if case.gives_gradients else 0
        assert case.work.bytes >= given + slope, case.name


def test_what_a_square_moves():
    forward, backward = family((SQUARE,), ((4, 8),), ("bfloat16",))
    assert (forward.work.bytes, backward.work.bytes) == (2 * 32 * 2, 3 * 32 * 2)
    assert [each.requires_grad for each in forward.inputs] == [False]
    assert [each.requires_grad for each in backward.inputs] == [True, False]
    x, grad = drawn(backward, CPU)
    (found,) = backward.step(tritorch, x.requires_grad_(), grad)()
    np.testing.assert_allclose((2 * x * grad).detach().float().numpy(), found.float().numpy(), rtol=1e-2)


def test_an_embedding_reads_what_is_asked_for_not_the_table():
    case = next(index.cases(("float32",), True, False))
    assert case.work.bytes == 2 * 8192 * 768 * 4 + 8192 * 8


def test_adam_moves_28_bytes_a_weight():
    case = [each for each in optimizer.cases(("float32",), False, False) if each.line == "AdamW"][-1]
    assert case.work.bytes / case.size == pytest.approx(28, rel=1e-3)
    assert sum(each.size for each in case.inputs) == pytest.approx(2 * case.size, rel=1e-3)


def test_the_copy_is_timed_beside(timed, torch):
    timed(2.0, 4.0, 1.0)
    case = next(family((SQUARE,), ((1000, 1000),), ("float32",)))
    row, _ = measure(case, CPU, peers.Torch(CPU))
    assert (row.ours, row.theirs, row.ratio) == (4.0, 2.0, 2.0)
    assert row.more == {"line": "square forward", "size": 1_000_000, "copy": 8.0, "of_copy": 0.5}


def test_the_compilers_side(timed, torch, monkeypatch):
    timed(2.0, 4.0, 1.0, 0.5)
    monkeypatch.setattr(peers.Torch, "compiled", lambda self, function: function)
    forward, backward = family((SQUARE,), ((1000, 1000),), ("float32",))
    for case in (forward, backward):
        row, _ = measure(case, CPU, peers.Torch(CPU), compiled=True)
        assert row.agree and row.more["over_compiled"] == 0.5 and row.more["of_copy"] == 0.25


def test_a_copy_copies(monkeypatch):
    made = []
    monkeypatch.setattr("tritorch.runtime.transfer.empty_on_host", lambda *how: made.append(np.zeros(*how)) or made[-1])
    copy = device_copy(5, CPU)
    made[0][:] = 7
    copy()
    assert made[1].tolist() == [7] * 5


def test_large_inputs_repeat_what_was_drawn(monkeypatch):
    monkeypatch.setattr("tritorch.bench.case.DRAWN", 5)
    assert DRAWN == (1 << 24) - 3
    random = np.random.default_rng(0)
    found = Input((3, 4)).numbers(random).reshape(-1)
    assert len(set(found.tolist())) == 5 and found[5] == found[0]
    whole = Input((4,), below=3).numbers(random)
    assert whole.dtype == np.int64 and whole.min() >= 0 and whole.max() < 3


# --------------------------------------------------------------------------------------------------------- figures


def stored(tmp_path, suite="softmax", **row):
    """A file that `--json` could have written."""
    rows = [
        {"case": f"{suite} forward 8x{size}", "dtype": "float32", "ours": size / 2, "theirs": None, "unit": "GB/s",
         "line": f"{suite} forward", "size": size, "copy": size, "compiled": 3.0, **row} for size in (256, 128)
    ]  # fmt: skip
    file = tmp_path / "rows.json"
    file.write_text(json.dumps({"suite": suite, "environment": {"gpu": "H200"}, "rows": rows}))
    return file


@pytest.fixture
def drawing(monkeypatch):
    """In the place of matplotlib something that notes what is drawn."""
    noted = SimpleNamespace(curves=[], titles=[], saved=[], labels=[])
    pyplot = ModuleType("matplotlib.pyplot")

    class Axis:
        def __getattr__(self, name):
            return lambda *args, **keywords: noted.labels.append((name, args[:1]))

        def plot(self, sizes, figures, **how):
            noted.curves.append((sizes, figures))
            return (object(),)

    class Figure:
        def suptitle(self, text, **how):
            noted.titles.append(text)

        def legend(self, handles, labels, **how):
            noted.labels.append(list(labels))

        def savefig(self, stream, format, dpi):  # matplotlib's name
            noted.saved.append(format)
            stream.write(b"a figure")

    def subplots(rows, across, **how):
        axes = np.empty((rows, across), object)
        for place in np.ndindex(rows, across):
            axes[place] = Axis()
        return Figure(), axes

    pyplot.subplots, pyplot.close = subplots, lambda figure: None
    whole = ModuleType("matplotlib")
    whole.use, whole.pyplot = lambda name: None, pyplot
    monkeypatch.setitem(sys.modules, "matplotlib", whole)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", pyplot)
    return noted


def test_points_of_a_figure(tmp_path):
    found = panels(json.loads(stored(tmp_path).read_text()))
    assert list(found) == ["softmax"]
    (panel,) = found["softmax"].values()
    assert panel == {"ours": [(128, 64), (256, 128)], "copy": [(128, 128), (256, 256)],
                     "compiled": [(128, 3), (256, 3)]}  # fmt: skip


def test_figures_of_several_suites(tmp_path):
    rows = [{"case": f"{name}: {name} forward 8", "line": f"{name} forward", "dtype": "float16", "size": 8, "ours": 1.0}
            for name in ("pool", "sort")]  # fmt: skip
    found = panels({"suite": "pool+sort", "rows": [*rows, {"case": "launch: add", "ours": 1.0}]})
    assert list(found) == ["pool", "sort"]


def test_a_stored_run_is_drawn(tmp_path, drawing, capsys):
    file = stored(tmp_path)
    assert main(["bench", "--from", str(file), "--plot", str(tmp_path / "plots")]) == GOOD
    assert (tmp_path / "plots" / "softmax.png").read_bytes() == b"a figure"
    assert "softmax.png" in capsys.readouterr().out and drawing.titles == ["softmax on H200"]
    assert drawing.curves[0] == ((128, 256), (64.0, 128.0)) and ("set_xlabel", ("columns",)) in drawing.labels
    assert ["tritorch", "torch.compile", "copy on the device"] in drawing.labels
    assert main(["bench", "softmax", "--from", str(file), "--plot", str(tmp_path / "one.svg")]) == GOOD
    assert drawing.saved == ["png", "svg"]


def test_a_run_is_drawn(tmp_path, drawing, timed):
    timed(1.0, 2.0)
    assert main(["bench", "copy", "--quick", "--device", "cpu", "--plot", str(tmp_path)]) == GOOD
    assert (tmp_path / "copy.png").exists() and len(drawing.curves) == 2 * 5  # ours and the copy, of each line


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--from", "rows.json"], "--from draws what an earlier run wrote: say where with --plot"),
        (["--from", "no.json", "--plot", "."], "--from no.json: No such file or directory"),
        (["--from", "text", "--plot", "."], "--from text: not what tritorch bench --json writes"),
        (["--from", "list", "--plot", "."], "--from list: not what tritorch bench --json writes"),
        (["--plot", "one.png"], "--plot one.png: one file is for one suite; give a folder for several"),
        (["softmax", "--plot", "no/folder/one.png"], "--plot no/folder/one.png: there is no folder"),
        (["--from", "launch.json", "--plot", "."], "--plot .: bandwidth over size is of suites in GB/s, which launch"),
    ],
)
def test_what_cannot_be_drawn(arguments, text, tmp_path, drawing, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no JSON")
    (tmp_path / "list").write_text("[1]")
    (tmp_path / "launch.json").write_text(json.dumps({"suite": "launch", "environment": {}, "rows": [{"case": "add"}]}))
    assert main(["bench", *arguments, "--device", "cpu"]) == USAGE
    assert text in capsys.readouterr().err and not drawing.saved


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NothingToDraw, match=r"--plot needs matplotlib .*pip install 'tritorch\[plot\]'"):
        check_place(str(tmp_path), ["softmax"])
