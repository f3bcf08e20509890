"""Models by name, and the arguments that all of them share: which weights they start from."""

from __future__ import annotations

import fnmatch
import functools
import sys
import warnings

from tritorch.autograd.intercept import Interceptor
from tritorch.ops.base import TABLE

DRAWS = (TABLE["uniform"], TABLE["normal"])
_MODELS: dict[str, tuple] = {}  # name -> (function, its weights, the module it stands in)


def model(weights_class=None, old="IMAGENET1K_V1", with_weights=None, needed=None, loaded=None):
    """Enter a function that makes a network into the table of models, and give it `weights` and `progress`.

    `old` are the weights that `pretrained=True` stood for; `with_weights` are arguments that a network with weights has
    by default, and `needed` those it must have to read them, after which `loaded(network, **arguments)` is called.
    """

    def decorate(make):
        @functools.wraps(make)
        def build(weights=None, progress=True, **kwargs):
            weights = _meant(make.__name__, weights_class, old, weights, kwargs)
            if weights is None:
                return make(**kwargs)
            classes = kwargs.setdefault("num_classes", 1000)
            if classes != 1000:
                raise ValueError(f"The parameter 'num_classes' expected value 1000 but got {classes} instead.")
            with _Undrawn():
                network = make(**{**(with_weights or {}), **kwargs, **(needed or {})})
            network.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
            if loaded is not None:
                loaded(network, **kwargs)
            return network

        key = make.__name__
        if key in _MODELS:
            raise ValueError(f"An entry is already registered under the name '{key}'.")
        _MODELS[key] = (build, weights_class, make.__module__)
        return build

    return decorate


class _Undrawn(Interceptor):
    """Parameters that are about to be read from a file are not drawn, which for large networks takes seconds.

    The generator moves on as if they were: what follows is the same either way.
    """

    def intercept(self, cls, args):
        if cls not in DRAWS:
            return cls.apply(*args)
        size, _, _, dtype, _, _, device = args
        return TABLE["full"].apply(size, 0, dtype, device)


def _meant(name, weights_class, old, weights, kwargs):
    """The weights that are asked for, now or in the words of torchvision before 0.13."""
    if "pretrained" in kwargs:
        warnings.warn(
            "The parameter 'pretrained' is deprecated since 0.13 and may be removed in the future, "
            "please use 'weights' instead.",
            stacklevel=3,
        )
        weights = kwargs.pop("pretrained")
    if isinstance(weights, bool):
        weights = _of_old(name, weights_class, old, weights)
    if weights is not None and weights_class is None:
        raise ValueError(f"No weights available for model {name}")
    return weights if weights is None else weights_class.verify(weights)


def _of_old(name, weights_class, old, pretrained):
    found = weights_class[old] if pretrained and weights_class is not None and old is not None else None
    if pretrained and found is None:
        raise ValueError(f"No weights available for model {name}")
    text = (
        "Arguments other than a weight enum or `None` for 'weights' are deprecated since 0.13 and may be removed in "
        f"the future. The current behavior is equivalent to passing `weights={found}`."
    )
    if found is not None:
        text += f" You can also use `weights={weights_class.__name__}.DEFAULT` to get the most up-to-date weights."
    warnings.warn(text, stacklevel=4)
    return found


def _entry(name):
    try:
        return _MODELS[name.lower()]
    except KeyError:
        raise ValueError(f"Unknown model {name}") from None


def get_model_builder(name):
    """The function that makes the model of this name."""
    return _entry(name)[0]


def get_model(name, **config):
    """The model of this name, made with these arguments."""
    return get_model_builder(name)(**config)


def get_model_weights(name):
    """The weights there are for a model, given by its name or by the function that makes it."""
    return _entry(name if isinstance(name, str) else name.__name__)[1]


def get_weight(name):
    """Weights by name, such as "ResNet50_Weights.IMAGENET1K_V2"."""
    enum_name, _, value = name.partition(".")
    if not value:
        raise ValueError(f"Invalid weight name provided: '{name}'.")
    for _, weights_class, _ in _MODELS.values():
        if weights_class is not None and weights_class.__name__ == enum_name:
            return weights_class[value]
    raise ValueError(f"The weight enum '{enum_name}' for the specific method couldn't be retrieved.")


def list_models(module=None, include=None, exclude=None):
    """The names of the models, sorted: those of a module, those that match a pattern, without others that do."""
    names = set(_MODELS)
    if module is not None:
        names = {name for name in names if _is_of(module, _MODELS[name][2])}
    if include:
        names = {name for name in names if any(fnmatch.fnmatch(name, each) for each in _patterns(include))}
    if exclude:
        names = {name for name in names if not any(fnmatch.fnmatch(name, each) for each in _patterns(exclude))}
    return sorted(names)


def _is_of(module, place):
    return module.__name__ in (place, place.rpartition(".")[0]) or sys.modules.get(place) is module


def _patterns(given):
    return [given] if isinstance(given, str) else given
