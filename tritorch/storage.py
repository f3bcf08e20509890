"""Storages by PyTorch's names: `storage.UntypedStorage`, `storage.TypedStorage`, `storage.FloatStorage`."""

from __future__ import annotations

from tritorch.functional.storage import STORAGES
from tritorch.functional.storage import TypedStorage as TypedStorage
from tritorch.functional.storage import UntypedStorage as UntypedStorage

globals().update({kind.__name__: kind for kind in STORAGES.values()})
