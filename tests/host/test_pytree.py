"""Trees of containers: taken apart, put together, mapped."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

from tritorch.utils import _pytree as pytree
from tritorch.utils.pytree import broadcast_prefix

Pair = namedtuple("Pair", ("a", "b"))
TREE = {"a": [1, (2, None)], "b": Pair(3, OrderedDict(z=4, y=5))}


def test_apart_and_together():
    leaves, spec = pytree.tree_flatten(TREE)
    assert leaves == [1, 2, None, 3, 4, 5]
    assert pytree.tree_unflatten(leaves, spec) == TREE
    made = pytree.tree_unflatten(range(6), spec)
    assert type(made["b"]) is Pair
    assert list(made["b"].b) == ["z", "y"]
    assert pytree.tree_leaves(defaultdict(list, {"q": 1})) == [1]
    assert pytree.tree_map(lambda x: x + 1, deque([1], maxlen=3)) == deque([2], maxlen=3)
    assert str(pytree.tree_structure(([1, 2], 3))) == "TreeSpec(tuple, None, [TreeSpec(list, None, [*,\n    *]),\n  *])"
    assert pytree.tree_structure((1, 2)) == pytree.tree_structure((3, 4))
    assert pytree.tree_structure((1, 2)) != pytree.tree_structure([3, 4])
    with pytest.raises(ValueError, match="`leaves` has length 1 but the spec refers to a pytree that holds 6 items"):
        pytree.tree_unflatten([1], spec)


def test_maps():
    assert pytree.tree_map(lambda x, y: (x, y), [1, 2], [3, [4, 5]]) == [(1, 3), (2, [4, 5])]
    assert pytree.tree_map(lambda x, y: x - y, {"a": 1, "b": 2}, {"b": 2, "a": 0}) == {"a": 1, "b": 0}
    assert pytree.tree_map_only(int, lambda x: -x, [1, "a", 2.0]) == [-1, "a", 2.0]
    assert pytree.tree_leaves([(1, 2), 3], is_leaf=lambda x: isinstance(x, tuple)) == [(1, 2), 3]
    assert pytree.tree_all(lambda x: x > 0, [1, 2])
    assert not pytree.tree_any(lambda x: x > 2, [1, 2])
    with pytest.raises(ValueError, match="Node type mismatch; expected <class 'list'>, but got <class 'tuple'>"):
        pytree.tree_map(lambda x, y: x, [1, 2], (1, 2))
    with pytest.raises(ValueError, match="Node arity mismatch; expected 2, but got 1"):
        pytree.tree_map(lambda x, y: x, [1, 2], [1])


def test_prefixes():
    spec = pytree.tree_structure(({"a": 1, "b": 2}, 3))
    assert broadcast_prefix(0, spec) == [0, 0, 0]
    assert broadcast_prefix((None, 1), spec) == [None, None, 1]
    assert broadcast_prefix(({"a": 0, "b": None}, 1), spec) == [0, None, 1]
    assert broadcast_prefix((0,), spec) is None
    assert broadcast_prefix([0, 1], spec) is None


def test_a_class_can_become_a_container():
    class Box:
        def __init__(self, content):
            self.content = content

    pytree.register_pytree_node(Box, lambda box: ([box.content], None), lambda children, _: Box(*children))
    assert pytree.tree_leaves([Box(3), 4]) == [3, 4]
    assert pytree.tree_map(lambda x: x + 1, Box(3)).content == 4
    with pytest.raises(ValueError, match="already registered"):
        pytree.register_pytree_node(Box, None, None)
