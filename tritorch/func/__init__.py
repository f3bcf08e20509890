"""Transforms of functions, as torch.func has them: derivatives, and maps over batches, that nest in any order."""

from __future__ import annotations

from tritorch.func.jacobians import hessian as hessian
from tritorch.func.jacobians import jacfwd as jacfwd
from tritorch.func.jacobians import jacrev as jacrev
from tritorch.func.modules import functional_call as functional_call
from tritorch.func.modules import stack_module_state as stack_module_state
from tritorch.func.transforms import grad as grad
from tritorch.func.transforms import grad_and_value as grad_and_value
from tritorch.func.transforms import jvp as jvp
from tritorch.func.transforms import linearize as linearize
from tritorch.func.transforms import vjp as vjp
from tritorch.func.vmap import vmap as vmap
