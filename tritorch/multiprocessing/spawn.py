"""`spawn(fn, args, nprocs)`: the same function in several fresh processes, and the first failure raised here."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
import sys
import traceback


class ProcessException(Exception):
    """A process ended otherwise than well; `.error_index` says which, `.pid` its number."""

    def __init__(self, message, error_index, pid):
        super().__init__(message)
        self.msg, self.error_index, self.pid = message, error_index, pid


class ProcessRaisedException(ProcessException):
    """A process ended by an exception, whose text this one carries."""


class ProcessExitedException(ProcessException):
    """A process ended by a signal or with a code of its own."""

    def __init__(self, message, error_index, error_pid, exit_code, signal_name=None):
        super().__init__(message, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name


def _run(fn, index, args, failures):
    try:
        fn(index, *args)
    except KeyboardInterrupt:
        return  # who started us was interrupted too
    except Exception:
        failures.put(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """The processes that `spawn(join=False)` started."""

    def __init__(self, processes, failures):
        self.processes, self.failures = processes, failures

    def pids(self):
        """The numbers of the processes."""
        return [process.pid for process in self.processes]

    def join(self, timeout=None, grace_period=None):
        """Wait for the next to end: True when all have ended well. The first that fails ends the others and raises."""
        running = {process.sentinel: index for index, process in enumerate(self.processes) if process.is_alive()}
        ended = multiprocessing.connection.wait(running, timeout=timeout) if running else ()
        for sentinel in ended:
            self.processes[running[sentinel]].join()
        failed = next((i for i, each in enumerate(self.processes) if each.exitcode not in (None, 0)), None)
        if failed is None:
            return all(each.exitcode == 0 for each in self.processes)
        for process in self.processes:
            if process.is_alive():
                process.terminate()
            process.join(grace_period)
        self._raise(failed)
        return None

    def _raise(self, index):
        process, failure = self.processes[index], self.failures[index]
        if not failure.empty():
            text = f"\n\n-- Process {index} terminated with the following error:\n{failure.get()}"
            raise ProcessRaisedException(text, index, process.pid)
        code = process.exitcode
        if code < 0:
            name = signal.Signals(-code).name
            text = f"process {index} terminated with signal {name}"
            raise ProcessExitedException(text, index, process.pid, code, name)
        raise ProcessExitedException(f"process {index} terminated with exit code {code}", index, process.pid, code)


def start_processes(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """Call fn(0, *args) to fn(nprocs - 1, *args), each in its own process; wait for them if `join`."""
    context = multiprocessing.get_context(start_method)
    failures = [context.SimpleQueue() for _ in range(nprocs)]
    processes = [
        context.Process(target=_run, args=(fn, index, args, failures[index]), daemon=daemon) for index in range(nprocs)
    ]
    for process in processes:
        process.start()
    started = ProcessContext(processes, failures)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """Call fn(0, *args) to fn(nprocs - 1, *args), each in a fresh process; the first failure is raised here."""
    if start_method != "spawn":
        raise ValueError(f"spawn(): start_method is 'spawn', got {start_method!r}: use start_processes()")
    return start_processes(fn, args, nprocs, join, daemon, start_method)
