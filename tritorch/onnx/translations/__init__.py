"""What each op is in ONNX, a file a family; importing them enters them in the registry."""

from __future__ import annotations

from tritorch.onnx.translations import convolution as convolution
from tritorch.onnx.translations import index as index
from tritorch.onnx.translations import matrix as matrix
from tritorch.onnx.translations import normalization as normalization
from tritorch.onnx.translations import pointwise as pointwise
from tritorch.onnx.translations import recurrent as recurrent
from tritorch.onnx.translations import reduction as reduction
from tritorch.onnx.translations import shape as shape
