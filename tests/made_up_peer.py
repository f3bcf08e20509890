"""This library in torch's place, so that a comparison can be tested without PyTorch, and made to go wrong."""

from __future__ import annotations

from types import SimpleNamespace

import tritorch


class Stand:
    """A library with some of its names replaced, the others those of tritorch."""

    def __init__(self, place=tritorch, **replaced):
        self._place = place
        vars(self).update(replaced)

    def __getattr__(self, name):
        return getattr(self._place, name)


def stand_in(**replaced):
    """What is imported as "torch": switches of its own, and tritorch's functions."""
    made = Stand(
        __version__="made up",
        backends=SimpleNamespace(
            cudnn=SimpleNamespace(allow_tf32=True, benchmark=False),
            cuda=SimpleNamespace(
                matmul=SimpleNamespace(
                    allow_bf16_reduced_precision_reduction=True, allow_fp16_reduced_precision_reduction=True
                )
            ),
        ),
        products="medium",
    )
    made.get_float32_matmul_precision = lambda: made.products
    made.set_float32_matmul_precision = lambda value: setattr(made, "products", value)
    vars(made).update(replaced)
    return made


def install(monkeypatch, lib):
    """Let `--against torch` find `lib`, whether or not PyTorch is installed."""
    from tritorch.bench import peer

    monkeypatch.setattr(peer, "importlib", SimpleNamespace(import_module=lambda name: lib))
    return lib
