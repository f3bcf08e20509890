"""Networks for images: their modules, their keys, what they compute, and how they are named."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch import nn
from tritorch.autograd.intercept import Interceptor
from tritorch.vision import models

# Numbers of parameters as they were published with the weights.
PARAMETERS = {
    "resnet18": 11689512, "resnet50": 25557032, "resnext50_32x4d": 25028904, "mobilenet_v2": 3504872,
    "squeezenet1_0": 1248424, "squeezenet1_1": 1235496, "densenet121": 7978856, "mobilenet_v3_small": 2542856,
    "efficientnet_b0": 5288548, "efficientnet_v2_s": 21458488, "convnext_tiny": 28589128, "inception_v3": 27161264,
    "shufflenet_v2_x0_5": 1366792,
}  # fmt: skip


@pytest.fixture
def quickly_made(monkeypatch):
    """Parameters start with one number instead of millions that are drawn."""
    for name in ("uniform_", "normal_"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *args, **kwargs: self.fill_(0.01))
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, *args, **kwargs: tensor)


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_their_parameters(name, quickly_made):
    assert sum(parameter.numel() for parameter in models.get_model(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1", "resnet18"])
def test_networks_learn(name):
    network = models.get_model(name, num_classes=5)
    scores = network(torch.randn(2, 3, 32, 32))
    assert scores.shape == (2, 5)
    scores.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_keys_are_those_of_the_published_weights(quickly_made):
    keys = list(models.resnet18(num_classes=10).state_dict())
    assert keys[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"] and keys[-2:] == ["fc.weight", "fc.bias"]
    assert {"layer1.0.conv2.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.num_batches_tracked"} <= set(keys)
    assert len(keys) == 122
    keys = models.mobilenet_v2(num_classes=10).state_dict()
    assert {"features.0.0.weight", "features.1.conv.1.weight", "features.18.1.running_var"} <= set(keys)
    vit = models.vit_b_16(image_size=32, num_classes=4).state_dict()
    assert vit["encoder.pos_embedding"].shape == (1, 5, 768) and len(vit) == 152
    assert {"class_token", "encoder.layers.encoder_layer_11.mlp.3.weight", "heads.head.bias"} <= set(vit)


def test_style_transfer_takes_the_first_layers_of_a_vgg(quickly_made):
    network = models.vgg11(num_classes=3)
    assert [type(layer) for layer in network.features[:3]] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    first = network.features[:6].eval()
    assert first(torch.rand(1, 3, 32, 32)).shape == (1, 128, 8, 8)
    assert network.classifier[6].out_features == 3
    shapes = [module.weight.shape[0] for module in network.features if isinstance(module, nn.Conv2d)]
    assert shapes == [64, 128, 256, 256, 512, 512, 512, 512]


def test_a_residual_block_adds_its_input():
    block = models.resnet.BasicBlock(4, 4).eval()
    with torch.no_grad():
        block.bn2.weight.zero_()
    x = torch.rand(1, 4, 5, 5)
    assert (block(x) == x).all()
    network = models.resnet.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], 2, zero_init_residual=True)
    assert all((module.bn3.weight == 0).all() for module in network.modules() if hasattr(module, "bn3"))


def test_dilation_replaces_strides(quickly_made):
    network = models.resnet50(num_classes=2, replace_stride_with_dilation=[False, True, True])
    assert network.layer3[0].conv2.stride == (1, 1) and network.layer4[1].conv2.dilation == (4, 4)
    with pytest.raises(ValueError, match="replace_stride_with_dilation should be None or a 3-element tuple, got"):
        models.resnet18(replace_stride_with_dilation=[True])
    with pytest.raises(NotImplementedError, match="Dilation > 1 not supported in BasicBlock"):
        models.resnet18(replace_stride_with_dilation=[True, False, False])
    with pytest.raises(ValueError, match="BasicBlock only supports groups=1 and base_width=64"):
        models.resnet18(groups=2)


def test_a_transformer_reads_the_keys_of_older_files():
    block = models.vision_transformer.MLPBlock(4, 8, 0.0)
    renamed = {"0.": "linear_1.", "3.": "linear_2."}
    old = {renamed[key[:2]] + key[2:]: value + 1 for key, value in block.state_dict().items()}
    block.load_state_dict(old)
    assert (block[0].weight == old["linear_1.weight"]).all()


def test_a_densenet_reads_the_keys_of_published_files():
    network = models.densenet.DenseNet(4, (1, 1), 8, num_classes=2)
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value + 1
        for key, value in network.state_dict().items()
        if not key.endswith("norm1.num_batches_tracked")  # which those files do not have
    }
    keys = network.load_state_dict(old, strict=False)
    assert keys.unexpected_keys == [] and all(key.endswith("num_batches_tracked") for key in keys.missing_keys)
    assert (network.features.denseblock1.denselayer1.norm1.weight == 2).all()


# ------------------------------------------------------------------------------------------------ weights


def test_weights_are_fetched_and_loaded(monkeypatch, quickly_made):
    asked = []

    def fetched(url, *args, **kwargs):
        asked.append((url, kwargs))
        return {key: value + 1 for key, value in base.state_dict().items()}

    base = models.squeezenet1_1()
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda self, **kwargs: fetched(self.url, **kwargs))
    for given in (models.SqueezeNet1_1_Weights.IMAGENET1K_V1, "DEFAULT", "SqueezeNet1_1_Weights.IMAGENET1K_V1"):
        network = models.squeezenet1_1(weights=given)
        assert (network.features[0].weight == base.features[0].weight + 1).all()
    url = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
    assert asked == [(url, {"progress": True, "check_hash": True})] * 3
    with pytest.warns(UserWarning) as warned:
        models.squeezenet1_1(pretrained=True)
    assert "The parameter 'pretrained' is deprecated since 0.13" in str(warned[0].message)
    assert "passing `weights=SqueezeNet1_1_Weights.IMAGENET1K_V1`. You can also use" in str(warned[1].message)
    with pytest.warns(UserWarning):
        models.squeezenet1_1(pretrained=False)
    assert len(asked) == 4
    with pytest.raises(ValueError, match="The parameter 'num_classes' expected value 1000 but got 10 instead"):
        models.squeezenet1_1(weights="DEFAULT", num_classes=10)
    with pytest.raises(TypeError, match="expected SqueezeNet1_1_Weights but received ResNet18_Weights"):
        models.squeezenet1_1(weights=models.ResNet18_Weights.DEFAULT)
    with pytest.raises(ValueError, match="No weights available for model lenet"):
        models.lenet(weights="DEFAULT")


def test_what_is_read_from_a_file_is_not_drawn(monkeypatch):
    base = models.squeezenet1_1()
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda self, **kwargs: base.state_dict())
    calls = []

    class Watch(Interceptor):
        def intercept(self, cls, args):
            calls.append(cls)
            return cls.apply(*args)

    torch.manual_seed(5)
    with Watch():
        network = models.squeezenet1_1(weights="DEFAULT")
    state = torch.get_rng_state()
    assert calls and not set(calls) & set(models.registry.DRAWS)
    assert all((value == base.state_dict()[key]).all() for key, value in network.state_dict().items())
    torch.manual_seed(5)
    models.squeezenet1_1()
    assert (torch.get_rng_state() == state).all()  # what is drawn after it is the same


def test_heads_in_the_middle_are_for_training(monkeypatch, quickly_made):
    network = models.googlenet(num_classes=4)
    scores = network(torch.rand(2, 3, 32, 32))
    assert scores._fields == ("logits", "aux_logits2", "aux_logits1") and scores.aux_logits1.shape == (2, 4)
    assert network.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 4)
    whole = models.googlenet()
    assert sum(each.numel() for name, each in whole.named_parameters() if "aux" not in name) == 6624904
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda self, **kwargs: whole.state_dict())
    network = models.googlenet(weights="DEFAULT")
    assert network.aux1 is None and not network.aux_logits and network.transform_input
    with pytest.warns(UserWarning, match="auxiliary heads in the pretrained googlenet model are NOT pretrained"):
        assert models.googlenet(weights="DEFAULT", aux_logits=True).aux1 is not None


def test_weights_know_their_images():
    weights = models.ResNet50_Weights.DEFAULT
    assert weights is models.ResNet50_Weights.IMAGENET1K_V2 is models.get_weight("ResNet50_Weights.IMAGENET1K_V2")
    assert repr(weights) == "ResNet50_Weights.IMAGENET1K_V2" and weights.url.endswith("/resnet50-11ad3fa6.pth")
    transform = weights.transforms()
    assert transform.resize_size == [232] and transform.crop_size == [224]
    image = torch.full((3, 40, 50), 128, dtype=torch.uint8)
    found = weights.transforms(crop_size=8, resize_size=16)(image)
    expected = (np.float32(128 / 255) - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    close(found, np.broadcast_to(expected[:, None, None], (3, 8, 8)))
    with pytest.raises(KeyError, match="the names of ImageNet's 1000 classes are not part of tritorch"):
        weights.meta["categories"]


def test_models_by_name():
    assert {"alexnet", "vgg19_bn", "resnet152", "vit_h_14", "lenet", "unet", "gpt"} <= set(models.list_models())
    assert models.list_models(include="vgg1*_bn") == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert models.list_models(models.resnet, exclude=["resn*"]) == ["wide_resnet101_2", "wide_resnet50_2"]
    assert "resnet18" in models.list_models(module=models)
    assert models.get_model_builder("resnet18") is models.resnet18
    assert models.get_model_weights(models.resnet18) is models.ResNet18_Weights
    with pytest.raises(ValueError, match="Unknown model resnet19"):
        models.get_model("resnet19")
    with pytest.raises(ValueError, match="Invalid weight name provided: 'resnet18'"):
        models.get_weight("resnet18")


# ------------------------------------------------------------------------------------------------ our own


@pytest.mark.parametrize("size", [28, 32])
def test_lenet(size):
    network = models.LeNet(num_classes=7, in_channels=3, image_size=size)
    assert network(torch.rand(2, 3, size, size)).shape == (2, 7)
    assert sum(parameter.numel() for parameter in models.lenet().parameters()) == 61706


def test_unet_gives_each_pixel_scores():
    network = models.UNet(1, 4, widths=(4, 8, 16))
    x = torch.rand(2, 1, 16, 24)
    assert network(x).shape == (2, 4, 16, 24)
    network(x).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with pytest.raises(ValueError, match=r"2 times: got \(16, 22\), and sizes must be multiples of 4"):
        network(torch.rand(1, 1, 16, 22))


def test_gpt_sees_only_what_came_before_and_learns():
    config = models.GPTConfig(block_size=8, vocab_size=11, n_layer=2, n_head=2, n_embd=16)
    network = models.GPT(config)
    assert network.lm_head.weight is network.transformer.wte.weight
    assert "transformer.h.1.attn.c_attn.weight" in network.state_dict()
    tokens = torch.arange(8).remainder(4)[None].repeat(3, 1)
    with torch.no_grad():
        before = network(tokens)[0]
        changed = tokens.clone()
        changed[:, 5] = 10
        after = network(changed)[0]
    close(after[:, :5], before[:, :5].numpy())
    assert (after[:, 5:] != before[:, 5:]).any()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        _, loss = network(tokens[:, :-1], tokens[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert abs(losses[0] - np.log(11)) < 0.3 and losses[-1] < 0.2
    assert network.generate(tokens[:1, :4], 6, top_k=1)[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    with pytest.raises(ValueError, match=r"a sequence of 9 tokens is longer than block_size \(8\)"):
        network(torch.zeros(1, 9, dtype=torch.int64))
