"""Networks: shapes, padding, conditions, configuration."""

import copy
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from markovbridge.doors.randomness import derive, generator
from markovbridge.networks import MLP, Attention, FourierOperator, Images, Network, UNet
from markovbridge.networks.embedding import TimeEmbedding


def build(make, *args, **kwargs):
    """A network with fixed weights, all of them random: the zeros of the start too."""
    with torch.random.fork_rng():
        torch.manual_seed(derive("networks"))
        network = make(*args, **kwargs)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def small_unet(shape, features, outputs, **kwargs):
    own = {"channels": (8, 16, 16), "layers_per_block": 1} | kwargs
    return UNet(shape, features, outputs, **own)


def small_attention(shape, features, outputs, **kwargs):
    return Attention(shape, features, outputs, **({"width": 16, "depth": 2} | kwargs))


def small_operator(shape, features, outputs, **kwargs):
    own = {"width": 8, "depth": 2, "waves": 3} | kwargs
    return FourierOperator(shape, features, outputs, **own)


def inputs(batch, features, shape, key="inputs"):
    g = generator("cpu", key)
    return torch.randn(batch, features, *shape, generator=g), torch.rand(batch, generator=g)


NETWORKS = [
    pytest.param(MLP, (), id="mlp-scalar"),
    pytest.param(MLP, (5,), id="mlp-vector"),
    pytest.param(MLP, (1, 4, 3), id="mlp-image"),
    pytest.param(small_attention, (), id="attention-scalar"),
    pytest.param(small_attention, (5,), id="attention-vector"),
    pytest.param(small_attention, (1, 4, 3), id="attention-image"),
    pytest.param(small_unet, (1, 28, 28), id="unet-28"),
    pytest.param(small_unet, (3, 9, 14), id="unet-odd"),
    pytest.param(small_unet, (1, 1, 1), id="unet-pixel"),
    pytest.param(small_operator, (2, 9), id="operator-signal"),
    pytest.param(small_operator, (3, 9, 14), id="operator-image"),
]


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_output_has_the_shape_of_the_contract_and_samples_are_independent(make, shape):
    network = build(make, shape, 2, 3)
    x, t = inputs(4, 2, shape)
    out = network(x, t, None)
    assert out.shape == (4, 3, *shape)
    assert out.dtype == torch.float32
    torch.testing.assert_close(network(x[1:2], t[1:2], None), out[1:2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_output_is_zero_before_training_but_has_a_gradient(make, shape):
    network = make(shape, 1, 2)
    x, t = inputs(3, 1, shape)
    out = network(x, t, None)
    assert torch.equal(out, torch.zeros_like(out))
    (out - 1).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_output_depends_on_every_feature_and_on_time(make, shape):
    network = build(make, shape, 2, 1)
    x, t = inputs(2, 2, shape)
    out = network(x, t, None)
    for feature in range(2):
        changed = x.clone()
        changed[:, feature] += 1
        assert (network(changed, t, None) - out).abs().amax() > 1e-4
    assert (network(x, 1 - t, None) - out).abs().amax() > 1e-4


def test_unet_sees_the_corners_of_a_padded_image():
    network = build(small_unet, (1, 9, 14), 1, 1)
    x, t = inputs(1, 1, (1, 9, 14))
    out = network(x, t, None)
    for row, column in [(0, 0), (8, 13), (0, 13), (8, 0)]:
        changed = x.clone()
        changed[..., row, column] += 5
        difference = (network(changed, t, None) - out).abs()[0, 0, 0]
        assert difference[row, column] > 1e-4


def test_unet_entries_keep_channels_and_outputs_apart():
    # (outputs, C) is flattened as outputs * C + c: the inverse of how features enter.
    network = build(small_unet, (3, 8, 8), 1, 2)
    x, t = inputs(1, 1, (3, 8, 8))
    before = network(x, t, None)
    with torch.no_grad():
        network.unet.conv_out.bias[3 + 1] += 10  # output 1, channel 1
    change = network(x, t, None) - before
    assert torch.allclose(change[:, 1, 1], torch.tensor(10.0), atol=1e-4)
    change[:, 1, 1] = 0
    assert torch.allclose(change, torch.zeros(()), atol=1e-4)


def test_unet_attention_is_where_it_is_asked_for():
    def attention(network):
        return [n for n, m in network.named_modules() if type(m).__name__ == "Attention"]

    assert attention(small_unet((1, 8, 8), 1, 1)) == []
    names = attention(small_unet((1, 8, 8), 1, 1, attention=[1]))
    assert all("blocks.1." in name or "mid_block" in name for name in names)
    assert any("down_blocks.1." in name for name in names)
    assert any("up_blocks.1." in name for name in names)
    assert any("mid_block" in name for name in names)


@pytest.mark.parametrize("make", [MLP, small_unet, small_operator])
def test_condition_is_used_and_checked(make):
    network = build(make, (1, 8, 8), 1, 1, condition=3)
    x, t = inputs(2, 1, (1, 8, 8))
    one, other = torch.eye(3)[:2], torch.eye(3)[1:]
    assert (network(x, t, one) - network(x, t, other)).abs().amax() > 1e-4
    with pytest.raises(ValueError, match=r"takes \(batch, 3\)"):
        network(x, t, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="takes no condition"):
        make((1, 8, 8), 1, 1)(x, t, one)


@pytest.mark.parametrize("make", [MLP, small_unet, small_operator])
def test_a_number_may_be_unknown(make):
    network = build(make, (1, 8, 8), 1, 1, condition=2)
    x, t = inputs(2, 1, (1, 8, 8))
    nan, zero = torch.full((2, 2), torch.nan), torch.zeros(2, 2)
    torch.testing.assert_close(network(x, t, None), network(x, t, nan))
    part = torch.tensor([[0.0, torch.nan]]).expand(2, 2)
    given = [network(x, t, condition) for condition in (nan, part, zero)]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert (given[first] - given[second]).abs().amax() > 1e-4


@pytest.mark.parametrize("make", [MLP, small_unet])
def test_dropout_acts_in_training_only(make):
    network = build(make, (1, 8, 8), 1, 1, dropout=0.5)
    x, t = inputs(2, 1, (1, 8, 8))
    assert torch.equal(network(x, t, None), network(x, t, None))
    network.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(network(x, t, None), network(x, t, None))


def test_time_embedding_tells_close_times_apart():
    embedding = TimeEmbedding(32)
    t = torch.linspace(0, 1, 201)
    angles = 1000 * t[:, None] * embedding.frequencies
    code = torch.cat([angles.cos(), angles.sin()], 1)
    distances = torch.cdist(code, code) + 10 * torch.eye(201)
    assert distances.amin() > 0.5
    assert embedding(t).shape == (201, 32)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (MLP, {"width": 16, "depth": 2, "dropout": 0.1, "condition": 2}),
        (UNet, {"channels": (8, 8), "layers_per_block": 1, "attention": (1,)}),
    ],
)
def test_configuration_rebuilds_the_network(make, arguments):
    network = make((1, 4, 4), 2, outputs=3, **arguments)
    config = json.loads(json.dumps(network.config))
    assert config["shape"] == [1, 4, 4]
    assert config["outputs"] == 3
    again = make(**config)
    assert again.config == network.config
    again.load_state_dict(network.state_dict())
    assert copy.deepcopy(network).config == network.config


def test_configuration_is_that_of_the_outermost_constructor():
    class Wide(MLP):
        def __init__(self, shape, features, outputs, factor=2):
            super().__init__(shape, features, outputs, width=8 * factor)

    assert Wide((3,), 1, 1).config == {"shape": [3], "features": 1, "outputs": 1, "factor": 2}


def test_own_network_needs_only_a_forward():
    class Own(Network):
        def forward(self, features: Tensor, t: Tensor, condition: Tensor | None = None):
            return features[:, :1]

    own = Own((3,), 2, 1)
    assert own.config == {"shape": [3], "features": 2, "outputs": 1, "condition": 0}
    with pytest.raises(TypeError, match="abstract"):
        Network((3,), 1, 1)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (MLP, {"shape": (0,)}, r"shape\[0\] must be .*not 0"),
        (MLP, {"features": 0}, "features must be .*not 0"),
        (MLP, {"outputs": 1.5}, "outputs must be a whole number, not 1.5"),
        (MLP, {"condition": -1}, "condition must be .*not -1"),
        (MLP, {"width": 1}, "width must be .*not 1"),
        (MLP, {"depth": 0}, "depth must be .*not 0"),
        (MLP, {"dropout": 1.0}, "dropout must be .*not 1.0"),
        (UNet, {}, "needs events of shape"),
        (UNet, {"shape": (1, 4, 4), "channels": ()}, "channels is empty"),
        (UNet, {"shape": (1, 4, 4), "channels": (8, 0)}, r"channels\[1\] must be .*not 0"),
        (UNet, {"shape": (1, 4, 4), "attention": (3,)}, "attention names level 3"),
        (UNet, {"shape": (1, 4, 4), "layers_per_block": 0}, "layers_per_block must be .*not 0"),
        (UNet, {"shape": (1, 4, 4), "dropout": float("nan")}, "dropout must be finite, not nan"),
    ],
)
def test_bad_arguments_are_named(make, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(**{"shape": (4,), "features": 1, "outputs": 1} | arguments)


def test_unet_names_what_to_install_when_diffusers_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers.models.unets.unet_2d", None)
    with pytest.raises(ImportError, match="pip install diffusers"):
        UNet((1, 8, 8), 1, 1)


@torch.no_grad()
def test_what_is_not_normalised_keeps_its_size():
    """Without blocks the network is then linear in its features; a norm forgets their size."""
    t = torch.full((1,), 0.5)
    for normed in (False, True):
        network = build(MLP, (5,), 2, 1, normed=normed)
        network.blocks = torch.nn.ModuleList()
        torch.nn.init.normal_(network.output.weight)
        torch.nn.init.zeros_(network.input.bias)
        x = torch.randn(1, 2, 5)
        found, twice = network(x, t) - network(0 * x, t), network(2 * x, t) - network(0 * x, t)
        ratio = float(twice.norm() / found.norm())
        assert ratio == pytest.approx(1 if normed else 2, rel=0.05)


def test_compressed_features_are_those_of_the_same_network_given_their_asinh():
    plain, compressed = build(MLP, (5,), 2, 1), build(MLP, (5,), 2, 1, compress=True)
    x, t = inputs(3, 2, (5,))
    assert torch.equal(compressed(100 * x, t), plain((100 * x).asinh(), t))


def test_attention_is_equivariant_when_columns_are_permuted_with_their_embeddings():
    network = build(small_attention, (7,), 3, 2)
    x, t = inputs(4, 3, (7,))
    before = network(x, t)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    assert (network(x[:, :, order], t) - before[:, :, order]).abs().amax() > 1e-3
    with torch.no_grad():
        network.place.copy_(network.place[order])
    torch.testing.assert_close(network(x[:, :, order], t), before[:, :, order])


def test_attention_lets_every_column_see_every_other():
    network = build(small_attention, (6,), 1, 1)
    x, t = inputs(1, 1, (6,))
    x.requires_grad_()
    for column in range(6):
        (gradient,) = torch.autograd.grad(network(x, t)[0, 0, column], x)
        assert bool((gradient[0, 0].abs() > 0).all())


def test_attention_refuses_a_width_that_its_heads_do_not_divide():
    with pytest.raises(ValueError, match="width is 10; give a multiple of the 4 heads"):
        Attention((3,), 1, 1, width=10)


class Planes(nn.Module):
    """A network of images (B, channels, height, width): sums of planes, and what it is told."""

    def __init__(self, planes, outputs):
        super().__init__()
        self.mix = nn.Conv2d(planes, outputs, 1, bias=False)

    def forward(self, x, t, condition=None):
        told = 0 if condition is None else condition.sum(1)
        return self.mix(x) + (t + told)[:, None, None, None]


def test_a_module_of_images_is_a_network():
    module = Planes(6, 9)
    network = Images(module)
    x, t = inputs(4, 2, (3, 5, 7))
    condition = torch.arange(8.0).reshape(4, 2)
    given = torch.einsum("opq,bpqhw->bohw", module.mix.weight.reshape(9, 2, 3), x)
    plain = given.reshape(4, 3, 3, 5, 7)
    for told, more in ((None, t), (condition, t + condition.sum(1))):
        out = network(x, t, told)
        torch.testing.assert_close(out, plain + more.reshape(4, 1, 1, 1, 1))
    late = Images(module, times=1000)(x, t)
    torch.testing.assert_close(late, plain + 1000 * t.reshape(4, 1, 1, 1, 1))
    alone = nn.Sequential(module.mix)  # is given images alone
    torch.testing.assert_close(Images(alone)(x, t), plain)
    with pytest.raises(ValueError, match="Sequential takes no condition; let its forward take"):
        Images(alone)(x, t, condition)


def test_what_modules_of_images_give_back():
    x, t = inputs(2, 1, (1, 8, 8))

    class Boxed(nn.Module):
        def __init__(self, box):
            super().__init__()
            self.box = box

        def forward(self, *given):
            return self.box(given[0])

    assert torch.equal(Images(Boxed(lambda x: (x, None)))(x, t)[:, 0], x[:, 0])
    made = Images(Boxed(lambda x: SimpleNamespace(sample=2 * x)))(x, t)
    assert torch.equal(made, 2 * x)
    for box, message in (
        (lambda x: None, "Boxed gave NoneType; it must give a tensor of images"),
        (lambda x: x[..., 1:], r"gave \(2, 1, 8, 7\); images of 1 channels need \(2, outputs"),
        (lambda x: x[:, 0], r"gave \(2, 8, 8\)"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Images(Boxed(box))(x, t)
    with pytest.raises(ValueError, match=r"an event of shape \(5,\) is no image"):
        Images(nn.Identity())(torch.zeros(2, 1, 5), t)


def test_models_of_diffusers_are_networks():
    diffusers = pytest.importorskip("diffusers")
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1}
    kinds = {"down_block_types": 2 * ("DownBlock2D",), "up_block_types": 2 * ("UpBlock2D",)}
    module = build(diffusers.UNet2DModel, in_channels=2, out_channels=3, **sizes, **kinds)
    x, t = inputs(2, 2, (1, 8, 8))
    out = Images(module, times=1000)(x, t)
    assert torch.equal(out[:, :, 0], module(x[:, :, 0], 1000 * t).sample)
