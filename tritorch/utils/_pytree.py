"""PyTorch's name for utils/pytree.py."""

from __future__ import annotations

from tritorch.utils.pytree import LeafSpec as LeafSpec
from tritorch.utils.pytree import TreeSpec as TreeSpec
from tritorch.utils.pytree import register_pytree_node as register_pytree_node
from tritorch.utils.pytree import tree_all as tree_all
from tritorch.utils.pytree import tree_any as tree_any
from tritorch.utils.pytree import tree_flatten as tree_flatten
from tritorch.utils.pytree import tree_leaves as tree_leaves
from tritorch.utils.pytree import tree_map as tree_map
from tritorch.utils.pytree import tree_map_only as tree_map_only
from tritorch.utils.pytree import tree_structure as tree_structure
from tritorch.utils.pytree import tree_unflatten as tree_unflatten
