"""`tritorch COMMAND`: finds the command's module and turns what happens into an exit code.

0 good, 1 a check failed, 2 usage, 3 no such device, 4 nothing valid, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

import tritorch
from tritorch import cli

GOOD, FAILED, USAGE, NO_DEVICE, NOTHING_VALID, INTERRUPTED = 0, 1, 2, 3, 4, 130


def commands():
    """The command modules, by name: every module here that has `run`."""
    found = {}
    for module in pkgutil.iter_modules(cli.__path__):
        if module.name != "main":
            loaded = importlib.import_module(f"{cli.__name__}.{module.name}")
            if hasattr(loaded, "run"):
                found[module.name] = loaded
    return found


def make_parser():
    """The argument parser with a sub-parser for each command."""
    parser = argparse.ArgumentParser(prog="tritorch", description="A GPU-first deep-learning runtime.")
    parser.add_argument("--version", action="version", version=f"tritorch {tritorch.__version__}")
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in commands().items():
        summary = module.__doc__.splitlines()[0]
        command = sub.add_parser(name, help=summary, description=module.__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments=None):
    """Run a command line; returns the exit code."""
    try:
        options = make_parser().parse_args(arguments)  # which imports every command, and takes a second
        return options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        sys.stderr.close()
        return GOOD


def device_of(options):
    """The device a command was asked for, or None after saying why it cannot be had."""
    from tritorch.runtime import device

    try:
        found = device.resolve(options.device)
    except RuntimeError as error:
        print(f"tritorch {options.command}: {error}", file=sys.stderr)
        return None
    return found
