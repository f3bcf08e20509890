"""Lookup: which config a launch gets, and from where.

The first that the kernel's space allows for the sizes at hand, of: what a user said (`pin_config`), pinned tables, the
user's cache, the table that came with the package, the kernel's formula. A config that is known to fail is passed over.
TRITORCH_AUTOTUNE says how much of it happens: "0" only what a user said and formulas, "cached" (the default) all of it,
"1" all of it, and a miss is tuned (training.py).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import NamedTuple

from tritorch.autotune import tables
from tritorch.autotune.device import environment_of
from tritorch.autotune.key import POLICIES, Key
from tritorch.autotune.store import Store, file_name, warn_once
from tritorch.autotune.trial import LAUNCH, Entry, Trial, config_name
from tritorch.autotune.tunable import KERNELS, by_formula, forget_all_configs
from tritorch.runtime.files import cache_folder

OFF, CACHED_ONLY, TUNE = "0", "cached", "1"
EXPLICIT, PINNED, CACHED, BUNDLED, FORMULA = "explicit", "pinned table", "cache", "bundled table", "formula"
FOUND = (PINNED, CACHED, BUNDLED)  # where configs are from that somebody has timed


class Answer(NamedTuple):
    """A config, where it is from, under which key it was found (None for a formula), and the file that it stood in."""

    config: dict
    source: str
    key: Key | None = None
    file: str = ""


def mode():
    """OFF, CACHED_ONLY or TUNE, by the environment variable TRITORCH_AUTOTUNE."""
    chosen = os.environ.get("TRITORCH_AUTOTUNE") or CACHED_ONLY
    if chosen not in (OFF, CACHED_ONLY, TUNE):
        raise ValueError(
            f"TRITORCH_AUTOTUNE is {chosen!r}; it takes 0 (formulas only), cached (what was tuned before; the default) "
            "or 1 (tune what is missing)"
        )
    return chosen


class _Disk:
    """What this process has seen of the cache folder at `root`: which files there are, and the tables it read."""

    def __init__(self, root, pinned):
        self.root = root
        self.store = Store(root)
        self.names: dict = {}  # environment -> names of files
        self.named = tables.named_tables()
        self.pinned = _Rows(pinned)
        self.bundled = _Rows(tables.tables_in(tables.BUNDLED))

    def entries_of(self, environment):
        """The names of the files that hold entries of an environment."""
        found = self.names.get(environment)
        if found is None:
            found = self.names[environment] = self.store.names(environment)
        return found

    def load(self, environment, key):
        """The Entry of a key, or None; a file that was not there at first is not looked for."""
        names = self.entries_of(environment)
        return self.store.load(environment, key) if names and file_name(key) in names else None


class _Rows:
    """The rows of some tables, found by environment and key; files are read at the first question."""

    def __init__(self, files):
        self.files = files
        self._rows: dict | None = None

    def find(self, environment, key):
        """(config, file) for a key, or None."""
        if not self.files:
            return None
        if self._rows is None:
            self._rows = {}
            for file in self.files:
                self._read(file)
        return self._rows.get((_matched(environment), key))

    def _read(self, file):
        try:
            for table in tables.parse_table(file):
                for row in table.rows:
                    self._rows.setdefault((_matched(table.environment), row.key), (row.config, str(file)))
        except tables.TableError as error:
            warn_once(str(file), f"autotune: {error}; it is not used")


def _matched(environment):
    """What must agree for a table made elsewhere to count here, to look it up by."""
    return tuple(environment.carried().values())


class _State:
    """What lookup keeps between launches, in this process."""

    def __init__(self):
        self.disk: _Disk | None = None
        self.followed: tuple | None = None  # folder and pinned tables of another rank, in the place of our own
        self.explicit: dict = {}  # kernel -> list of (sizes, config)
        self.failed: dict = {}  # (kernel, key) -> names of configs that failed to launch here
        self.given = False  # whether a launch got a config of a table or of the cache
        self.misses: list | None = None  # what was asked for and not found, while somebody wants to know


_state = _State()


def disk():
    """What was seen of the cache folder and the tables that are chosen now."""
    root = _state.followed[0] if _state.followed else cache_folder() / "autotune"
    if _state.disk is None or _state.disk.root != root or _state.disk.named != tables.named_tables():
        _state.disk = _Disk(root, _state.followed[1] if _state.followed else pinned_files())
    return _state.disk


def pinned_files():
    """The pinned tables, the first to count first: those that the environment names, then those in the cache folder."""
    return [*tables.named_tables(), *tables.tables_in(tables.pinned_folder())]


def follow(root, pinned):
    """Look in the folder `root` and the tables `pinned` from now on: what another rank has, in the place of our own."""
    _state.followed = root, list(pinned)
    forget()


def follow_nobody():
    """Look in the cache folder again."""
    _state.followed = None
    forget()


def forget():
    """Look at the disk again at the next launch: entries or tables have changed."""
    _state.disk = None
    forget_all_configs()


def expects(device):
    """Whether anything but a formula may be found for a device; cheap, for processes that never tuned anything."""
    chosen = mode()
    if _state.explicit or chosen == TUNE:
        return True
    if chosen == OFF:
        return False
    there = disk()
    return bool(there.pinned.files or there.bundled.files or there.entries_of(environment_of(device)))


def answer(kernel, key, device, known):
    """The config of a launch, as tunable.py asks for it."""
    found = find(kernel, key, device, known)
    if found.source in FOUND:
        _state.given = True
    elif found.source == FORMULA and _state.misses is not None:
        _state.misses.append((kernel, key, device))
    return found.config


def find(kernel, key, device, known):
    """The Answer for a launch of `kernel` under `key` on `device`, with its sizes and facts `known` by name."""
    return next(answers(kernel, key, device, known))


def answers(kernel, key, device, known):
    """Every Answer that the kernel's space allows for the sizes at hand, the one to take first, the formula's last."""
    default = by_formula(kernel, key, device, known)
    for sizes, config in _state.explicit.get(kernel, ()):
        found = Answer(config, EXPLICIT, key)
        if all(known.get(name) == value for name, value in sizes.items()) and fits(kernel, found, device, known):
            yield found
    if mode() != OFF:
        environment, there = environment_of(device), disk()
        entries = [(each, there.load(environment, each)) for each in _policies(key)]
        failed = _failures(kernel, key, entries)
        for found in _found(there, environment, key, entries):
            right = found.config == default or fits(kernel, found, device, known)  # the default is always allowed
            if right and config_name(found.config) not in failed:
                yield found
    yield Answer(default, FORMULA)


def _found(there, environment, key, entries):
    """What tables and the cache hold for a key, in the order in which they count."""
    yield from _of_table(there.pinned, PINNED, environment, key)
    for each, entry in entries:
        if entry is not None:
            file = str(there.store.path(environment, each))
            yield from (Answer(trial.config, CACHED, each, file) for trial in entry.ranked())
    yield from _of_table(there.bundled, BUNDLED, environment, key)


def _of_table(rows, source, environment, key):
    for each in _policies(key):
        row = rows.find(environment, each)
        if row is not None:
            yield Answer(row[0], source, each, row[1])


def _failures(kernel, key, entries):
    """The names of configs that failed in this process or that the cache knows to fail, whoever calls them winners."""
    found = {config_name(trial.config) for _, entry in entries if entry for trial in entry.trials if not trial.ok}
    return found | _state.failed.get((kernel, plain(key)), set())


def fits(kernel, found, device, known):
    """Whether an Answer is a config of the kernel's space for these sizes; a table with other values is warned of."""
    try:
        kernel.space.check_values(found.config, kernel.kernel_name)
    except ValueError as error:
        if found.source != CACHED:  # else the space was another when it was tuned
            warn_once(f"{found.file} {kernel.kernel_name}", f"autotune: {found.file}: {error}; it is not used")
        return False
    return kernel.space.allows(found.config, **{**known, "device": device})


def plain(key):
    """A key without how it was timed: what a launch is, not how it was measured."""
    return key.with_policy(POLICIES[0])


def _policies(key):
    """A key as it is, then with each other way of timing: a config that was timed otherwise beats none."""
    return [key, *(key.with_policy(each) for each in POLICIES if each != key.policy)]


def gave_any():
    """Whether a launch of this process got a config of a table or of the cache."""
    return _state.given


@contextmanager
def noting_misses():
    """A context that gives a list of (kernel, key, device), one for each config that is asked for and not found.

    A launch whose config this process knows already asks for none.
    """
    before, _state.misses = _state.misses, []
    try:
        yield _state.misses
    finally:
        _state.misses = before


def pass_over(kernel, key, config):
    """Give `config` to no launch of this process under `key`; gives the function that allows it again."""
    failed = _state.failed.setdefault((kernel, plain(key)), set())
    name = config_name(config)
    failed.add(name)
    kernel.forget_configs()

    def allow():
        failed.discard(name)
        kernel.forget_configs()

    return allow


def drop(key, device, config, cause, state=LAUNCH):
    """Record in the user's cache that a config fails, so that no process takes it again; `key` as it was found."""
    environment, there = environment_of(device), disk()
    there.store.save(environment, Entry(key, [Trial(config).failed(state, cause)]))
    there.names.pop(environment, None)


def pin_config(kernel, config, **sizes):
    """Let launches of a kernel whose sizes and facts have these values take `config`, until `unpin_configs`.

    `kernel` is the kernel, or its module and name. Without sizes it holds for all launches. What the space does not
    allow is a ValueError.
    """
    kernel = _kernel_of(kernel)
    kernel.space.check_values(config, kernel.kernel_name)
    unknown = [name for name in sizes if name not in kernel.sizes and name not in kernel.facts]
    if unknown:
        there = ", ".join((*kernel.sizes, *kernel.facts))
        raise ValueError(f"{kernel.kernel_name}: no size or fact named {unknown[0]!r}; it has {there}")
    if not kernel.space.allows(config, **sizes):
        raise ValueError(f"{kernel.kernel_name}: {config} breaks a condition of its space at {sizes}")
    _state.explicit.setdefault(kernel, []).insert(0, (sizes, dict(config)))
    kernel.forget_configs()


def unpin_configs(kernel):
    """Let launches of a kernel ask as if nothing had been said by `pin_config`."""
    kernel = _kernel_of(kernel)
    _state.explicit.pop(kernel, None)
    kernel.forget_configs()


def _kernel_of(kernel):
    if not isinstance(kernel, str):
        return kernel
    if kernel not in KERNELS:
        raise ValueError(f"no kernel named {kernel!r} has a tuning space")
    return KERNELS[kernel]
