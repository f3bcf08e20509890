"""Write what the store holds as one HTML file that needs nothing else: plots, winners, failures, environment.

    tritorch autotune report
    tritorch autotune report matmul softmax --device cuda -o gain.html

One file is one environment: the one asked for, else this machine's default device's, else the one with most entries.
"""

from __future__ import annotations

import time

from tritorch.autotune.command.selection import Refused, add_selection, device_called, info_of, refusing, selected
from tritorch.autotune.device import environment_of
from tritorch.autotune.report import page
from tritorch.autotune.roofline import ceiling_of
from tritorch.autotune.store import Store
from tritorch.cli.main import FAILED, GOOD, NOTHING_VALID
from tritorch.runtime.files import whole_file


def add_arguments(parser):
    """OP..., --device, --environment, -o."""
    add_selection(parser, "report")
    parser.add_argument("-o", "--output", default="autotune.html", metavar="FILE", help="default: autotune.html")


@refusing
def run(options):
    """Write the file."""
    parts = selected(options)
    if not parts:
        raise Refused(f"nothing is stored in {Store().root}; `tritorch autotune sweep OP` finds configs", NOTHING_VALID)
    part = _chosen(parts)
    device = device_called(part.environment.device)
    ceiling = None if device is None else ceiling_of(device)
    text = page(part.environment, part.entries, ceiling, time.strftime("%Y-%m-%d %H:%M"))
    try:
        with whole_file(options.output) as file:
            file.write(text.encode())
    except OSError as error:
        raise Refused(f"{options.output} cannot be written: {error.strerror}", FAILED) from error
    print(f"{options.output}: {len(part.entries)} entries of {part.environment.folder}")
    others = [each.environment.folder for each in parts if each is not part]
    if others:
        print(f"--environment gives a report of {', '.join(others)}")
    return GOOD


def _chosen(parts):
    """This machine's default device's part, else the one with most entries."""
    try:
        here = environment_of(info_of(None))
    except Refused:  # the default device runs no kernels
        here = None
    return max(parts, key=lambda part: (part.environment == here, len(part.entries)))
