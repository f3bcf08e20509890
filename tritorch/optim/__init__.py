"""Optimizers: each updates all parameters of a group in one launch, but for those that say why they cannot."""

from __future__ import annotations

from tritorch.optim import lr_scheduler as lr_scheduler
from tritorch.optim._adafactor import Adafactor as Adafactor
from tritorch.optim._muon import Muon as Muon
from tritorch.optim.adadelta import Adadelta as Adadelta
from tritorch.optim.adagrad import Adagrad as Adagrad
from tritorch.optim.adam import Adam as Adam
from tritorch.optim.adamax import Adamax as Adamax
from tritorch.optim.adamw import AdamW as AdamW
from tritorch.optim.asgd import ASGD as ASGD
from tritorch.optim.lbfgs import LBFGS as LBFGS
from tritorch.optim.nadam import NAdam as NAdam
from tritorch.optim.optimizer import Optimizer as Optimizer
from tritorch.optim.radam import RAdam as RAdam
from tritorch.optim.rmsprop import RMSprop as RMSprop
from tritorch.optim.rprop import Rprop as Rprop
from tritorch.optim.sgd import SGD as SGD
from tritorch.optim.sparse_adam import SparseAdam as SparseAdam
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)  # swa_utils, which needs the layers
