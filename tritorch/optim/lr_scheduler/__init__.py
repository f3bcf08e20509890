"""Learning rate schedulers: each sets the rates of an optimizer's groups, epoch after epoch."""

from __future__ import annotations

from tritorch.optim.lr_scheduler.base import LRScheduler as LRScheduler
from tritorch.optim.lr_scheduler.composed import ChainedScheduler as ChainedScheduler
from tritorch.optim.lr_scheduler.composed import SequentialLR as SequentialLR
from tritorch.optim.lr_scheduler.cyclic import CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts
from tritorch.optim.lr_scheduler.cyclic import CyclicLR as CyclicLR
from tritorch.optim.lr_scheduler.cyclic import OneCycleLR as OneCycleLR
from tritorch.optim.lr_scheduler.decay import ConstantLR as ConstantLR
from tritorch.optim.lr_scheduler.decay import CosineAnnealingLR as CosineAnnealingLR
from tritorch.optim.lr_scheduler.decay import ExponentialLR as ExponentialLR
from tritorch.optim.lr_scheduler.decay import LambdaLR as LambdaLR
from tritorch.optim.lr_scheduler.decay import LinearLR as LinearLR
from tritorch.optim.lr_scheduler.decay import MultiplicativeLR as MultiplicativeLR
from tritorch.optim.lr_scheduler.decay import MultiStepLR as MultiStepLR
from tritorch.optim.lr_scheduler.decay import PolynomialLR as PolynomialLR
from tritorch.optim.lr_scheduler.decay import StepLR as StepLR
from tritorch.optim.lr_scheduler.plateau import ReduceLROnPlateau as ReduceLROnPlateau


class _LRScheduler(LRScheduler):
    """The name that LRScheduler had before PyTorch 2.0, for classes derived from it."""
