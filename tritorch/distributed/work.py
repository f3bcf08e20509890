"""Work: the handle of a collective that goes on beside the script."""

from __future__ import annotations

import threading
from concurrent.futures import Future as _Future


class Work:
    """A collective under way; `wait()` returns when its result is in place, or raises what went wrong."""

    def __init__(self, description, result=()):
        self.description = description
        self._result = list(result)  # the tensors that will hold the result
        self._done = threading.Event()
        self._error = None
        self._callbacks = []
        self._lock = threading.Lock()

    def is_completed(self):
        """Whether it is over, well or not."""
        return self._done.is_set()

    def is_success(self):
        """Whether it is over and went well."""
        return self._done.is_set() and self._error is None

    def exception(self):
        """What went wrong, or None."""
        return self._error

    def wait(self, timeout=None):
        """Wait for the result, for at most `timeout` (a timedelta or seconds); True when it is there."""
        seconds = getattr(timeout, "total_seconds", lambda: timeout)()
        if not self._done.wait(seconds or None):
            raise RuntimeError(f"wait timeout after {seconds * 1000:.0f}ms: {self.description} is not complete")
        if self._error is not None:
            raise self._error
        return True

    def synchronize(self):
        """Wait for the result."""
        self.wait()

    def result(self):
        """The tensors that hold the result."""
        self.wait()
        return list(self._result)

    def get_future(self):
        """A Future of the list of result tensors."""
        future = Future()
        self.when_done(lambda: future.finish(self._result, self._error))
        return future

    def when_done(self, callback):
        """Call `callback()` once it is over: at once if it is, else from the thread that finishes it."""
        with self._lock:
            if not self._done.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def finish(self, error=None):
        """For engines: it is over; `error` is what went wrong."""
        with self._lock:
            if self._done.is_set():
                return
            self._error = error
            self._done.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class Future:
    """A value that comes later; `then` says what to make of it."""

    def __init__(self, *, devices=None):
        self._future = _Future()

    def done(self):
        """Whether the value, or an error, is there."""
        return self._future.done()

    def wait(self):
        """Wait for the value, or raise the error."""
        return self._future.result()

    def value(self):
        """The value of a Future that is done."""
        return self._future.result(timeout=0)

    def set_result(self, result):
        """Give the value."""
        self._future.set_result(result)

    def set_exception(self, error):
        """Give an error in place of a value."""
        self._future.set_exception(error)

    def finish(self, result, error):
        """Give the error if there is one, else the value."""
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(result)

    def add_done_callback(self, callback):
        """Call `callback(self)` when done; what it raises is lost."""
        self._future.add_done_callback(lambda _: callback(self))

    def then(self, callback):
        """A Future of what `callback(self)` returns once this one is done."""
        after = Future()

        def run(_):
            try:
                value = callback(self)
            except Exception as error:
                after.set_exception(error)
            else:
                after.set_result(value)

        self._future.add_done_callback(run)
        return after
