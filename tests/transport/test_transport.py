"""The transport: what a sample depends on, what is refused."""

import math

import pytest
import torch
from torch import nn

import markovbridge as mb
from markovbridge import (
    Bridge,
    CategoricalHead,
    CentredHead,
    EndpointHead,
    Gillespie,
    LinearDiffusion,
    MeanHead,
    NegativeBinomialHead,
    PureDeath,
    Transport,
    Trapezoidal,
    UniformChain,
    exact,
    statistics,
)
from markovbridge.doors.randomness import fresh_key, generator
from markovbridge.networks import MLP
from markovbridge.samplers import Midpoint
from problems import assert_follows
from transports import SHAPE, Watching, data, transport, watching

# What a sample depends on ------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [None, Gillespie()])
def test_the_first_samples_are_the_same_however_many_are_drawn(sampler):
    model = transport()
    options = {"steps": 3, "sampler": sampler, "block": 16}
    few, many = (model.sample(n, generator=generator("cpu", 1), **options) for n in (20, 100))
    assert few.shape == (20, *SHAPE)
    assert few.dtype == torch.int64
    assert torch.equal(few, many[:20])
    assert len(many.unique(dim=0)) > 90  # blocks differ


def test_samples_are_made_of_blocks_that_can_be_made_apart():
    model = transport()
    whole = model.sample(40, steps=3, generator=generator("cpu", 1), block=16)
    key = fresh_key(generator("cpu", 1))
    parts = [model.sample_block(i, key=key, steps=3, block=16) for i in (2, 0, 1)]
    assert torch.equal(whole, torch.cat([parts[1], parts[2], parts[0]])[:40])


def test_samples_depend_on_the_generator_and_nothing_else():
    model = transport()
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    g = generator("cpu", 1)
    first, second = (model.sample(9, steps=2, generator=g) for _ in range(2))
    again = model.sample(9, steps=2, generator=generator("cpu", 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)  # the generator has moved on
    assert torch.equal(torch.random.get_rng_state(), before)
    fresh = [model.sample(9, steps=2) for _ in range(2)]
    assert not torch.equal(*fresh)


def test_a_condition_goes_to_its_own_sample():
    model = watching()
    condition = torch.arange(10.0).unsqueeze(1)
    options = {"block": 4, "sampler": Bridge(), "generator": generator("cpu", 1)}
    model.sample(10, steps=2, condition=condition, **options)
    seen = [call[2].squeeze(1).tolist() for call in model.network.calls]
    assert seen == [[0, 1, 2, 3]] * 2 + [[4, 5, 6, 7]] * 2 + [[8, 9, 9, 9]] * 2
    with pytest.raises(ValueError, match="condition has 3 rows for 10 samples"):
        model.sample(10, condition=condition[:3])


def test_grids_of_times():
    model, grid = watching(), torch.tensor([0.0, 0.1, 0.7, 1.0])
    seen = []
    watch = {"callback": lambda t, x: seen.append((t, x))}
    model.sample(2, steps=grid, block=2, sampler=Bridge(), **watch)
    assert [t for t, _ in seen] == pytest.approx([0, 0.1, 0.7, 1])
    assert bool((seen[0][1] == 0).all())
    asked = [call[1].tolist() for call in model.network.calls]
    assert asked == [pytest.approx([t, t]) for t in (0, 0.1, 0.7)]
    for wrong in ([0.0, 0.5], [0.1, 1.0], [0.0, 0.6, 0.5, 1.0], [0.0, float("nan"), 1.0], [1.0]):
        with pytest.raises(ValueError, match=r"a grid must increase from 0\.0 to 1"):
            model.sample(2, steps=torch.tensor(wrong))


def test_default_samplers():
    def default(process, head):
        return Transport(process, MLP((2,), 1, 2), head, shape=(2,)).default_sampler()

    counts = PureDeath(maximum=9)
    assert default(counts, MeanHead()) == Trapezoidal()
    assert default(counts, NegativeBinomialHead()) == Trapezoidal()
    assert default(counts, CentredHead()) == Trapezoidal()
    assert default(counts, MeanHead("stochastic")) == Bridge()
    assert default(counts, CategoricalHead()) == Bridge()
    assert default(LinearDiffusion(), EndpointHead()) == Midpoint()
    assert default(LinearDiffusion(), EndpointHead(spread=1.0)) == Bridge()
    assert default(UniformChain(categories=3), CategoricalHead()) == Bridge()
    assert Transport(counts, exact.Poisson(counts, 1.0), shape=(2,)).default_sampler() == Bridge()


# Training and sampling modes ---------------------------------------------------------------


def test_dropout_is_off_when_sampling_and_on_when_training():
    model = watching().train()
    model.sample(2, steps=2, sampler=Bridge())
    assert [call[3:] for call in model.network.calls] == [(False, False)] * 2
    model.loss(data(4))
    assert model.network.calls[-1][3:] == (True, True)
    a, b = (transport().train().sample(9, steps=3, generator=generator("cpu", 1)) for _ in "ab")
    assert torch.equal(a, b)


def test_modes_are_as_they_were_after_sampling():
    model = watching()
    for training in (True, False):
        model.train(training)
        model.sample(2, steps=1)
        assert model.training is model.network.training is model.network.part.training is training
    model.train()
    model.network.part.eval()  # frozen by the user
    model.sample(2, steps=1)
    assert model.network.training and not model.network.part.training

    def stop(t, x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.sample(2, steps=1, callback=stop)
    assert model.network.training and not model.network.part.training


def test_sampling_makes_no_graph_and_training_does():
    model = transport()
    assert not model.sample(2, steps=1).is_floating_point()
    loss = model.loss(data(4), generator=generator("cpu", 1))
    assert loss.shape == (4,)
    loss.sum().backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in gradients)
    assert sum(float(g.abs().sum()) for g in gradients) > 0


def test_forward_is_the_loss():
    model, x = transport().eval(), data(4)
    loss = model.loss(x, generator=generator("cpu", 1))
    assert torch.equal(loss, model(x, generator=generator("cpu", 1)))
    assert torch.equal(loss, model.loss(x.int(), generator=generator("cpu", 1)))
    assert not torch.equal(loss, model.loss(x, generator=generator("cpu", 2)))


def test_the_network_sees_standardised_states_and_times():
    model = watching(variance=7.0)
    x, t = torch.tensor([[[[0, 3, 9], [1, 1, 1]]]]), 0.3
    model.law(x, t)
    features, time, condition = model.network.calls[-1][:3]
    p = float(model.process.schedule.survival(t))
    expected = (x - 3 * p) / math.sqrt(p**2 * 7 + p * (1 - p) * 3)
    torch.testing.assert_close(features, expected.unsqueeze(1).float())
    assert features.dtype == time.dtype == torch.float32
    assert time.tolist() == pytest.approx([0.3])
    assert condition is None


def test_autocast_is_around_the_network_only():
    model = transport()
    seen = []
    model.network.output.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    model.autocast = torch.bfloat16
    loss = model.loss(data(4), generator=generator("cpu", 1))
    assert seen == [torch.bfloat16]
    assert loss.dtype == torch.float32


def test_an_exact_law_stands_where_a_network_would():
    process = PureDeath(1)
    model = Transport(process, exact.Binomial(process, 1, 0.3), shape=(2,))
    draws = model.sample(20_000, steps=2, generator=generator("cpu", 1), block=20_000)
    assert_follows(draws[:, 0] + 2 * draws[:, 1], [0.49, 0.21, 0.21, 0.09])
    assert model.loss(draws[:5]).shape == (5,)


def test_doubles_train_a_model_of_floats_and_one_of_doubles():
    x1 = torch.randn(6, 2, dtype=torch.float64, generator=generator("cpu", 0))
    process, head = LinearDiffusion(), EndpointHead("residual")
    network = MLP((2,), 1, 1, width=8)
    model = Transport(process, network, head, shape=(2,), coupling=mb.Independent())
    floats = model.loss(x1, generator=generator("cpu", 1)).mean()
    floats.backward()
    doubles = model.double().loss(x1, generator=generator("cpu", 1)).mean()
    torch.testing.assert_close(doubles, floats, rtol=1e-4, atol=0)


# What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 2, 3), r"x1 has shape \(4, 2, 3\), but this .* \(batch, 1, 2, 3\)"),
        (torch.zeros(4, 1, 3, 2), r"x1 has shape \(4, 1, 3, 2\)"),
        (torch.full((4, *SHAPE), 10), "x1 holds 10, above the maximum 9 of the process"),
        (torch.full((4, *SHAPE), -1), "x1 holds -1: counts cannot be negative"),
        (torch.full((4, *SHAPE), 0.5), "x1 holds 0.5, which is no count: pass integers"),
        (torch.full((4, *SHAPE), float("nan")), "x1 holds nan, which is no count"),
    ],
)
def test_what_is_no_data_is_refused(x, message):
    with pytest.raises(ValueError, match=message):
        transport().loss(x)


def test_counts_in_floats_are_counts():
    model, x = transport().eval(), data(4)
    losses = [model.loss(v, generator=generator("cpu", 1)) for v in (x, x.double())]
    assert torch.equal(*losses)


def test_given_sources_are_checked_and_used():
    model, x1 = transport().eval(), data(4)
    x0 = torch.zeros_like(x1)
    losses = [model.loss(x1, x0=v, generator=generator("cpu", 1)) for v in (None, x0)]
    assert torch.equal(*losses)  # the source of pure death
    assert bool((model.loss(x1, x0=x1) >= 0).all())  # nothing is born any more
    with pytest.raises(ValueError, match="x0 holds -1"):
        model.loss(x1, x0=x0.int() - 1)
    with pytest.raises(ValueError, match="cannot decrease"):
        model.loss(x1.clamp_max(8), x0=x0 + 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be at least 1, not 0"),
        ({"n": 2, "steps": 0}, "steps must be at least 1, not 0"),
        ({"n": 2, "block": 0}, "block must be at least 1, not 0"),
        ({"n": 2, "block": -3}, "block must be at least 1, not -3"),
    ],
)
def test_impossible_samples_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        transport().sample(**options)


def test_impossible_transports_are_refused():
    process, network = PureDeath(9), Watching()
    for shape in ((), (0, 3), (-1,)):
        with pytest.raises(ValueError, match="shape must be the event shape"):
            Transport(process, network, MeanHead(), shape=shape)
    with pytest.raises(ValueError, match=r"mean has shape \(4,\), which does not broadcast"):
        Transport(process, network, MeanHead(), shape=SHAPE, mean=torch.ones(4))
    with pytest.raises(ValueError, match="variance must be finite"):
        Transport(process, network, MeanHead(), shape=SHAPE, variance=float("nan"))
    model = Transport(process, Watching(outputs=2), MeanHead(), shape=SHAPE)
    with pytest.raises(
        ValueError, match=r"the network gave \(4, 2, 1, 2, 3\); its head needs \(4"
    ):
        model.loss(data(4))


# Statistics --------------------------------------------------------------------------------


def test_statistics_are_mean_and_variance():
    g = generator("cpu", "statistics")
    x = torch.randint(0, 256, (5000, 3, 4, 2), generator=g, dtype=torch.uint8)  # two parts
    x[:, 1] //= 2
    y = x.double()
    for per, axes, shape in (
        ("site", (0,), (3, 4, 2)),
        ("channel", (0, 2, 3), (3, 1, 1)),
        ("all", (0, 1, 2, 3), (1, 1, 1)),
    ):
        mean, variance = statistics(x, per)
        assert mean.shape == variance.shape == shape
        assert mean.dtype == torch.float32
        expected = y.mean(axes).reshape(shape), y.var(axes, correction=0).reshape(shape)
        torch.testing.assert_close(mean.double(), expected[0], rtol=1e-6, atol=0)
        torch.testing.assert_close(variance.double(), expected[1], rtol=1e-5, atol=0)


def test_statistics_of_sites_that_never_vary_are_floored():
    x = torch.zeros(10, 4, dtype=torch.uint8)
    x[::2, 0] = 8
    mean, variance = statistics(x)
    assert mean.tolist() == pytest.approx([4, 1e-3, 1e-3, 1e-3], rel=1e-2)
    assert variance.tolist() == pytest.approx([16, 4e-3, 4e-3, 4e-3], rel=1e-2)


def test_statistics_of_reals_keep_their_sign():
    x = torch.tensor([[-3.0, 2.0], [-1.0, 4.0]])
    mean, variance = statistics(x)
    assert mean.tolist() == [-2, 3]
    assert variance.tolist() == [1, 1]


def test_statistics_need_samples():
    with pytest.raises(ValueError, match="statistics need at least 2 samples, not 1"):
        statistics(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="'site', 'channel', 'all', not 'pixel'"):
        statistics(torch.zeros(3, 3), "pixel")


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (nn.Conv2d(1, 1, 3), TypeError, "the network Conv2d failed: it is called as network(feat"),
        (lambda x, t, c: x @ x, RuntimeError, "with shapes (5, 1, 1, 2, 3), (5,) and None, which"),
        (lambda x, t, c: x[9], IndexError, "gives (5, 1, 1, 2, 3), (batch, outputs, *event); a m"),
    ],
)
def test_a_network_that_fails_is_told_what_is_asked_of_it(network, error, message):
    model = Transport(PureDeath(9), network, MeanHead(), shape=(1, 2, 3))
    with pytest.raises(error) as caught:
        model.loss(torch.ones(5, 1, 2, 3, dtype=torch.int64))
    (note,) = caught.value.__notes__
    assert message in note
    assert note.endswith("networks.Images")


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (lambda x, t, c: None, TypeError, "gave NoneType; its head needs a tensor"),
        (lambda x, t, c: x[:, 0], ValueError, r"gave \(5, 1, 2, 3\); its head needs \(5, 1, 1, 2"),
    ],
)
def test_a_network_that_gives_something_else_is_refused(network, error, message):
    model = Transport(PureDeath(9), network, MeanHead(), shape=(1, 2, 3))
    with pytest.raises(error, match=message):
        model.loss(torch.ones(5, 1, 2, 3, dtype=torch.int64))


def test_faults_of_machines_are_none_of_a_network():
    def network(x, t, condition):
        raise RuntimeError("CUDA error: out of memory")

    model = Transport(PureDeath(9), network, MeanHead(), shape=(2,))
    with pytest.raises(RuntimeError, match="^CUDA error: out of memory$") as caught:
        model.loss(torch.ones(5, 2, dtype=torch.int64))
    assert not hasattr(caught.value, "__notes__")
