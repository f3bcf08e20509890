"""How the weights of networks for images start where a paper or habit says so."""

from __future__ import annotations

from tritorch import nn


def kaiming_fan_out(network, linear=0.01, linear_bias=True):
    """Convolutions normal by their fan out, norms 1 and 0, linear layers normal with deviation `linear`."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and linear is not None:
            nn.init.normal_(module.weight, 0, linear)
            if linear_bias:
                nn.init.zeros_(module.bias)


def make_divisible(value, divisor=8, least=None):
    """The multiple of `divisor` next to `value`, at least `least`, and not more than a tenth below `value`."""
    found = max(divisor if least is None else least, int(value + divisor / 2) // divisor * divisor)
    return found + divisor if found < 0.9 * value else found
