"""Start a PyTorch training script as it is, with `torch` meaning tritorch.

    tritorch run train.py --epochs 3
    tritorch run -m package.train --epochs 3

Where there is a GPU, new tensors land on it, unless the program, or a module beside it, says itself where they go
(`.cuda()`, `.to(device)`, `device=`): then they land on the CPU, as in PyTorch, until they are moved. --device and
TRITORCH_DEVICE decide otherwise.

What follows the script is the script's. It sees what Python would show it: its arguments, its folder on the path,
itself as `__main__`. Its exit code and its traceback are as Python's.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import types
from contextlib import nullcontext

import tritorch
from tritorch import alias
from tritorch.cli.device_code import moves_tensors
from tritorch.cli.main import FAILED, GOOD, INTERRUPTED, NO_DEVICE, USAGE, device_of
from tritorch.runtime.device import get_default_device, set_default_device


def add_arguments(parser):
    """--device, then a script or -m and a module, then that program's own arguments."""
    parser.add_argument("--device", help="where new tensors land, also in child processes: cuda, cpu or interpreter")
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE ...",
                        help="run a module, as python -m does")  # fmt: skip
    parser.add_argument("script", nargs=argparse.REMAINDER, metavar="SCRIPT ...", help="the script and its arguments")


def run(options):
    """Run it; gives its exit code."""
    return start(options, "tritorch run", nullcontext())


def start(options, command, around):
    """Run the program that `options` name, inside the context `around`; gives its exit code.

    `command` is who speaks where there is no such program. A SystemExit of the program passes.
    """
    program = options.module or options.script
    if not program:
        print(f"{command}: needs a script, or -m and a module", file=sys.stderr)
        return USAGE
    options.device = options.device or os.environ.get("TRITORCH_DEVICE")
    if options.device and device_of(options) is None:
        return NO_DEVICE
    alias.install()
    try:
        main, code = (_module if options.module else _script)(*program)
        device = options.device or _device_for(main)
        os.environ["TRITORCH_DEVICE"] = device  # for child processes
        set_default_device(device)
        sys.modules["__main__"] = main
        with around:
            exec(code, vars(main))
    except CannotStart as error:
        print(f"{command}: {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit:
        raise
    except BaseException as error:
        return _report(error)
    return GOOD


def _device_for(main):
    """Where new tensors land if nobody says: by PyTorch's rule in a program that relies on it, else on the GPU."""
    if moves_tensors(main.__file__, sys.path[0]):  # it may compare what it moved to the CPU with what a DataLoader gave
        return "cpu"
    return get_default_device().type


class CannotStart(Exception):
    """There is no such program; `exit_code` is what Python ends with then."""

    def __init__(self, message, exit_code=FAILED):
        super().__init__(message)
        self.exit_code = exit_code


def _report(error):
    """Show an error that ended the program as Python does, with the program's own frames."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    last = trace
    while last is not None:
        if last.tb_next is not None and last.tb_next.tb_frame.f_code.co_filename in ANSWERS:
            last.tb_next = None
        last = last.tb_next
    alias.explain(error)
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED


ANSWERS = (tritorch.__file__, alias.__file__)  # where it is said that a name is missing


def _is_ours(trace):
    """Whether a frame belongs to what starts a program: this file, or import's own machinery."""
    file = trace.tb_frame.f_code.co_filename
    return file in (__file__, importlib.util.__file__) or file.startswith("<frozen importlib")


def _script(path, *arguments):
    """The main module and the code of a file, or of a folder or zip file with a `__main__.py`."""
    sys.argv = [path, *arguments]
    full = os.path.abspath(path)
    if pkgutil.get_importer(path) is None:
        _set_path(os.path.dirname(os.path.realpath(path)))
        loader = importlib.machinery.SourceFileLoader("__main__", full)
        try:
            code = loader.source_to_code(loader.get_data(full), full)
        except OSError as error:
            message = f"can't open file '{full}': [Errno {error.errno}] {error.strerror}"
            raise CannotStart(message, USAGE) from error
        return _main_module(loader, full), code
    _set_path(full)
    spec = importlib.machinery.PathFinder.find_spec("__main__", [full])
    if spec is None:
        raise CannotStart(f"can't find '__main__' module in '{full}'")
    return _main_module(spec.loader, spec.origin, spec, ""), spec.loader.get_code("__main__")


def _module(name, *arguments):
    """The main module and the code of a module by its name."""
    sys.argv = ["-m", *arguments]
    _set_path(os.getcwd())
    name = alias.own_name(name) or name
    spec = _find(name)
    if spec.submodule_search_locations is not None:
        spec = _find(f"{name}.__main__", f"; '{name}' is a package and cannot be directly executed")
    if not hasattr(spec.loader, "get_code"):
        raise CannotStart(f"No code object available for {name}")
    sys.argv[0] = spec.origin
    return _main_module(spec.loader, spec.origin, spec, spec.parent), spec.loader.get_code(spec.name)


def _find(name, more=""):
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:  # of a package above it; an error inside such a package is the program's
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        spec = None
    if spec is None:
        raise CannotStart(f"No module named {name}{more}")
    return spec


def _set_path(folder):
    """Put the program's folder where Python puts it: in place of ours."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _main_module(loader, file, spec=None, package=None):
    main = types.ModuleType("__main__")
    vars(main).update(__file__=file, __loader__=loader, __spec__=spec, __package__=package, __cached__=None,
                      __builtins__=sys.modules["builtins"])  # fmt: skip
    return main
