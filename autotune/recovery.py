"""Recovery: a config that was found in a table or in the cache, and fails to launch, costs a warning and not the run.

A launch computes its grid from its config, so another config means running the op's `forward` again. The calls that
configs were asked by are found in a dry run, which launches nothing. The config is passed over, `forward` runs again
with the next best, and where that works the failure is recorded in the user's cache, so that no process takes the
config again. Where it fails for the same reason with a formula's config, nothing was wrong with those found, and the
first error is raised.

`forward` only writes to arrays that it makes, so that it can run again; but an op that writes in place must not do so
twice. It runs again only where its first launch was the one that failed, since nothing was written then; else its
error is raised, with the config dropped for the calls to come.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

from tritorch.autotune.device import device_info
from tritorch.autotune.tunable import Asked, is_overridden, noting_configs
from tritorch.runtime import transfer
from tritorch.runtime.kernel import recording_launches

_TRIES = 3  # configs of one call that may fail, each a second or so of compiling


class Suspect(NamedTuple):
    """A config that a failed launch may have used: what asked for it, and where it was found."""

    asked: Asked
    answer: object


def can_recover(error):
    """Whether an error came from a launch in a process where configs were found, and another config may do better."""
    if not hasattr(error, "failed_launch"):
        return False
    from tritorch.autotune import lookup
    from tritorch.runtime.compile import refused_by_compiler
    from tritorch.runtime.cuda import driver
    from tritorch.runtime.cuda.memory import OutOfMemoryError

    if not lookup.gave_any() or driver.context_lost() or isinstance(error, OutOfMemoryError):
        return False
    return not isinstance(error, TypeError) or refused_by_compiler(error)  # else arguments are no kernel's


def let_go(error, kernel, config, arrays, known):
    """Drop the config of a launch that ended with `error`, where it was found and another is known; else raise that.

    For a kernel that asks for its own config and can be launched again, since a launch that fails has written nothing.
    """
    from tritorch.autotune import lookup

    if not can_recover(error):
        raise error
    key, device = kernel.key_for(arrays, known), device_info(arrays[0])
    answer = None if is_overridden(kernel, key) else lookup.find(kernel, key, device, known)
    if answer is None or answer.source not in lookup.FOUND or answer.config != config:
        raise error
    lookup.pass_over(kernel, key, config)
    _drop([([Suspect(Asked(kernel, key, device, known, config), answer)], error)], again=True)


def run_again(error, forward, in_place):
    """What `forward()` gives with other configs, after a first run ended with `error`; else that error."""
    from tritorch.autotune import lookup

    passed_over, undo, latest = [], [], error
    while len(passed_over) < _TRIES:
        suspects, before = _suspects(latest, forward)
        if not suspects:
            break
        undo += [lookup.pass_over(each.asked.kernel, each.asked.key, each.answer.config) for each in suspects]
        passed_over.append((suspects, latest))
        if in_place and before != 0:
            _drop(passed_over, again=False)
            raise error
        try:
            results = forward()
        except Exception as next_error:
            latest = next_error
            if not can_recover(next_error):
                break
        else:
            _drop(passed_over, again=True)
            return results
    for allow in undo:
        allow()
    raise error


def _suspects(error, forward):
    """The configs that the launch which ended with `error` may have had, and how many launches came before it.

    Of configs those that were found and not computed; None for a number that cannot be told.
    """
    from tritorch.autotune import lookup

    failed, launches = error.failed_launch, []
    try:
        with noting_configs() as asked, recording_launches(run=False, launches=launches):
            forward()
    except Exception as unlaunched:  # it looked at results that nobody computed; what was asked until then counts
        error.add_note(f"(without launches the call ends with {type(unlaunched).__name__}: {unlaunched})")
    chosen, found = _chosen(failed), []
    for each in [each for each in asked if each.kernel is failed.kernel] or asked:
        other = any(chosen.get(name, value) != value for name, value in each.config.items())
        if not other and not is_overridden(each.kernel, each.key):
            answer = lookup.find(each.kernel, each.key, each.device, each.known)
            if answer.source in lookup.FOUND:
                found.append(Suspect(each, answer))
    return found, _place(failed, launches)


def _place(failed, launches):
    """Which of the launches of a dry run the failed one was, by what it was launched with; None where that is open."""
    chosen, arrays = _chosen(failed), _addresses(failed)
    alike = {}
    for at, each in enumerate(launches):
        if each.kernel is failed.kernel and _chosen(each) == chosen:
            alike[at] = len(arrays & _addresses(each))
    best = [at for at, common in alike.items() if common == max(alike.values())]
    return best[0] if len(best) == 1 else None


def _chosen(launch):
    """The constants and options of a launch by name."""
    parameters = launch.kernel.params
    given = dict(zip((each.name for each in parameters), launch.args, strict=False)) | launch.keywords
    variable = {each.name for each in parameters if not each.is_constexpr}
    return {name: value for name, value in given.items() if name not in variable and value is not None}


def _addresses(launch):
    """Where the arrays among the arguments of a launch lie."""
    return set(map(transfer.pointer, launch.arrays()))


def _drop(passed_over, again):
    """Record and tell which configs failed."""
    from tritorch.autotune import lookup
    from tritorch.autotune.bench import explained

    for suspects, error in passed_over:
        state, cause = explained(error)
        for asked, answer in suspects:
            lookup.drop(answer.key, asked.device, answer.config, cause, state)
            words = "another config was taken" if again else "the call wrote in place and cannot run again"
            warnings.warn(
                f"autotune: {asked.kernel.kernel_name} failed with {answer.config} of the {answer.source} "
                f"({cause}); it is dropped, {words}",
                RuntimeWarning,
                stacklevel=5,
            )
