"""What layers inside of a network compute, beside or in place of its result: by hooks on its modules."""

from __future__ import annotations

from collections import OrderedDict

from tritorch import nn

__all__ = ["create_feature_extractor", "get_graph_node_names"]


def get_graph_node_names(model, tracer_kwargs=None, suppress_diff_warning=False, concrete_args=None):
    """The names of the modules whose results can be asked for, for training and for evaluation: here the same."""
    names = [name for name, _ in model.named_modules() if name]
    return names, list(names)


class _FeatureExtractor(nn.Module):
    """A network whose result is a dictionary of what some of its modules gave."""

    def __init__(self, model, return_nodes):
        super().__init__()
        self.model, self.return_nodes = model, return_nodes

    def forward(self, *args, **kwargs):
        modules, found = dict(self.model.named_modules()), {}

        def keep(name):
            def hook(module, inputs, output):
                found[name] = output

            return hook

        handles = [modules[node].register_forward_hook(keep(node)) for node in self.return_nodes]
        try:
            self.model(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        return {key: found[node] for node, key in self.return_nodes.items() if node in found}


def create_feature_extractor(model, return_nodes=None, train_return_nodes=None, eval_return_nodes=None, **kwargs):
    """A module that runs `model` and returns {key: result of the module of that name} for {name: key} or [name].

    A name stands for a module, "layer4" or "features.3", as in `named_modules`; functions called in between have none.
    """
    nodes = next((each for each in (return_nodes, eval_return_nodes, train_return_nodes) if each is not None), None)
    if nodes is None:
        raise ValueError(
            "Either `return_nodes` or `train_return_nodes` and `eval_return_nodes` together, should be specified"
        )
    pairs = nodes.items() if isinstance(nodes, dict) else zip(nodes, nodes, strict=True)
    nodes = {name: str(key) for name, key in pairs}
    known = dict(model.named_modules())
    for name in nodes:
        if name not in known:
            raise ValueError(
                f"node: '{name}' is not present in model. Hint: use `get_graph_node_names` to make sure the "
                "`return_nodes` you specified are present."
            )
    return _FeatureExtractor(model, nodes)


class IntermediateLayerGetter(nn.ModuleDict):
    """The first layers of a network, up to the last that is asked for; the results of those that are, by new names."""

    def __init__(self, model, return_layers):
        if not set(return_layers).issubset(name for name, _ in model.named_children()):
            raise ValueError("return_layers are not present in model")
        wanted, layers = {str(name) for name in return_layers}, OrderedDict()
        for name, module in model.named_children():
            layers[name] = module
            wanted.discard(name)
            if not wanted:
                break
        super().__init__(layers)
        self.return_layers = {str(name): str(key) for name, key in return_layers.items()}

    def forward(self, x):
        found = OrderedDict()
        for name, module in self.items():
            x = module(x)
            if name in self.return_layers:
                found[self.return_layers[name]] = x
        return found
