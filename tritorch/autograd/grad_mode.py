"""Whether calls are recorded: `no_grad`, `enable_grad`, `inference_mode`, `set_grad_enabled`."""

from __future__ import annotations

import functools
import inspect
import threading


class _State(threading.local):
    recording = True
    inference = False
    interceptors: tuple = ()  # see intercept.py
    transforms = 0  # how many transforms of functions (tritorch.func) are running inside each other


state = _State()

# Empty until the first interceptor of any thread comes, then filled for good: a thread's own attribute takes longer to
# look up than a small op has time for.
intercepting: list = []


def expect_interceptors():
    """Have every op call look at its thread's interceptors from now on."""
    intercepting[:] = [True]


def is_grad_enabled():
    """Whether calls are being recorded for `backward` in this thread."""
    return state.recording


def is_inference_mode_enabled():
    """Whether this thread is inside `inference_mode`."""
    return state.inference


class _Mode:
    """A context manager that is also a decorator, for functions and generators."""

    recording = True

    def __enter__(self):
        self.before = state.recording
        state.recording = self.recording
        return self

    def __exit__(self, *_):
        state.recording = self.before

    def clone(self):
        """A fresh one: a decorated function may run inside itself."""
        return type(self)()

    def __call__(self, function):
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generate(*args, **kwargs):
                generator = function(*args, **kwargs)
                while True:
                    try:
                        with self.clone():
                            value = next(generator)
                    except StopIteration as stop:
                        return stop.value
                    yield value

            return generate

        @functools.wraps(function)
        def call(*args, **kwargs):
            with self.clone():
                return function(*args, **kwargs)

        return call

    def __new__(cls, function=None, *args):
        self = super().__new__(cls)
        if callable(function) and not args:  # used as a bare decorator: @no_grad
            return self(function)
        return self


class no_grad(_Mode):
    """Nothing inside is recorded."""

    recording = False


class enable_grad(_Mode):
    """Calls inside are recorded, even within `no_grad`."""


class set_grad_enabled(_Mode):
    """Record or not, at once; as a context manager, only inside."""

    def __new__(cls, mode):
        return object.__new__(cls)

    def __init__(self, mode):
        if not isinstance(mode, bool):
            kind = type(mode).__name__
            raise TypeError(f"set_grad_enabled(): argument 'enabled' (position 1) must be bool, not {kind}")
        self.recording = mode
        self.before, state.recording = state.recording, self.recording

    def __enter__(self):
        state.recording = self.recording
        return self

    def clone(self):
        return set_grad_enabled(self.recording)


class inference_mode(_Mode):
    """Nothing inside is recorded, and the results can never be."""

    def __new__(cls, mode=True):
        self = object.__new__(cls)
        if callable(mode):
            self.__init__()
            return self(mode)
        return self

    def __init__(self, mode=True):
        self.mode = bool(mode)
        self.recording = not self.mode

    def __enter__(self):
        self.outer = state.inference
        state.inference = self.mode
        return super().__enter__()

    def __exit__(self, *error):
        state.inference = self.outer
        super().__exit__(*error)

    def clone(self):
        return inference_mode(self.mode)
