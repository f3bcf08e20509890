"""A call on the interpreter, as some GPU would have it, with knobs of its kernel's config forced."""

from __future__ import annotations

from contextlib import ExitStack

from tritorch.autotune.tunable import noting_configs, pretending, using
from tritorch.runtime.kernel import recording_launches


def launched_with(kernel, knobs, device, call):
    """What `call` gives, which asks for one config, and the launches that took."""
    with ExitStack() as stack:
        stack.enter_context(pretending(device))
        with noting_configs() as asked, recording_launches(run=False):
            call()
        (found,) = asked
        stack.enter_context(using(kernel, found.key, found.config | knobs))
        launches = stack.enter_context(recording_launches())
        return call(), launches
