"""Tables for people: rich on a terminal, plain aligned text where something reads it."""

from __future__ import annotations

import re

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(names, rows, title="", console=None):
    """Print rows under column names; a name that begins with ">" is that of a column of figures, set to the right."""
    console = console or Console()
    if not console.is_terminal:
        for line in plain_lines(names, rows, title):
            console.file.write(f"{line}\n")
        return
    table = Table(title=Text(title) if title else None, title_justify="left", header_style="bold")
    for name in names:
        table.add_column(name.lstrip(">"), justify="right" if name[0] == ">" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(each)) for each in row))
    console.print(table)


def plain_lines(names, rows, title=""):
    """The lines of a table whose columns are two spaces apart."""
    texts = [
        [" ".join(printable(each).split()) for each in row] for row in ([name.lstrip(">") for name in names], *rows)
    ]
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
