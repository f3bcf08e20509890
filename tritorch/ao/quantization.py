"""Quantised modules are not here; what makes them says what to do instead."""

from __future__ import annotations

from tritorch.refused import refuse_all

globals().update(
    refuse_all(
        "quantization",
        (
            "quantize", "quantize_dynamic", "quantize_qat", "prepare", "prepare_qat", "convert", "fuse_modules",
            "fuse_modules_qat", "get_default_qconfig", "get_default_qat_qconfig", "get_default_qconfig_mapping",
            "propagate_qconfig_", "swap_module", "QuantStub", "DeQuantStub", "QuantWrapper", "FakeQuantize",
            "MinMaxObserver", "HistogramObserver", "QConfig",
        ),
        "train and run in float32, float16 or bfloat16; to quantise, export the model with tritorch.onnx and use a "
        "quantiser for ONNX models.",
    )
)  # fmt: skip
