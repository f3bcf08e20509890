"""Tables for people: on a terminal fitted to its width, plain aligned text where something reads it."""

from __future__ import annotations

import re
import textwrap

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(names, rows, title="", console=None):
    """Print rows under column names; a name that begins with ">" is that of a column of figures, set to the right.

    On a terminal too narrow for all columns, each row is a line of figures with its texts below.
    """
    console = console or Console()
    rows = [[printable(each) for each in row] for row in rows]
    if not console.is_terminal:
        for line in plain_lines(names, rows, title):
            console.file.write(f"{line}\n")
        return
    if title:
        console.print(Text(title, style="bold"))
    if sum(_widths(names, rows)) + 2 * len(names) > console.width:
        for line in _stacked(names, rows, console.width):
            console.print(line, no_wrap=True, overflow="ellipsis")
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name.lstrip(">"), justify="right" if name[0] == ">" else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _stacked(names, rows, width):
    """The lines of a table each row of which is its first column and its figures, and below them its other texts."""
    shown = [at for at, name in enumerate(names) if at == 0 or name[0] == ">"]
    below = [at for at in range(len(names)) if at not in shown]
    widths = _widths(names, rows)
    for number, row in enumerate(([name.lstrip(">") for name in names], *rows)):
        figures = "".join(f"  {row[at].rjust(widths[at])}" for at in shown[1:])
        yield Text.assemble((row[0].ljust(widths[0]), "bold"), (figures, "bold" if number == 0 else ""))
        texts = " · ".join(row[at] for at in below if row[at])
        for line in textwrap.wrap(texts, width - 2, break_on_hyphens=False):
            yield Text(f"  {line}", style="dim")


def _widths(names, rows):
    """How wide each column is at its widest line."""
    columns = zip([name.lstrip(">") for name in names], *rows, strict=True)
    return [max(len(line) for each in column for line in each.split("\n")) for column in columns]


def plain_lines(names, rows, title=""):
    """The lines of a table whose columns are two spaces apart."""
    rows = ([name.lstrip(">") for name in names], *rows)
    texts = [[" ".join(printable(each).split()) for each in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    if title:
        yield title
    for row in texts:
        yield "  ".join(
            each.rjust(width) if name[0] == ">" else each.ljust(width)
            for each, width, name in zip(row, widths, names, strict=True)
        ).rstrip()


def printable(value):
    """A value as text without the characters by which a file's contents could take a terminal over."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", str(value))
