"""Remove entries from the store, after saying which and asking.

    tritorch autotune clear                       everything
    tritorch autotune clear matmul --device cuda
    tritorch autotune clear --stale --yes         what no launch of this machine will look at again

Stale is what was found for a kernel whose source is another by now, or under another driver or Triton on a device that
this machine has. Entries of devices that are not here, and of kernels that nobody has imported, are kept.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict

from tritorch.autotune.command.selection import (
    Refused,
    add_selection,
    devices_here,
    need_triton,
    refusing,
    selected,
)
from tritorch.autotune.device import environment_of
from tritorch.autotune.figures import kernel_name
from tritorch.autotune.key import source_hash
from tritorch.autotune.lookup import forget
from tritorch.autotune.store import Store
from tritorch.autotune.tunable import KERNELS
from tritorch.cli.main import GOOD


def add_arguments(parser):
    """OP..., --device, --environment, --stale, --yes."""
    add_selection(parser, "remove")
    parser.add_argument("--stale", action="store_true", help="only what is of another source, driver or Triton by now")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


@refusing
def run(options):
    """Say what would go, ask, remove."""
    if options.stale:
        need_triton()  # else all there is would be of another
    store = Store()
    parts = selected(options, store)
    if options.stale:
        _keep_stale(parts)
    counts = [_count(store, part) for part in parts]
    count = sum(counts)
    if not count:
        print("nothing to remove")
        return GOOD
    words = f"{count} entries" if count != 1 else "1 entry"
    if not options.yes and not _agreed(f"remove {words} from {store.root}? [y/N] "):
        print("nothing was removed")
        return GOOD
    for part in parts:
        _remove(store, part)
    forget()
    print(f"removed {words}")
    return GOOD


def _agreed(question):
    if not sys.stdin.isatty():
        raise Refused("there is nobody to ask; --yes removes without asking")
    return input(question).strip().lower() in ("y", "yes")


def _count(store, part):
    """Say what would go of an environment; gives how many files that are."""
    count = len(store.names(part.environment)) if part.whole else len(part.entries)
    if count:
        kinds = Counter(kernel_name(entry.key) for entry in part.entries)
        kinds["unreadable"] = count - len(part.entries)
        print(f"{part.environment.folder}: {', '.join(f'{number} {name}' for name, number in kinds.items() if number)}")
    return count


def _remove(store, part):
    if part.whole:
        store.remove(part.environment)  # with its folder, and what in it cannot be read
        return
    for entry in part.entries:
        store.remove(part.environment, entry.key)


def _keep_stale(parts):
    """Leave in each part the entries that no launch of this machine will look at again."""
    from tritorch import ops  # noqa: F401  every kernel of ours, to compare sources with

    here = _environments_here()
    for part in parts:
        mine = here.get(_switches(part.environment))
        if mine is None or mine == part.environment:
            part.entries = [entry for entry in part.entries if _is_stale(entry.key)]
            part.whole = False


def _environments_here():
    """The environment of each device of this machine, by what tells devices and switches apart."""
    return {_switches(each): each for each in (environment_of(info) for _, info in devices_here())}


def _switches(environment):
    return tuple(asdict(environment)[name] for name in ("device", "flags", "determinism"))


def _is_stale(key):
    kernel = KERNELS.get(key.kernel)
    if kernel is None:
        return key.kernel.startswith("tritorch.")
    return source_hash(kernel) != key.source
