"""How processes beside the main one take signals: Ctrl-C is for the main process, which ends the others."""

from __future__ import annotations

import contextlib
import signal


def set_signals():
    """In a child: ignore Ctrl-C, and let SIGTERM end the process whatever the main process did about it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))


@contextlib.contextmanager
def interrupts_blocked():
    """Hold Ctrl-C back while children start: they inherit this, and ignore it from their first instruction on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
