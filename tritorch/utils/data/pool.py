"""The main process's side of DataLoader workers: how they are started, heard, missed when they die, and ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import weakref
from multiprocessing.connection import wait

from tritorch.runtime.processes import interrupts_blocked
from tritorch.utils.data import placement, transport
from tritorch.utils.data.sealed import Sealed
from tritorch.utils.data.worker import Plan, run_worker

LIVENESS_SECONDS = 2.0  # how often to look for dead workers while nothing arrives
GRACE_SECONDS = 5.0  # for the sample a worker is reading when it is told to stop
KILL_SECONDS = 1.0
NO_FORK = (
    "DataLoader: multiprocessing_context='fork' cannot start workers, since CUDA is in use in this process. To use "
    "CUDA with multiprocessing, you must use the 'spawn' start method, or construct the loader without "
    "multiprocessing_context before the first use of CUDA, or load in this process with num_workers=0."
)
HINTS = {
    "SIGKILL": " The system kills processes when memory runs out: try fewer workers or smaller batches.",
    "SIGBUS": " Memory shared with it may have run out: try fewer workers or smaller batches.",
}


def choose_context(context):
    """How workers are started: as the user said, else forked on Linux; None where a process with CUDA may not fork.

    A forked worker is there at once and needs nothing to be picklable, nor a script with a main guard.
    """
    if sys.platform != "linux" or not placement.cuda_in_use():
        return context or multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    if context is not None and context.get_start_method() == "fork":
        raise RuntimeError(NO_FORK)
    return context


class Pool:
    """The worker processes of one iteration, or of one loader with persistent workers."""

    def __init__(self, loading, worker_init_fn, num_workers, base_seed, context, template):
        context = choose_context(context)
        if context is None and template is None:
            context = multiprocessing.get_context("spawn")
        self._template = template  # kept until the workers have ended, even where the loader was dropped
        self.workers = []
        self._stop = weakref.finalize(self, _stop, self.workers, os.getpid())
        try:
            with interrupts_blocked():
                for worker in range(num_workers):
                    plan = Plan(loading, worker_init_fn, worker, num_workers, base_seed)
                    self.workers.append(_start(context, template, plan))
        except BaseException:
            self.stop(grace=0)
            raise
        self._connections = {connection: number for number, (_, connection) in enumerate(self.workers)}
        self._sentinels = {process.sentinel: number for number, (process, _) in enumerate(self.workers)}

    def send(self, worker, task):
        """Send a task to a worker."""
        try:
            self.workers[worker][1].send(task)
        except (BrokenPipeError, ConnectionResetError):
            self._fail_dead([worker])

    def receive(self, deadline):
        """The parcels that are there, each as (tag, load), waiting for one until `deadline`; none when that is over."""
        connections, sentinels = self._connections, self._sentinels
        while True:
            left = LIVENESS_SECONDS if deadline is None else min(LIVENESS_SECONDS, deadline - time.monotonic())
            ready = wait([*connections, *sentinels], max(left, 0))
            parcels = [self._receive(connections[each], each) for each in ready if each in connections]
            if parcels:
                return parcels
            dead = [sentinels[each] for each in ready]
            dead += [number for number, (process, _) in enumerate(self.workers) if not process.is_alive()]
            if dead:
                self._fail_dead(dead)
            if deadline is not None and time.monotonic() >= deadline:
                return []

    def _receive(self, worker, connection):
        try:
            return transport.receive(connection)
        except (EOFError, ConnectionResetError):
            return self._fail_dead([worker])

    def _fail_dead(self, workers):
        """End all workers and say which of them died, and how."""
        processes = [self.workers[worker][0] for worker in dict.fromkeys(workers)]
        for process in processes:
            process.join(KILL_SECONDS)
        self.stop(grace=0)
        raise RuntimeError(" ".join(_obituary(process) for process in processes))

    def stop(self, grace=GRACE_SECONDS):
        """End the workers: those that do not stop by themselves within `grace` seconds are made to."""
        if self._stop.detach():
            _stop(self.workers, os.getpid(), grace)


def _start(context, template, plan):
    """A worker's process, by `context` or where that is None by the template, and our end of the pipe to it."""
    ours, theirs = multiprocessing.Pipe()
    try:
        if context is None:
            numbers = plan.id, plan.num_workers, plan.base_seed
            return template.start(theirs, plan.loading, plan.worker_init_fn, numbers), ours
        process = context.Process(
            target=run_worker,
            args=(theirs, Sealed(plan), plan.id),
            name=f"DataLoader worker {plan.id}",
            daemon=True,
        )
        process.start()
        return process, ours
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()  # so that its end in the worker is the only one, and closes when the worker dies


def _obituary(process):
    code = process.exitcode
    if code is not None and code < 0:
        hint = HINTS.get(signal.Signals(-code).name, "") if -code in set(signal.Signals) else ""
        return f"DataLoader worker (pid {process.pid}) is killed by signal: {signal.strsignal(-code)}.{hint}"
    return (
        f"DataLoader worker (pid {process.pid}) exited unexpectedly with exit code {code}. What it printed says why. "
        "Workers are spawned where CUDA was in use before the loader was constructed. Then the script must start its "
        'work under `if __name__ == "__main__":`, construct the loader before it uses CUDA, or use num_workers=0.'
    )


def _stop(workers, owner, grace=GRACE_SECONDS):
    """Tell the workers to stop, wait, terminate and at last kill those that stay; close the pipes."""
    if os.getpid() != owner:
        return  # a forked process got a copy of the pool: the workers are not its own
    for _, connection in workers:
        with contextlib.suppress(OSError):  # dead already
            connection.send(None)
        connection.close()
    _join(workers, grace)
    for end in ("terminate", "kill"):
        for process, _ in workers:
            if process.is_alive():
                getattr(process, end)()
        _join(workers, KILL_SECONDS)
    workers.clear()


def _join(workers, seconds):
    deadline = time.monotonic() + seconds
    for process, _ in workers:
        process.join(max(0, deadline - time.monotonic()))
