"""Models as ONNX files, which onnxruntime and other programs run; needs the extra `onnx`."""

from __future__ import annotations

try:
    import onnx as _onnx  # noqa: F401, asked for here so that the error can say what to do
except ImportError as error:
    raise ImportError("tritorch.onnx needs onnx: pip install 'tritorch[onnx]' or pip install onnx") from error

from tritorch.onnx import translations as translations
from tritorch.onnx.export import ONNXProgram as ONNXProgram
from tritorch.onnx.export import TrainingMode as TrainingMode
from tritorch.onnx.export import _export as _export
from tritorch.onnx.export import export as export
from tritorch.onnx.export import is_in_onnx_export as is_in_onnx_export
from tritorch.onnx.registry import UnsupportedOperatorError as UnsupportedOperatorError
from tritorch.onnx.registry import translates as translates
