"""Failure: when waiting for other ranks is to end, and with which error.

Every rank has a thread that tells rank 0's store, twice a second, which collective the rank entered last, and asks it
which ranks are gone: the store marks a rank as dead when its connection ends without a goodbye. Whoever waits only
reads what the thread found, so that a store that does not answer delays nobody.
"""

from __future__ import annotations

import json
import threading
import time

_PERIOD = 0.5
_GOODBYE = 1.0  # seconds that the end may wait for a store that does not answer


class Watch:
    """Looks, between two polls of an engine, whether waiting still makes sense."""

    def __init__(self, rank=0, store=None):
        self.rank, self.store, self.failed = rank, store, False
        self.calls = {}  # of this rank: name of a group -> [number, description] of the collective entered last
        self._said, self._dead, self._board, self._waiting = None, {}, {}, False
        self._heard = time.monotonic()
        self._ended, self._thread = threading.Event(), None
        if store is not None:
            store.leave_behind(f"dead/{rank}", "died")
            self._thread = threading.Thread(target=self._serve, name="tritorch watch", daemon=True)
            self._thread.start()

    def look(self, engine, description, since, peers=None):
        """Raise the error that ends the wait of `engine` for `description`, begun at `since` (time.monotonic()).

        `peers` are the ranks, in the group, that it waits for; None is for all others of the group.
        """
        waited = time.monotonic() - since
        if waited < min(_PERIOD, engine.timeout):
            return
        self._waiting = True
        me = engine.ranks[engine.rank]
        others = [engine.ranks[peer] for peer in (range(engine.size) if peers is None else peers)]
        for rank in others:
            if rank in self._dead:
                raise RuntimeError(f"rank {rank} died while rank {me} waited in {description}")
        if waited > engine.timeout:
            group = "" if engine.group_name == "world" else f" of group {engine.group_name!r}"
            said = self._who_has_not_come(engine, [rank for rank in others if rank != me], peers is not None)
            raise RuntimeError(
                f"rank {me} timed out after {engine.timeout:g} s in {description}{group}{said and ': '}{said}"
            )

    def _who_has_not_come(self, engine, others, surely):
        """What the board knows of the ranks that a wait is for; `surely` if it is for every one of them."""
        if self._thread is not None and time.monotonic() - self._heard > 3 * _PERIOD:
            return "rank 0 does not answer"
        missing = [rank for rank in others if surely or self._missing(engine, rank)]
        return "; ".join(f"waited for rank {rank}, {self._last_call(engine, rank)}" for rank in missing)

    def _missing(self, engine, rank):
        """Whether a rank, as far as the board knows, has not come to the collective that this one is in."""
        if not self._board or engine.group_name not in self.calls:
            return False
        number = self._board.get(str(rank), {}).get(engine.group_name, [0])[0]
        return number < self.calls[engine.group_name][0]

    def _last_call(self, engine, rank):
        calls = self._board.get(str(rank), {})
        if engine.group_name not in calls:
            return "of which no call is known"
        return f"whose last call was {calls[engine.group_name][1]}"

    def _serve(self):
        left = False
        while not left:
            left = self._ended.wait(_PERIOD)
            try:
                self._exchange()
                if left:
                    self.store.leave_behind(None, None)
            except (OSError, RuntimeError, ValueError):  # the connection is gone, and rank 0 with it
                self._dead = {0: "died"}
                return

    def _exchange(self):
        """Tell what this rank does, and hear of the others, of all of them only while this one waits."""
        said = json.dumps(self.calls.copy())
        if said != self._said:
            self.store.set(f"board/{self.rank}", said)
            self._said = said
        self._dead = {int(rank): how for rank, how in self.store.items("dead/").items()}
        self._heard = time.monotonic()
        if self._waiting:
            self._waiting = False
            self._board = {rank: json.loads(text) for rank, text in self.store.items("board/").items()}

    def close(self):
        """Say goodbye: this rank ends as it should."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_GOODBYE)
            if not self._thread.is_alive():
                self.store.disconnect()
            self._thread = None
