"""What a model's answer rests on: gradients by the input, integrated gradients, Grad-CAM, and pictures of them."""

from __future__ import annotations

from tritorch.explain.cam import grad_cam as grad_cam
from tritorch.explain.gradients import gradient_times_input as gradient_times_input
from tritorch.explain.gradients import input_gradients as input_gradients
from tritorch.explain.gradients import integrated_gradients as integrated_gradients
from tritorch.explain.gradients import smooth_gradients as smooth_gradients
from tritorch.explain.occlusion import occlusion as occlusion
from tritorch.explain.picture import heat_map as heat_map
from tritorch.explain.picture import save_heat_map as save_heat_map
