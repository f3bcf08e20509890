"""Helpers on parameters: clipping gradients, and all parameters as one vector."""

from __future__ import annotations

from tritorch.nn.utils.clip import clip_grad_norm as clip_grad_norm
from tritorch.nn.utils.clip import clip_grad_norm_ as clip_grad_norm_
from tritorch.nn.utils.clip import clip_grad_value_ as clip_grad_value_
from tritorch.nn.utils.clip import get_total_norm as get_total_norm
from tritorch.nn.utils.vector import parameters_to_vector as parameters_to_vector
from tritorch.nn.utils.vector import vector_to_parameters as vector_to_parameters
