"""Optimizers: each updates all parameters of a group in one launch."""

from __future__ import annotations

from tritorch.optim import lr_scheduler as lr_scheduler
from tritorch.optim.adam import Adam as Adam
from tritorch.optim.adam import AdamW as AdamW
from tritorch.optim.optimizer import Optimizer as Optimizer
from tritorch.optim.sgd import SGD as SGD
