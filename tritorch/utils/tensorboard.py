"""Logging for TensorBoard, under PyTorch's names; tensorboardX writes the files (extra `tensorboard`)."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from tritorch.tensor import Tensor

try:
    import tensorboardX
except ImportError as error:
    raise ImportError(
        "tritorch.utils.tensorboard needs tensorboardX: pip install 'tritorch[tensorboard]' or pip install tensorboardX"
    ) from error


def as_arrays(value):
    """Tensors as NumPy arrays, also inside lists, tuples and dictionaries; half precision as float32."""
    if isinstance(value, Tensor):
        value = value.detach()
        return (value.float() if value.dtype.itemsize < 4 and value.dtype.is_floating_point else value).cpu().numpy()
    if isinstance(value, dict):
        return {key: as_arrays(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(as_arrays, value))
    return value


class SummaryWriter(tensorboardX.SummaryWriter):
    """Writes scalars, histograms, images, text and more into a folder that TensorBoard reads.

    What is given may be tensors of any device, numbers or NumPy arrays. Without `log_dir` it is
    runs/DATE_HOST, with `comment` at its end.
    """

    def __init__(self, log_dir=None, comment="", purge_step=None, max_queue=10, flush_secs=120, filename_suffix=""):
        super().__init__(
            logdir=None if log_dir is None else str(log_dir), comment=comment, purge_step=purge_step,
            max_queue=max_queue, flush_secs=flush_secs, filename_suffix=filename_suffix,
        )  # fmt: skip

    @property
    def log_dir(self):
        return self.get_logdir()

    def get_logdir(self):
        """The folder that is written to."""
        return self.logdir

    def add_scalar(self, tag, scalar_value, global_step=None, walltime=None, new_style=False, double_precision=False):
        """One number of a curve; `new_style` and `double_precision` are taken and change nothing."""
        super().add_scalar(tag, float(as_arrays(scalar_value)), global_step, walltime)

    def add_hparams(self, hparam_dict, metric_dict, hparam_domain_discrete=None, run_name=None, global_step=None):
        """What a run was set to, and what came out."""
        numbers = {key: value.item() if isinstance(value, Tensor) else value for key, value in hparam_dict.items()}
        metrics = {key: float(as_arrays(value)) for key, value in metric_dict.items()}
        super().add_hparams(numbers, metrics, run_name, global_step)

    def add_embedding(self, mat, metadata=None, label_img=None, global_step=None, tag="default", metadata_header=None):
        """Points in many dimensions, with labels or pictures, for the projector."""
        super().add_embedding(
            np.asarray(as_arrays(mat)), metadata, as_arrays(label_img), global_step, tag, metadata_header
        )

    def add_graph(self, model, input_to_model=None, verbose=False, use_strict_trace=True):
        """The ops of a model, found by running it once on `input_to_model`; needs the extra `onnx`."""
        from tritorch import onnx

        if input_to_model is None:
            raise ValueError("add_graph() needs input_to_model: the ops are found by running the model")
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.onnx")
            onnx.export(model, input_to_model, path)
            self.add_onnx_graph(path)


def _on_arrays(name):
    base = getattr(tensorboardX.SummaryWriter, name)

    @functools.wraps(base)
    def method(self, *args, **kwargs):
        return base(self, *as_arrays(args), **as_arrays(kwargs))

    return method


for _name in (
    "add_scalars", "add_histogram", "add_image", "add_images", "add_image_with_boxes", "add_video", "add_audio",
    "add_mesh", "add_pr_curve", "add_pr_curve_raw", "add_histogram_raw",
):  # fmt: skip
    setattr(SummaryWriter, _name, _on_arrays(_name))
