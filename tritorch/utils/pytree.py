"""Trees of containers: nested tuples, lists and dicts taken apart into leaves and put together again.

What is no container is a leaf, None too. `register_pytree_node` makes another class a container.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from typing import NamedTuple


class Container(NamedTuple):
    """How a class of containers comes apart into (children, context), and together from (children, context)."""

    flatten: object
    unflatten: object


class TreeSpec:
    """The shape of a tree: the class of its root, what else that needs to be made again, and its children's shapes."""

    def __init__(self, type, context, children_specs):
        self.type, self.context, self.children_specs = type, context, children_specs
        self.num_leaves = sum(child.num_leaves for child in children_specs) if type is not None else 1
        self.num_children = len(children_specs)

    @property
    def names(self):
        """The keys of a dict, in order."""
        return self.context[1] if self.type is defaultdict else self.context

    def is_leaf(self):
        """Whether it is one leaf."""
        return self.type is None

    def __eq__(self, other):
        if not isinstance(other, TreeSpec):
            return NotImplemented
        mine, its = (self.type, self.context), (other.type, other.context)
        return mine == its and self.children_specs == other.children_specs

    def __hash__(self):
        return hash((self.type, self.num_leaves, self.num_children))

    def __repr__(self, indent=0):
        if self.is_leaf():
            return "*"
        deeper = indent + 2
        parts = f",\n{' ' * deeper}".join(child.__repr__(deeper) for child in self.children_specs)
        name = self.type.__name__ if self.type in CONTAINERS else "namedtuple"
        return f"TreeSpec({name}, {self.context}, [{parts}])"


class LeafSpec(TreeSpec):
    """The shape of one leaf."""

    def __init__(self):
        super().__init__(None, None, [])


LEAF = LeafSpec()


def _make_dict(values, keys):
    return dict(zip(keys, values, strict=True))


CONTAINERS = {
    tuple: Container(lambda t: (list(t), None), lambda values, _: tuple(values)),
    list: Container(lambda t: (t, None), lambda values, _: list(values)),
    dict: Container(lambda t: (list(t.values()), list(t)), _make_dict),
    OrderedDict: Container(
        lambda t: (list(t.values()), list(t)), lambda values, keys: OrderedDict(_make_dict(values, keys))
    ),
    defaultdict: Container(
        lambda t: (list(t.values()), [t.default_factory, list(t)]),
        lambda values, context: defaultdict(context[0], _make_dict(values, context[1])),
    ),
    deque: Container(lambda t: (list(t), t.maxlen), deque),
}
_NAMED = Container(lambda t: (list(t), type(t)), lambda values, cls: cls._make(values))


def register_pytree_node(cls, flatten_fn, unflatten_fn, **options):
    """Make `cls` a container: flatten_fn(object) gives (children, context), unflatten_fn(children, context) it again.

    Options of PyTorch's about serialised names are taken and have no effect.
    """
    if cls in CONTAINERS:
        raise ValueError(f"{cls} is already registered as pytree node.")
    CONTAINERS[cls] = Container(flatten_fn, unflatten_fn)


def _container(tree):
    kind = type(tree)
    found = CONTAINERS.get(kind)
    if found is None and isinstance(tree, tuple) and hasattr(kind, "_make"):
        return _NAMED
    return found


def tree_flatten(tree, is_leaf=None):
    """The leaves of a tree, in order, and its shape."""
    leaves = []
    return leaves, _take_apart(tree, leaves, is_leaf)


def _take_apart(tree, leaves, is_leaf):
    container = None if is_leaf is not None and is_leaf(tree) else _container(tree)
    if container is None:
        leaves.append(tree)
        return LEAF
    children, context = container.flatten(tree)
    return TreeSpec(type(tree), context, [_take_apart(child, leaves, is_leaf) for child in children])


def tree_unflatten(leaves, treespec):
    """The tree of this shape with these leaves."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree that "
            f"holds {treespec.num_leaves} items ({treespec})."
        )
    return _put_together(iter(leaves), treespec)


def _put_together(leaves, spec):
    if spec.is_leaf():
        return next(leaves)
    children = [_put_together(leaves, child) for child in spec.children_specs]
    return CONTAINERS.get(spec.type, _NAMED).unflatten(children, spec.context)


def tree_leaves(tree, is_leaf=None):
    """The leaves of a tree, in order."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree, is_leaf=None):
    """The shape of a tree."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func, tree, *rests, is_leaf=None):
    """The tree with func(leaf, ...) for each leaf, and what stands at its place in `rests`."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = []
    for rest in rests:
        others.append([])
        _take_apart_as(spec, rest, others[-1])
    return tree_unflatten([func(*each) for each in zip(leaves, *others, strict=True)], spec)


def _take_apart_as(spec, tree, found):
    """What stands in a tree where `spec` has its leaves."""
    if spec.is_leaf():
        found.append(tree)
        return
    if type(tree) is not spec.type:
        raise ValueError(f"Node type mismatch; expected {spec.type!r}, but got {type(tree)!r}.")
    children, context = _container(tree).flatten(tree)
    if len(children) != spec.num_children:
        raise ValueError(f"Node arity mismatch; expected {spec.num_children}, but got {len(children)}.")
    if context != spec.context and isinstance(tree, dict):
        if set(tree) != set(spec.names):
            raise ValueError(f"Node keys mismatch; expected {list(spec.names)}, but got {list(tree)}.")
        children = [tree[key] for key in spec.names]
    for child, part in zip(children, spec.children_specs, strict=True):
        _take_apart_as(part, child, found)


def tree_map_only(kind, func, tree, is_leaf=None):
    """The tree with func(leaf) for each leaf that is an instance of `kind`, a class or several."""
    return tree_map(lambda leaf: func(leaf) if isinstance(leaf, kind) else leaf, tree, is_leaf=is_leaf)


def tree_all(predicate, tree, is_leaf=None):
    """Whether predicate(leaf) for all leaves."""
    return all(predicate(leaf) for leaf in tree_leaves(tree, is_leaf))


def tree_any(predicate, tree, is_leaf=None):
    """Whether predicate(leaf) for any leaf."""
    return any(predicate(leaf) for leaf in tree_leaves(tree, is_leaf))


def broadcast_prefix(prefix, spec):
    """The leaves of `prefix`, a tree that is cut off earlier than `spec`, once for each leaf below; None if it is not.

    None and other values that are no containers are leaves.
    """
    container = _container(prefix)
    if container is None:
        return [prefix] * spec.num_leaves
    children, context = container.flatten(prefix)
    if spec.type is not type(prefix) or context != spec.context or len(children) != spec.num_children:
        return None
    found = []
    for child, part in zip(children, spec.children_specs, strict=True):
        leaves = broadcast_prefix(child, part)
        if leaves is None:
            return None
        found.extend(leaves)
    return found
