"""`tritorch run`: a script sees what Python would show it, and `torch` is tritorch, in its child processes too."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tritorch.torch_version import TorchVersion


@pytest.fixture
def run(tmp_path):
    """Runs `tritorch run ARGUMENTS` in tmp_path, where script.py holds `text`; warnings are errors."""

    def run(text, *arguments, before=(), command=("-m", "tritorch", "run"), file="script.py", **environment):
        (tmp_path / file).write_text(textwrap.dedent(text))
        call = [sys.executable, "-W", "error", *command, *before, *(arguments or (file,))]
        environment = {**os.environ, "TRITORCH_DEVICE": "cpu", "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)

    return run


def good(found):
    assert found.returncode == 0, found.stderr
    assert not found.stderr, found.stderr
    return found.stdout


# ------------------------------------------------------------------------------------------------------------- names


def test_every_name_is_the_module_of_tritorch_itself(run):
    good(run("""
        import importlib, sys
        import torch
        import torch.nn as nn
        import torch.nn.functional as F
        import torch.utils.data.dataset
        from torch import optim, nn as again
        from torch.nn import Linear
        from torch.nn.parameter import Parameter
        from torch.utils.data import DataLoader
        import tritorch, tritorch.nn, tritorch.utils.data
        assert torch is tritorch and nn is again is tritorch.nn and F is tritorch.nn.functional
        assert importlib.import_module("torch.optim") is optim is tritorch.optim
        assert Linear is tritorch.nn.Linear and DataLoader is tritorch.utils.data.DataLoader
        assert issubclass(Parameter, torch.Tensor)
        assert sys.modules["torch.nn"] is sys.modules["tritorch.nn"]
        assert nn.__spec__.name == "tritorch.nn" and importlib.reload(torch.optim) is optim
        assert importlib.util.find_spec("torch") and importlib.util.find_spec("torch.nn")
        assert importlib.util.find_spec("torch.nosuch") is None
        model = nn.Linear(2, 1)
        model(torch.ones(3, 2)).sum().backward()
        assert model.weight.grad.tolist() == [[3, 3]]
    """))  # fmt: skip


def test_a_real_torch_is_neither_seen_nor_loaded(run, tmp_path):
    for name in ("torch", "torchvision"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the real one')")
        (tmp_path / name / "only.py").write_text("raise SystemExit('the real one')")
    good(run("""
        import torch, tritorch
        assert torch is tritorch
        for name in ("torch.only", "torchvision.only"):
            try:
                __import__(name)
            except ModuleNotFoundError:
                continue
            raise AssertionError(name)
    """, PYTHONPATH=str(tmp_path)))  # fmt: skip


MISSING = {
    "import torch.nosuch.deep": "ModuleNotFoundError: No module named 'torch.nosuch': it is not in tritorch yet",
    "from torch.nn import No": "ImportError: cannot import name 'No' from 'torch.nn': it is not in tritorch yet",
    "from torch import nosuch": "ImportError: cannot import name 'nosuch' from 'torch': it is not in tritorch yet",
    "from torch.utils.data.dataset import No": (
        "ImportError: cannot import name 'No' from 'torch.utils.data.dataset': it is not in tritorch yet"
    ),
    "torch.nn.No": "AttributeError: module 'torch.nn' has no attribute 'No': it is not in tritorch yet",
    "torch.nosuch": "AttributeError: module 'torch' has no attribute 'nosuch': it is not in tritorch yet",
    "torch.zeros(2).no()": "AttributeError: 'Tensor' object has no attribute 'no': it is not in tritorch yet",
    "torch.Tensor.no": "AttributeError: type object 'Tensor' has no attribute 'no': it is not in tritorch yet",
    "import nosuch": "ModuleNotFoundError: No module named 'nosuch'",
    "object().nosuch": "AttributeError: 'object' object has no attribute 'nosuch'",
}


def test_missing_names_are_told_in_the_scripts_terms(run):
    text = f"""
        import torch
        from tritorch.alias import explain
        for line in {list(MISSING)}:
            try:
                exec(line)
            except Exception as error:
                explain(error)
                explain(error)
                print(f"{{type(error).__name__}}: {{error}}")
    """
    assert good(run(text)).splitlines() == list(MISSING.values())


@pytest.mark.parametrize("line", ["from torch.nn import No", "torch.nosuch"])
def test_a_missing_name_is_shown_where_the_script_asks_for_it(run, line):
    found = run(f"import torch\ntry:\n    {line}\nexcept ValueError:\n    pass\n")
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == MISSING[line]
    assert 'script.py", line 3, in <module>' in found.stderr
    assert found.stderr.count("File ") == 1, found.stderr


def test_the_version_is_one_that_scripts_accept(run):
    good(run("""
        import torch
        numbers = torch.__version__.split("+")[0].split(".")
        assert int(numbers[0]) == 2 and len(numbers) == 3 and "tritorch" in torch.__version__
        assert torch.__version__ >= "1.8" and torch.__version__ > (2, 4) and not torch.__version__ < "2.0.0"
    """))  # fmt: skip


def test_classes_that_scripts_print_have_pytorchs_names(run):
    text = """
        import pickle
        import torch
        x = torch.ones(2, requires_grad=True)
        kinds = torch.Tensor, torch.Size, torch.device, torch.dtype
        print(*kinds)
        assert pickle.loads(pickle.dumps([kinds, x.device, x.dtype, x.shape])) == [kinds, x.device, x.dtype, x.shape]
    """
    names = ("Tensor", "Size", "device", "dtype")
    assert good(run(text)) == " ".join(f"<class 'torch.{name}'>" for name in names) + "\n"


def test_versions_compare_by_number():
    version = TorchVersion("2.13.0+tritorch0.1.0")
    assert version > "2.4" and version > "1.13.1" and version < "2.14" and version < "10.0"
    assert version >= "2.13" and version <= "2.13.0" and version >= (2, 13) and version < (3,)
    assert version == "2.13.0+tritorch0.1.0" and version == (2, 13) and version != "2.13.1" and version != (2,)
    assert hash(version) == hash(str(version))


# ------------------------------------------------------------------------------------------------ what Python shows


def test_a_script_sees_what_python_shows_it(run, tmp_path):
    (tmp_path / "beside.py").write_text("value = 7")
    text = """
        import sys, beside
        names = "__name__", "__file__", "__package__", "__spec__", "__doc__", "__cached__"
        print(sys.argv, sys.path[0], *(globals()[name] for name in names))
        print(sys.modules["__main__"].__dict__ is globals(), beside.value)
    """
    arguments = ("script.py", "--device", "cuda", "-m", "x", "--", "--version", "-h")
    ours = good(run(text, *arguments))
    assert ours == good(run(text, *arguments, command=()))
    assert "--version" in ours


def test_a_module_sees_what_python_shows_it(run, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text("value = 7")
    text = """
        import sys
        from .part import value
        print(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__.name, value)
    """
    for file, name in ("package/train.py", "package.train"), ("package/__main__.py", "package"):
        ours = good(run(text, "-m", name, "--epochs", "3", file=file))
        assert ours == good(run(text, "-m", name, "--epochs", "3", command=(), file=file))


def test_a_folder_runs_its_main_file(run, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "beside.py").write_text("value = 7")
    text = "import sys, beside; print(sys.argv, sys.path[0], __name__, __spec__.name, __package__ == '')"
    ours = good(run(text, "folder", "x", file="folder/__main__.py"))
    assert ours == good(run(text, "folder", "x", command=(), file="folder/__main__.py"))


@pytest.mark.parametrize(("text", "code"), [
    ("", 0),
    ("import sys; sys.exit(5)", 5),
    ("import sys; sys.exit('what went wrong')", 1),
    ("def f():\n    return 1 / 0\n\nf()", 1),
    ("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('k') from error", 1),
    ("def f(:\n    pass", 1),
    ("import sys; sys.excepthook = lambda *args: print('mine', args[0].__name__); 1 / 0", 1),
    ("import atexit; atexit.register(print, 'at exit'); raise SystemExit(True)", 1),
    ("import threading; threading.Timer(0.1, lambda: print(__name__)).start()", 0),
])  # fmt: skip
def test_exit_codes_output_and_tracebacks_are_pythons(run, text, code):
    ours, pythons = run(text), run(text, command=())
    assert ours.returncode == pythons.returncode == code
    assert ours.stderr == pythons.stderr
    assert ours.stdout == pythons.stdout


def test_ctrl_c_shows_where_and_gives_130(run):
    found = run("raise KeyboardInterrupt")
    assert found.returncode == 130
    assert found.stderr.splitlines() == [
        "Traceback (most recent call last):",
        *found.stderr.splitlines()[1:-1],
        "KeyboardInterrupt",
    ]
    assert found.stderr.count("File ") == 1


def test_an_error_in_a_package_on_the_way_is_shown_with_its_place(run, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("import torch.nosuch")
    found = run("", "-m", "package.train", file="package/train.py")
    assert found.returncode == 1 and "it is not in tritorch yet" in found.stderr
    assert found.stderr.count("File ") == 1 and "package/__init__.py" in found.stderr


@pytest.mark.parametrize(("arguments", "code", "words"), [
    ((), 2, "needs a script"),
    (("nosuch.py",), 2, "No such file"),
    (("-m", "nosuch.train"), 1, "No module named nosuch.train"),
    (("-m", "email"), 1, "is a package and cannot be directly executed"),
    (("--device", "quantum", "script.py"), 3, "quantum"),
])  # fmt: skip
def test_what_cannot_be_started_is_said(run, arguments, code, words):
    found = run("", before=arguments, command=("-m", "tritorch", "run"), file="other.py") if arguments else None
    found = found or run("", "run", command=("-m", "tritorch"))
    assert found.returncode == code and words in found.stderr and "Traceback" not in found.stderr


# --------------------------------------------------------------------------------------------------- other processes

WORKERS = """
    import multiprocessing, os, sys
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Squares(Dataset):
        def __len__(self):
            return 8
        def __getitem__(self, index):
            import torch.nn.functional as F
            import tritorch
            assert torch is tritorch
            return F.relu(torch.tensor(float(index))) ** 2

    def main(method):
        loader = DataLoader(Squares(), batch_size=4, num_workers=2, multiprocessing_context=method)
        print(torch.cat(list(loader)).tolist())

    if __name__ == "__main__":
        main(sys.argv[1] if len(sys.argv) > 1 else None)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_have_the_same_torch(run, method):
    if sys.platform != "linux" and method != "spawn":
        pytest.skip("other start methods are for Linux")
    assert good(run(WORKERS, "script.py", method)) == "[0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0]\n"


def test_workers_of_a_module_have_the_same_torch(run):
    assert "49.0" in good(run(WORKERS, "-m", "script", "spawn"))


def test_classes_of_the_script_travel_and_pickles_name_torch(run):
    text = """
        import multiprocessing, pickle
        import torch.nn as nn

        class Net(nn.Module):
            pass

        def child(queue, kind):
            import torch
            queue.put((kind.__name__, issubclass(kind, torch.nn.Module), str(torch.get_default_device())))

        if __name__ == "__main__":
            assert pickle.loads(b"ctorch.nn.modules.linear\\nLinear\\n.") is nn.Linear
            context = multiprocessing.get_context("spawn")
            queue = context.SimpleQueue()
            process = context.Process(target=child, args=(queue, Net))
            process.start()
            print(*queue.get())
            process.join()
    """
    assert good(run(text, "script.py", before=("--device", "interpreter"))) == "Net True interpreter\n"


# --------------------------------------------------------------------------------------------------------- by hand


def test_a_notebook_installs_the_alias(run):
    good(run("""
        from tritorch import alias
        alias.install()
        alias.install()
        import sys, torch, tritorch
        assert torch is tritorch and sum(isinstance(finder, alias.Finder) for finder in sys.meta_path) == 1
    """, command=()))  # fmt: skip


def test_installing_after_a_real_torch_is_refused(run, tmp_path):
    (tmp_path / "torch.py").touch()
    found = run("import torch, tritorch.alias; tritorch.alias.install()", command=())
    assert "RuntimeError: tritorch.alias.install(): torch was imported before" in found.stderr


def test_import_tritorch_as_torch(run):
    good(run("""
        import tritorch as torch
        import tritorch.nn as nn
        import tritorch.nn.functional as F
        from tritorch.utils.data import DataLoader
        assert torch.nn is nn and F.relu(torch.ones(1)).item() == 1
    """, command=()))  # fmt: skip


@pytest.mark.parametrize(("texts", "moves"), [
    ({"script.py": "import torch\nx = torch.ones(2)\nprint(x.sum())\n"}, False),
    ({"script.py": "import torch\nmodel.to('cuda')\n"}, True),
    ({"script.py": "import torch\nx = torch.ones(2).cuda()\n"}, True),
    ({"script.py": "import torch\nx = torch.ones(2, device=where)\n"}, True),
    ({"script.py": "from net import Net\n", "net.py": "import helpers.tools\n", "helpers/__init__.py": "",
      "helpers/tools.py": "def place(x, device): return x.to(device)\n"}, True),
    ({"script.py": "import net, numpy\n", "net.py": "import script\n"}, False),
    ({"script.py": "import broken\n", "broken.py": "def (\n"}, False),
])  # fmt: skip
def test_a_program_that_speaks_of_devices_is_known_by_its_text(texts, moves, tmp_path):
    from tritorch.cli.device_code import moves_tensors

    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert moves_tensors(tmp_path / "script.py", tmp_path) is moves


@pytest.mark.parametrize(("more", "device"), [("", "interpreter"), ("x.cpu()", "cpu")])
def test_tensors_land_where_a_program_relies_on(run, more, device):
    text = f"""
        import torch
        x = torch.ones(2)
        {more}
        print(torch.get_default_device())
    """
    command = ("-c", "import sys, tritorch.runtime.device as d; from tritorch.cli.main import main; "
               "d.set_default_device('interpreter'); main(['run', *sys.argv[1:]])")  # fmt: skip
    found = good(run(text, "script.py", command=command, TRITORCH_DEVICE=""))
    assert found.strip() == device
