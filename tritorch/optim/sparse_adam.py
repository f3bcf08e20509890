"""SparseAdam, of which only the constructor is of use here."""

from __future__ import annotations

from tritorch.optim.checks import check_betas, check_one_element
from tritorch.optim.optimizer import Optimizer


class SparseAdam(Optimizer):
    """Adam for sparse gradients, which nothing here gives: a step refuses dense ones, as PyTorch's does."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        check_one_element(lr)
        if not lr > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def update(self, group):
        """Refuse the gradients of the group, if there are any."""
        if any(each._grad is not None for each in group["params"]):
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
