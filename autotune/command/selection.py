"""Which part of a store a command is about: entries by op, kernel or digest, environments by device or by name."""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass

from tritorch.autotune import tuner
from tritorch.autotune.command.table import printable
from tritorch.autotune.device import INTERPRETER, Environment, cuda_info, environment_of
from tritorch.autotune.figures import kernel_name
from tritorch.autotune.op_problem import op_called
from tritorch.autotune.store import Store
from tritorch.autotune.trial import Entry
from tritorch.autotune.user_files import kernel_at
from tritorch.cli.main import NO_DEVICE, USAGE
from tritorch.runtime import device as devices
from tritorch.runtime.language import triton_missing

_SHORTEST = 4  # characters of a digest that are taken for one


@dataclass
class Part:
    """One environment of a store and the entries of it that were asked for; `whole` where that is all there are."""

    environment: Environment
    entries: list[Entry]
    whole: bool = True


class Refused(Exception):
    """A command cannot do what it was asked; `exit_code` is what it ends with after saying why."""

    def __init__(self, message, exit_code=USAGE):
        super().__init__(message)
        self.exit_code = exit_code


def refusing(run):
    """A command's `run` that says why it refuses, and ends with the exit code of that."""

    def wrapped(options):
        try:
            return run(options)
        except (Refused, tuner.NotCallable) as refused:
            print(f"tritorch autotune {options.action}: {printable(refused)}", file=sys.stderr)
            return getattr(refused, "exit_code", USAGE)

    wrapped.__doc__ = run.__doc__
    return wrapped


def need_triton():
    """A Refused where there is no Triton: without its version it is not known which environments are this machine's."""
    reason = triton_missing()
    if reason:
        raise Refused(reason, NO_DEVICE)


def need_writable(path, option):
    """A Refused where a file cannot be written: said before the work, not after an hour of it."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise Refused(f"{option} {path}: it is a folder")
    if not os.access(folder, os.W_OK):
        raise Refused(f"{option} {path}: its folder cannot be written")


def add_selection(parser, what):
    """The arguments OP..., --device and --environment."""
    parser.add_argument("names", nargs="*", metavar="OP", help=f"{what} these ops, kernels, or digests of entries only")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--device", help="the environment that a device of this machine is: cuda, cuda:1, interpreter")
    where.add_argument("--environment", metavar="E", help="an environment by its folder's name, or a part of it")


def selected(options, store=None):
    """A Part for each environment that options name, or for all, without those that hold nothing asked for."""
    store = store or Store()
    parts = [Part(environment, store.entries(environment)) for environment in environments(options, store)]
    known = {name for part in parts for entry in part.entries for name in names_of(entry)}
    names = [_kernel_of(name, known) for name in options.names]
    for name in names:
        if not any(matches(entry, name) for part in parts for entry in part.entries):
            close = difflib.get_close_matches(name, known)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise Refused(f"the store has no entry of {name!r}{hint}")
    for part in parts if names else ():
        part.entries = [each for each in part.entries if any(matches(each, name) for name in names)]
        part.whole = False
    return [part for part in parts if part.entries] if names else parts


def _kernel_of(name, known):
    """What entries may be called by: of a function the op it calls; of `path/to/file.py:kernel` the kernel's name.

    The file is imported, since the user names it.
    """
    if ":" not in name:
        return name if name in known else op_called(name) or name
    try:
        return kernel_at(name)[0].kernel_name
    except ValueError as error:
        raise Refused(str(error)) from error


def environments(options, store):
    """The environments of a store that options name."""
    found = [environment for environment, _ in store.environments()]
    if options.device is not None:
        return [environment_of(info_of(options.device))]
    if options.environment is None:
        return found
    named = [each for each in found if options.environment.lower() in each.folder.lower()]
    if not named:
        there = ", ".join(each.folder for each in found) or "none"
        raise Refused(f"no environment has {options.environment!r} in its name; there are {there}")
    return named


def info_of(name):
    """The DeviceInfo of a device of this machine by its name, None for the default one."""
    try:
        device = devices.resolve(name) if name is not None else devices.get_default_device()
    except RuntimeError as error:
        raise Refused(str(error), NO_DEVICE) from error
    if device is devices.CPU:
        text = f"{device} runs the NumPy references, which have no configs; --device takes cuda or interpreter"
        raise Refused(text, NO_DEVICE)
    return tuner.info_of(device)


def devices_here():
    """The devices of this machine that launch kernels, each with its DeviceInfo."""
    from tritorch.runtime.cuda import driver

    found = [(devices.INTERPRETER, INTERPRETER)]
    if driver.is_available():
        found += [(devices.Device("cuda", index), cuda_info(index)) for index in range(driver.device_count())]
    return found


def device_called(name):
    """The device of this machine with the name that an environment has, or None."""
    return next((device for device, info in devices_here() if info.name == name), None)


def names_of(entry):
    """What an entry is called: its op, and its kernel with and without its module."""
    op, kernel = entry.problem.get("op"), entry.key.kernel
    found = [op if isinstance(op, str) else kernel, kernel_name(entry.key), kernel.rpartition(".")[2], kernel]
    return list(dict.fromkeys(found))


def matches(entry, name):
    """Whether an entry is of an op or kernel of a name, or has a digest that begins so."""
    return name in names_of(entry) or (len(name) >= _SHORTEST and entry.key.digest.startswith(name))
