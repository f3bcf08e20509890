"""ONNX export: onnxruntime computes from the file what the model does, for every family of ops and for whole nets."""

from __future__ import annotations

import io

import numpy as np
import onnx as onnx_library
import onnxruntime
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch import nn, onnx
from tritorch.nn import functional as F

onnxruntime.set_default_logger_severity(3)


def run(file, *inputs):
    """What onnxruntime computes from an exported file."""
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, {name: each.numpy() for name, each in zip(names, inputs, strict=True)})


def exported(model, *inputs, **options):
    file = io.BytesIO()
    onnx.export(model, inputs, file, **options)
    return file


def flat(value):
    return [value] if isinstance(value, torch.Tensor) else [each for part in value for each in flat(part)]


def agree(model, *inputs):
    found = run(exported(model, *inputs), *inputs)
    with torch.no_grad():
        expected = flat(model(*inputs))
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        theirs = theirs.numpy()
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
        relative, absolute = tolerance(theirs.dtype, gradient=True)  # another program, in another order
        np.testing.assert_allclose(mine, theirs, rtol=relative, atol=absolute)


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


IMAGES = {
    "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive": lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, 3), F.adaptive_avg_pool2d(x, 4)),
    "instance_norm": F.instance_norm,
    "group_norm": lambda x: F.group_norm(x, 2, torch.tensor([1.0, 2, 3, 4]), torch.ones(4)),
    "rms_norm": lambda x: F.rms_norm(x, (8,), torch.full((8,), 2.0)),
    "local_response_norm": lambda x: F.local_response_norm(x, 3),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, size=(16, 11), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, size=(5, 5), mode="bicubic"),
    "conv_transpose": lambda x: F.conv_transpose2d(x, torch.ones(4, 3, 3, 3), stride=2, padding=1, output_padding=1),
    "depthwise": lambda x: F.conv2d(x, torch.ones(4, 1, 3, 3), groups=4, padding="same", dilation=2),
    "glu": lambda x: F.glu(x, 1),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "masked": lambda x: F.scaled_dot_product_attention(x, x, x, torch.ones(8, 8, dtype=torch.bool).tril()),
    "shared_heads": lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True),
    "prelu": lambda x: F.prelu(x, torch.full((4,), 0.3)),
    "pads": lambda x: (F.pad(x, (1, 2, 0, 1), mode="reflect"), F.pad(x, (1, 2), value=2.0)),
}
ROWS = {
    "arithmetic": lambda x: 2 * x + 1 - x / 3 + x**2 - (-x).abs() * torch.sign(x),
    "rounding": lambda x: (x.floor(), x.ceil(), x.round(), x.trunc(), x % 0.7, torch.fmod(x, 0.7), x // 0.3),
    "selection": lambda x: (torch.where(x > 0, x, 0.0), x.masked_fill(x > 0, -1), x.clamp(0, 1), x.clamp(min=0.1)),
    "comparison": lambda x: (x != 0, (x > 0) & (x <= 1), ~(x < 0), (x > 0).any(1), (x > 9).all()),
    "exponential": lambda x: (x.exp(), x.abs().log1p(), x.expm1(), x.abs().log2(), (x.abs() + 1).rsqrt(), x.erfc()),
    "activations": lambda x: [f(x) for f in (
        F.relu, F.gelu, F.silu, F.elu, F.selu, F.softplus, F.logsigmoid, F.mish, F.hardswish, F.hardsigmoid,
        F.softsign, F.tanhshrink, F.softshrink, F.hardshrink, F.relu6, F.leaky_relu, F.hardtanh, torch.tanh,
    )],
    "thresholds": lambda x: (F.threshold(x, 0.1, 5.0), F.gelu(x, approximate="tanh")),
    "products": lambda x: (torch.einsum("bij,bkj->bik", x, x), x @ x.transpose(1, 2), F.linear(x, torch.ones(2, 5))),
    "sums_with_products": lambda x: (
        torch.addmm(x[0, 0], x[0].t(), x[0], beta=2, alpha=0.5), torch.addmm(x[0, 0], x[0].t(), x[0], beta=0),
        torch.baddbmm(x[:, :1], x.transpose(1, 2), x),
    ),
    "views": lambda x: (x.transpose(1, 2).reshape(2, -1), x[:, :1].expand(-1, 3, -1), x[..., 1:3, None], x[0, ::2, -1],
                        x[:, :1].squeeze(1), x.permute(2, 0, 1), x[0].t(), x.unsqueeze(-1)),
    "joining": lambda x: (torch.cat([x, x], 1), torch.stack([x, x], 1), *x.chunk(3, 1), x.repeat(1, 2, 1)),
    "order": lambda x: (x.flip(1), x.roll(1, 1), x.tril(), x.triu(1), x.topk(2), x.sort(1), x.cumsum(1)),
    "look_ups": lambda x: (x[:, [2, 0]], x[torch.tensor([0, 1]), torch.tensor([1, 2])], x.gather(1, torch.zeros(
        2, 1, 5, dtype=torch.int64))),
    "reductions": lambda x: (x.mean((1, 2)), x.sum(), x.max(1), x.min(), x.argmax(-1), x.argmin(), x.var(1), x.std(),
                             x.norm(dim=-1), x.norm(3, dim=1), x.norm(1), x.amax((0, 1)), x.prod(1)),
    "rows": lambda x: (x.softmax(-1), F.log_softmax(x, 1), x.logsumexp(1), F.layer_norm(x, (5,)), F.normalize(x)),
    "dtypes": lambda x: (x.half().float(), x.long().float() * 0.5, x.double()),
    "in_place": lambda x: x.clone().add_(1).mul_(2),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_ops_on_images(name):
    agree(Calls(IMAGES[name]), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("name", ROWS)
def test_ops_on_rows(name):
    agree(Calls(ROWS[name]), torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(2)))


NETS = {
    "conv": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
                                   nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(96, 3)), (2, 4, 8, 8)),
    "lstm": (lambda: nn.LSTM(5, 4, num_layers=2, batch_first=True, bidirectional=True), (2, 3, 5)),
    "gru": (lambda: nn.GRU(5, 4, bidirectional=True), (3, 2, 5)),
    "rnn": (lambda: nn.RNN(5, 4, nonlinearity="relu"), (3, 2, 5)),
    "transformer": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2,
                                                  enable_nested_tensor=False), (2, 3, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_nets(name):
    make, shape = NETS[name]
    model = make()
    file = exported(model, torch.rand(shape))
    assert all(module.training for module in model.modules())  # exported in eval mode, and put back
    agree(model.eval(), torch.rand(shape))
    assert len(onnx_library.load_from_string(file.getvalue()).graph.node) > 1


def test_weights_keep_their_names_and_constants_are_folded():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.register_buffer("shift", torch.arange(2.0))

        def forward(self, x):
            mask = torch.zeros(2, 2)
            mask[0] = 1.0
            return self.fc(x) + self.shift * 2 @ mask

    graph = onnx_library.load_from_string(exported(Net(), torch.rand(1, 3)).getvalue()).graph
    assert {each.name for each in graph.initializer} == {"fc.weight", "fc.bias", "constant_0"}
    assert [each.op_type for each in graph.node] == ["Gemm", "Add", "Identity"]


def test_names_are_the_callers_and_a_dynamic_batch_takes_other_sizes():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    axes = {"image": {0: "batch"}, "score": [0]}
    file = exported(model, torch.rand(3, 1, 4, 4), input_names=["image"], output_names=["score"], dynamic_axes=axes)
    x = torch.rand(7, 1, 4, 4)
    (found,) = run(file, x)
    assert found.shape == (7, 2)
    graph = onnx_library.load_from_string(file.getvalue()).graph
    assert graph.input[0].name == "image" and graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    with pytest.raises(onnx.UnsupportedOperatorError, match="a constant that Add reads"):
        exported(Calls(lambda x: x + torch.ones(len(x), 1)), torch.rand(3, 2), dynamic_axes={"input_0": [0]})


def test_several_inputs_of_any_nest_and_keywords():
    def net(pair, scale=1.0):
        return {"sum": (pair[0] + pair[1]) * scale, "first": pair[0]}

    a, b, scale = torch.rand(2), torch.rand(2), torch.tensor(3.0)
    file = io.BytesIO()
    onnx.export(Calls(lambda *args, **kwargs: net(*args, **kwargs)), ([a, b], {}), file, kwargs={})
    assert len(run(file, a, b)) == 2
    Named = type("Named", (nn.Module,), {"forward": lambda self, pair, scale: net(pair, scale)})
    file = io.BytesIO()
    onnx.export(Named(), ([a, b], {"scale": scale}), file, output_names=["sum"])
    np.testing.assert_array_equal(run(file, a, b, scale)[0], ((a + b) * scale).numpy())


def test_what_cannot_be_exported_is_named():
    with pytest.raises(onnx.UnsupportedOperatorError, match=r"no translation of the op 'lgamma' to ONNX"):
        exported(Calls(torch.lgamma), torch.rand(2))

    def assigns(x):
        x = x.clone()
        x[:, 0] = 1.0
        return x * 2

    def fills(x):
        buffer = torch.zeros(2, 2)
        row = buffer[0]
        buffer[:, 0] = x[0]
        return x + row

    for function in (assigns, fills):
        with pytest.raises(onnx.UnsupportedOperatorError, match="written in place through an index or a view"):
            exported(Calls(function), torch.rand(2, 2))
    with pytest.raises(ValueError, match="got 2 input names for 1 inputs"):
        exported(Calls(torch.exp), torch.rand(2), input_names=["a", "b"])
    with pytest.raises(ValueError, match="opset_version must be at most"):
        exported(Calls(torch.exp), torch.rand(2), opset_version=999)


def test_a_translation_can_be_added_and_old_opsets_are_raised(tmp_path):
    @onnx.translates("lgamma")
    def lgamma(graph, out, input):
        return graph.node("Abs", input)

    try:
        with pytest.warns(UserWarning, match="opset_version 11 was asked for"):
            found = onnx.export(Calls(torch.lgamma), torch.rand(2), tmp_path / "model.onnx", opset_version=11)
    finally:
        del onnx.registry.TRANSLATIONS[torch.ops.base.TABLE["lgamma"]]
    assert onnx_library.load(tmp_path / "model.onnx") == found.model_proto
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]
    assert not onnx.is_in_onnx_export()
