"""Tune kernels for the GPU at hand, look at what was found, and carry it elsewhere."""

from __future__ import annotations

import argparse
import os
import sys

from tritorch.cli.main import USAGE


def add_arguments(parser):
    """A sub-parser for each command of the tuner."""
    from tritorch.autotune.command import commands

    sub = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, module in commands().items():
        command = sub.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        module.add_arguments(command)
        command.set_defaults(act=module.run)


def run(options):
    """Run the command; gives its exit code."""
    from tritorch.autotune.lookup import CACHED_ONLY, TUNE, mode

    try:
        chosen = mode()
    except ValueError as error:
        print(f"tritorch autotune {options.action}: {error}", file=sys.stderr)
        return USAGE
    if chosen == TUNE:  # meant for programs that train: what a command runs is not tuned
        os.environ["TRITORCH_AUTOTUNE"] = CACHED_ONLY
    return options.act(options)
