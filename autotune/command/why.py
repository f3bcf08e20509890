"""Say for each config that a call asks for where it comes from, and of a miss which fields of the key made it one.

    tritorch autotune why matmul --shape M=256,N=256,K=256 --device interpreter
    tritorch autotune why softmax layer_norm --dtype bfloat16 --device cuda

Nothing is launched and nothing is tuned.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import NamedTuple

from tritorch.autotune import lookup
from tritorch.autotune.command.problems import add_problem_arguments, problems_of
from tritorch.autotune.command.selection import info_of, need_triton, refusing
from tritorch.autotune.command.table import printable
from tritorch.autotune.device import Environment, environment_of
from tritorch.autotune.figures import kernel_name
from tritorch.autotune.key import Key
from tritorch.autotune.tables import TableError, parse_table
from tritorch.autotune.trial import show_config
from tritorch.autotune.tuner import asked_by
from tritorch.cli.main import GOOD

_APART = 1000.0  # that a field of the environment counts, so that entries of this one come first
_MOST_NEAR, _MOST_FIELDS = 3, 10


class Near(NamedTuple):
    """What is known of a kernel: where it stands, under which key, in which environment, with which config."""

    name: str
    key: Key
    environment: Environment
    config: dict | None
    is_table: bool = False

    def differs(self, asked, here):
        """The fields in which it is not what was asked for in the environment `here`, each with both values."""
        ours, theirs = (_told_apart(each, self.is_table) for each in (here, self.environment))
        found = {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}
        if "device" in found:  # the rest of it follows
            found = {"device": found["device"]}
        return found | asked.key.differs(self.key.with_policy(asked.key.policy))

    def distance(self, asked, here):
        """How far it is from what was asked for: first by environment, then by key."""
        ours, theirs = (_told_apart(each, self.is_table) for each in (here, self.environment))
        apart = sum(ours[name] != theirs[name] for name in ours)
        return apart * _APART + asked.key.distance(self.key.with_policy(asked.key.policy))


def _told_apart(environment, is_table):
    """The fields of an environment that must agree; a table is carried to other drivers and patched Tritons."""
    return environment.carried() if is_table else asdict(environment)


def add_arguments(parser):
    """OP..., --shapes, --shape, --dtype, --device."""
    add_problem_arguments(parser)
    parser.add_argument("--device", help="cuda, cuda:1 or interpreter; the default device if not given")


@refusing
def run(options):
    """Print a line for each config that is asked for, and after a miss one for each near entry."""
    need_triton()
    problems, info = problems_of(options), info_of(options.device)
    lookup.forget()  # what other processes have found meanwhile counts too
    known = everything_known()
    for weighted in problems:
        problem = weighted.problem
        asked = asked_by(problem, info)
        print(f"{problem.name} {problem.label} {problem.dtype} on {info.name}:")
        if not asked:
            print("  no kernel that can be tuned is launched")
        for each in asked:
            for line in explain(each, known):
                print(f"  {printable(line)}")
    return GOOD


def explain(asked, known):
    """The lines that say where the config of an Asked comes from; `known` is what `everything_known` found."""
    found = lookup.find(asked.kernel, asked.key, asked.device, asked.known)
    sizes = " ".join(f"{size.name}={size}" for size in asked.key.sizes).replace("=<=", "<=")
    what = f"{kernel_name(asked.key)} [{', '.join(asked.key.arrays)}] {sizes}".rstrip()
    if found.source != lookup.FORMULA:
        yield f"hit   {what}: {found.source}, {show_config(found.config)}{_place(found)}"
        return
    here = environment_of(asked.device)
    near = [each for each in known if each.key.kernel == asked.key.kernel]
    near = [each for each in near if each.environment.device == here.device] or near
    near = sorted(near, key=lambda each: (each.distance(asked, here), each.name))[:_MOST_NEAR]
    first, *others = [f"{each.name} {_difference(each, asked, here)}" for each in near] or ["nothing is known of it"]
    if lookup.mode() == lookup.OFF:
        first = "TRITORCH_AUTOTUNE=0 has nothing looked up"
    yield f"miss  {what}: {first}; so the formula's {show_config(found.config)}"
    yield from (f"      also near: {text}" for text in others)


def _place(found):
    """The file that a config stands in."""
    return f" ({found.file})" if found.file else ""


def everything_known():
    """What the store and tables know, as a list of Near."""
    there, found = lookup.disk(), []
    for environment, _ in there.store.environments():
        for entry in there.store.entries(environment):
            best = entry.best()
            name = f"entry {entry.key.short}"
            found.append(Near(name, entry.key, environment, None if best is None else best.config))
    for file in (*there.pinned.files, *there.bundled.files):
        try:
            tables = parse_table(file)
        except TableError as error:
            print(printable(error), file=sys.stderr)
            continue
        found += [
            Near(f"table {file.name}", row.key, table.environment, row.config, is_table=True)
            for table in tables
            for row in table.rows
        ]
    return found


def _difference(near, asked, here):
    """In which fields a Near differs, with both values; or why it is not taken although it differs in none."""
    differs = near.differs(asked, here)
    if differs:
        texts = [f"{name} ({ours} here, {theirs} there)" for name, (ours, theirs) in differs.items()]
        more = len(texts) - _MOST_FIELDS
        return f"differs in {', '.join(texts[:_MOST_FIELDS])}{f' and {more} more fields' if more > 0 else ''}"
    if near.config is None:
        return "has no config that works"
    return f"has {show_config(near.config)}, which {_refusal(near.config, asked)}"


def _refusal(config, asked):
    """What the kernel's space, or what happened since, has against a config."""
    space = asked.kernel.space
    try:
        space.check_values(config, kernel_name(asked.key))
    except ValueError as error:
        return f"is none of its space: {error}"
    broken = space.broken(config, **asked.known, device=asked.device)
    return f"its space does not allow for these sizes ({', '.join(broken)})" if broken else "failed since"
