"""What layers print, and the names and shapes of what they save, in PyTorch's order."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn.parameter import is_lazy

LAYERS = [
    (lambda: nn.AdaptiveAvgPool2d((3, None)), "AdaptiveAvgPool2d(output_size=(3, None))", {}),
    (lambda: nn.AdaptiveMaxPool1d(3), "AdaptiveMaxPool1d(output_size=3)", {}),
    (lambda: nn.AlphaDropout(0.2, True), "AlphaDropout(p=0.2, inplace=True)", {}),
    (lambda: nn.AvgPool1d(2), "AvgPool1d(kernel_size=(2,), stride=(2,), padding=(0,))", {}),
    (lambda: nn.AvgPool2d((2, 3), 1, 1), "AvgPool2d(kernel_size=(2, 3), stride=1, padding=1)", {}),
    (
        lambda: nn.BatchNorm1d(4),
        "BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
        {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,), "num_batches_tracked": ()},
    ),
    (
        lambda: nn.BatchNorm2d(4, affine=False, momentum=None),
        "BatchNorm2d(4, eps=1e-05, momentum=None, affine=False, bias=False, track_running_stats=True)",
        {"running_mean": (4,), "running_var": (4,), "num_batches_tracked": ()},
    ),
    (
        lambda: nn.BatchNorm3d(4, track_running_stats=False, bias=False),
        "BatchNorm3d(4, eps=1e-05, momentum=0.1, affine=True, bias=False, track_running_stats=False)",
        {"weight": (4,)},
    ),
    (
        lambda: nn.Bilinear(2, 3, 4),
        "Bilinear(in1_features=2, in2_features=3, out_features=4, bias=True)",
        {"weight": (4, 2, 3), "bias": (4,)},
    ),
    (lambda: nn.CELU(0.5, True), "CELU(alpha=0.5, inplace=True)", {}),
    (lambda: nn.ChannelShuffle(2), "ChannelShuffle(groups=2)", {}),
    (lambda: nn.CircularPad2d(1), "CircularPad2d((1, 1, 1, 1))", {}),
    (lambda: nn.ConstantPad1d(1, 2.5), "ConstantPad1d(padding=(1, 1), value=2.5)", {}),
    (
        lambda: nn.Conv1d(4, 6, 3, padding="same", dilation=2),
        "Conv1d(4, 6, kernel_size=(3,), stride=(1,), padding=same, dilation=(2,))",
        {"weight": (6, 4, 3), "bias": (6,)},
    ),
    (
        lambda: nn.Conv2d(
            4, 6, (3, 5), stride=2, padding=(1, 2), dilation=(2, 1), groups=2, bias=False, padding_mode="reflect"
        ),
        (
            "Conv2d(4, 6, kernel_size=(3, 5), stride=(2, 2), padding=(1, 2), dilation=(2, 1), groups=2, "
            "bias=False, padding_mode=reflect)"
        ),
        {"weight": (6, 2, 3, 5)},
    ),
    (
        lambda: nn.Conv3d(2, 3, 3),
        "Conv3d(2, 3, kernel_size=(3, 3, 3), stride=(1, 1, 1))",
        {"weight": (3, 2, 3, 3, 3), "bias": (3,)},
    ),
    (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2, padding=1),
        "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1), groups=2)",
        {"weight": (4, 3, 3, 3), "bias": (6,)},
    ),
    (lambda: nn.CosineSimilarity(0), "CosineSimilarity()", {}),
    (lambda: nn.CrossMapLRN2d(3), "CrossMapLRN2d(3, alpha=0.0001, beta=0.75, k=1)", {}),
    (lambda: nn.CTCLoss(), "CTCLoss()", {}),
    (
        lambda: nn.EmbeddingBag(5, 4, padding_idx=-1, max_norm=1.0, mode="sum"),
        "EmbeddingBag(5, 4, max_norm=1.0, mode='sum', padding_idx=4)",
        {"weight": (5, 4)},
    ),
    (
        lambda: nn.Embedding(5, 4, padding_idx=-1, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True, sparse=True),
        "Embedding(5, 4, padding_idx=4, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True, sparse=True)",
        {"weight": (5, 4)},
    ),
    (lambda: nn.Fold(4, 2), "Fold(output_size=4, kernel_size=2, dilation=1, padding=0, stride=1)", {}),
    (lambda: nn.FractionalMaxPool2d(2, output_ratio=0.5), "FractionalMaxPool2d()", {}),
    (lambda: nn.GLU(1), "GLU(dim=1)", {}),
    (
        lambda: nn.GRU(3, 4, 2, False),
        "GRU(3, 4, num_layers=2, bias=False)",
        {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "weight_ih_l1": (12, 4), "weight_hh_l1": (12, 4)},
    ),
    (
        lambda: nn.GRUCell(3, 4),
        "GRUCell(3, 4)",
        {"weight_ih": (12, 3), "weight_hh": (12, 4), "bias_ih": (12,), "bias_hh": (12,)},
    ),
    (lambda: nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)", {"weight": (4,), "bias": (4,)}),
    (lambda: nn.Hardshrink(1), "Hardshrink(1)", {}),
    (lambda: nn.Hardswish(True), "Hardswish()", {}),
    (lambda: nn.Hardtanh(-2.0, 2.0, True), "Hardtanh(min_val=-2.0, max_val=2.0, inplace=True)", {}),
    (
        lambda: nn.InstanceNorm2d(4),
        "InstanceNorm2d(4, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=False)",
        {},
    ),
    (
        lambda: nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
        "InstanceNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
        {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,), "num_batches_tracked": ()},
    ),
    (
        lambda: nn.LayerNorm([3, 4], 1e-3, bias=False),
        "LayerNorm((3, 4), eps=0.001, elementwise_affine=True, bias=False)",
        {"weight": (3, 4)},
    ),
    (
        lambda: nn.LazyBatchNorm2d(),
        "LazyBatchNorm2d(0, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
        {"weight": None, "bias": None, "running_mean": None, "running_var": None, "num_batches_tracked": ()},
    ),
    (
        lambda: nn.LazyConv2d(6, 3),
        "LazyConv2d(0, 6, kernel_size=(3, 3), stride=(1, 1))",
        {"weight": None, "bias": None},
    ),
    (
        lambda: nn.LazyConvTranspose1d(6, 3, bias=False),
        "LazyConvTranspose1d(0, 6, kernel_size=(3,), stride=(1,), bias=False)",
        {"weight": None},
    ),
    (
        lambda: nn.LazyInstanceNorm1d(),
        "LazyInstanceNorm1d(0, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
        {"weight": None, "bias": None, "running_mean": None, "running_var": None, "num_batches_tracked": ()},
    ),
    (lambda: nn.LazyLinear(4), "LazyLinear(in_features=0, out_features=4, bias=True)", {"weight": None, "bias": None}),
    (
        lambda: nn.LinearCrossEntropyLoss(3, 4, out_features=(2,), bias=True),
        (
            "LinearCrossEntropyLoss(\n  in_features=3, num_classes=4, out_features=(2,), bias=True, "
            "reduction=mean, ignore_index=None, label_smoothing=0.0, "
            "options=None\n  (linear): Linear(in_features=3, out_features=8, bias=True)\n)"
        ),
        {"linear.weight": (8, 3), "linear.bias": (8,)},
    ),
    (lambda: nn.LocalResponseNorm(3), "LocalResponseNorm(3, alpha=0.0001, beta=0.75, k=1.0)", {}),
    (lambda: nn.LPPool2d(2, 3), "LPPool2d(norm_type=2, kernel_size=3, stride=None, ceil_mode=False)", {}),
    (
        lambda: nn.LSTM(3, 4, bidirectional=True, proj_size=2, batch_first=True),
        "LSTM(3, 4, proj_size=2, batch_first=True, bidirectional=True)",
        {
            "weight_ih_l0": (16, 3),
            "weight_hh_l0": (16, 2),
            "bias_ih_l0": (16,),
            "bias_hh_l0": (16,),
            "weight_hr_l0": (2, 4),
            "weight_ih_l0_reverse": (16, 3),
            "weight_hh_l0_reverse": (16, 2),
            "bias_ih_l0_reverse": (16,),
            "bias_hh_l0_reverse": (16,),
            "weight_hr_l0_reverse": (2, 4),
        },
    ),
    (lambda: nn.LSTMCell(3, 4, False), "LSTMCell(3, 4, bias=False)", {"weight_ih": (16, 3), "weight_hh": (16, 4)}),
    (lambda: nn.MaxPool1d(2), "MaxPool1d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)", {}),
    (lambda: nn.MaxUnpool2d((2, 3), 1, 1), "MaxUnpool2d(kernel_size=(2, 3), stride=(1, 1), padding=(1, 1))", {}),
    (
        lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True),
        (
            "MultiheadAttention(\n  (out_proj): NonDynamicallyQuantizableLinear(in_features=4, out_features=4, "
            "bias=True)\n)"
        ),
        {
            "in_proj_weight": (12, 4),
            "in_proj_bias": (12,),
            "bias_k": (1, 1, 4),
            "bias_v": (1, 1, 4),
            "out_proj.weight": (4, 4),
            "out_proj.bias": (4,),
        },
    ),
    (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False),
        (
            "MultiheadAttention(\n  (out_proj): NonDynamicallyQuantizableLinear(in_features=4, out_features=4, "
            "bias=False)\n)"
        ),
        {"q_proj_weight": (4, 4), "k_proj_weight": (4, 3), "v_proj_weight": (4, 5), "out_proj.weight": (4, 4)},
    ),
    (lambda: nn.PReLU(3), "PReLU(num_parameters=3)", {"weight": (3,)}),
    (lambda: nn.PairwiseDistance(), "PairwiseDistance()", {}),
    (lambda: nn.PixelShuffle(2), "PixelShuffle(upscale_factor=2)", {}),
    (lambda: nn.PixelUnshuffle(3), "PixelUnshuffle(downscale_factor=3)", {}),
    (lambda: nn.ReLU6(True), "ReLU6(inplace=True)", {}),
    (lambda: nn.ReflectionPad1d((1, 2)), "ReflectionPad1d((1, 2))", {}),
    (lambda: nn.ReplicationPad3d(1), "ReplicationPad3d((1, 1, 1, 1, 1, 1))", {}),
    (lambda: nn.RMSNorm(3), "RMSNorm((3,), eps=None, elementwise_affine=True)", {"weight": (3,)}),
    (
        lambda: nn.RNN(3, 4, 1, "relu"),
        "RNN(3, 4)",
        {"weight_ih_l0": (4, 3), "weight_hh_l0": (4, 4), "bias_ih_l0": (4,), "bias_hh_l0": (4,)},
    ),
    (
        lambda: nn.RNNCell(3, 4, False, "relu"),
        "RNNCell(3, 4, bias=False, nonlinearity=relu)",
        {"weight_ih": (4, 3), "weight_hh": (4, 4)},
    ),
    (lambda: nn.RReLU(0.1, 0.2, True), "RReLU(lower=0.1, upper=0.2, inplace=True)", {}),
    (lambda: nn.SmoothL1Loss(), "SmoothL1Loss()", {}),
    (lambda: nn.Softplus(2, 10), "Softplus(beta=2, threshold=10)", {}),
    (lambda: nn.Softshrink(), "Softshrink(0.5)", {}),
    (
        lambda: nn.SyncBatchNorm(4),
        "SyncBatchNorm(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
        {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,), "num_batches_tracked": ()},
    ),
    (lambda: nn.Threshold(1, 2, True), "Threshold(threshold=1, value=2, inplace=True)", {}),
    (
        lambda: nn.TripletMarginWithDistanceLoss(),
        "TripletMarginWithDistanceLoss(\n  (distance_function): PairwiseDistance()\n)",
        {},
    ),
    (lambda: nn.Unflatten(1, (2, 3)), "Unflatten(dim=1, unflattened_size=(2, 3))", {}),
    (lambda: nn.Unfold(2), "Unfold(kernel_size=2, dilation=1, padding=0, stride=1)", {}),
    (lambda: nn.Upsample((2, 3), mode="bilinear"), "Upsample(size=(2, 3), mode='bilinear')", {}),
    (lambda: nn.UpsamplingNearest2d(scale_factor=2), "UpsamplingNearest2d(scale_factor=2.0, mode='nearest')", {}),
    (lambda: nn.ZeroPad2d(1), "ZeroPad2d((1, 1, 1, 1))", {}),
]


@pytest.mark.parametrize("make, text, state", LAYERS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_layer_prints_and_saves(make, text, state):
    layer = make()
    assert repr(layer) == text
    found = layer.state_dict()
    assert {name: None if is_lazy(value) else tuple(value.shape) for name, value in found.items()} == state
    assert list(found) == list(state)


@pytest.mark.parametrize("make, text, state", LAYERS, ids=lambda value: value if isinstance(value, str) else "")
def test_copies_are_layers_of_their_own(make, text, state):
    layer = make()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(other) == text and list(other.state_dict()) == list(state)
        for mine, its in zip(layer.parameters(), other.parameters(), strict=True):
            assert mine is not its and type(mine) is type(its) and mine.requires_grad == its.requires_grad


DEVICE_AND_DTYPE = [
    (nn.Linear, (3, 4, True)),
    (nn.Bilinear, (2, 3, 4, True)),
    (nn.Conv2d, (2, 3, 1, 1, 0, 1, 1, True, "zeros")),
    (nn.ConvTranspose1d, (2, 3, 1, 1, 0, 0, 1, True, 1, "zeros")),
    (nn.BatchNorm2d, (3, 1e-5, 0.1, True, True)),
    (nn.InstanceNorm1d, (3, 1e-5, 0.1, True, True)),
    (nn.GroupNorm, (1, 3, 1e-5, True)),
    (nn.LayerNorm, (3, 1e-5, True, True)),
    (nn.RMSNorm, (3, None, True)),
    (nn.Embedding, (3, 4, None, None, 2.0, False, False, None, False)),
    (nn.EmbeddingBag, (3, 4, None, 2.0, False, "mean", False, None, False, None)),
    (nn.LSTM, (2, 3, 1, True, False, 0.0, False, 2)),
    (nn.GRU, (2, 3, 1, True, False, 0.0, False, 0)),
    (nn.LSTMCell, (2, 3, True)),
    (nn.MultiheadAttention, (4, 2, 0.0, True, True, False, None, None, False)),
    (nn.TransformerEncoderLayer, (4, 2, 8, 0.1, "gelu", 1e-5, False, False, True)),
    (nn.PReLU, (2, 0.25)),
    (nn.LazyLinear, (4, True)),
    (nn.AdaptiveLogSoftmaxWithLoss, (8, 10, [3, 6], 2.0, True)),
]


@pytest.mark.parametrize("kind, arguments", DEVICE_AND_DTYPE, ids=lambda value: getattr(value, "__name__", ""))
def test_device_and_dtype_by_position(kind, arguments):
    layer = kind(*arguments, "interpreter", torch.float64)
    parameters = list(layer.parameters())
    assert parameters
    assert all(each.device == torch.device("interpreter") and each.dtype is torch.float64 for each in parameters)


def test_every_layer_can_be_imported_from_pytorchs_file():
    from tritorch.nn.modules import activation, container, loss, normalization, rnn, sparse, transformer

    assert activation.MultiheadAttention is nn.MultiheadAttention and loss.CTCLoss is nn.CTCLoss
    assert container.ParameterDict is nn.ParameterDict and normalization.RMSNorm is nn.RMSNorm
    assert rnn.LSTM is nn.LSTM and sparse.EmbeddingBag is nn.EmbeddingBag
    assert transformer.Transformer is nn.Transformer


def test_every_layer_says_what_it_is():
    kinds = [kind for kind in vars(nn).values() if inspect.isclass(kind) and issubclass(kind, nn.Module)]
    assert len(kinds) > 150
    assert all(kind.__doc__ for kind in kinds)
