"""The endpoint head: conversions that lose nothing, and the law around the mean."""

import math
from dataclasses import replace

import pytest
import torch

from markovbridge import (
    VE,
    VP,
    Brownian,
    CosineSchedule,
    Dirac,
    EndpointHead,
    Independent,
    LinearDiffusion,
    LinearSchedule,
    LogisticSchedule,
    Noised,
    OrnsteinUhlenbeck,
    Paired,
    PureDeath,
    SubVP,
)
from markovbridge.couplings import Gaussian
from markovbridge.covariances import Matern, Torus
from markovbridge.laws import Delta
from markovbridge.networks import MLP
from markovbridge.processes import IntervalSupport, Setting
from markovbridge.storage.config import from_config, to_config
from markovbridge.transport import Transport

TORUS = Torus(Matern(smoothness=1.5, length=1.0), dimension=1)
SETTINGS = {
    "vp": (LinearDiffusion(VP(), direction="noising"), Noised()),
    "ve": (LinearDiffusion(VE(0.01, 5.0), direction="noising"), Noised()),
    "mixture": (LinearDiffusion(OrnsteinUhlenbeck(0.5)), Independent(Gaussian(0.3, 0.8))),
    "point": (LinearDiffusion(Brownian(0.7)), Dirac(0.2)),
    "correlated": (
        LinearDiffusion(Brownian(0.7), covariance=TORUS),
        Independent(Gaussian(correlated=True)),
    ),
}


def outputs(predicts, process, coupling, x, end, t, mean, variance):
    """What a network has to put out, from the definitions."""
    kernel = coupling.kernel(process, t)

    def per(values):
        return values.reshape(-1, 1)

    deviation = per(kernel.variance.sqrt())
    if predicts == "end":
        return (end - mean) / variance.sqrt()
    if predicts == "drift":  # per unit of clock: that of the process which the clock runs
        plain = replace(process, schedule=LinearSchedule())
        return plain.drift(x, end, process.schedule.survival(t))
    if predicts == "noise":
        return (x - kernel.centre(end)) / deviation
    if predicts == "score":
        return process.covariance.solve(kernel.centre(end) - x) / deviation**2
    if predicts == "start":
        return kernel.start_mean(x, end)
    site = process.covariance.variance((8,))
    gain, noise = per(kernel.gain), per(kernel.variance) * site
    total = gain**2 * variance + noise
    guess = mean + gain * variance / total * (x - kernel.centre(mean.expand(x.shape)))
    return (end - guess) / (variance * noise / total).sqrt()


ALL = ["end", "residual", "drift", "noise", "score", "start"]
# Under time reversal and from a point, the start says nothing of the end.
CASES = [
    (predicts, setting)
    for predicts in ALL
    for setting in SETTINGS
    if predicts != "start" or setting in ("mixture", "correlated")
]


CLOCKS = {"linear": LinearSchedule(), "cosine": CosineSchedule(), "logistic": LogisticSchedule()}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(("predicts", "setting"), CASES)
def test_every_prediction_is_the_same_mean(predicts, setting, clock):
    process, coupling = SETTINGS[setting]
    process = replace(process, schedule=CLOCKS[clock])
    x, end = torch.randn(2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.8, 0.99], dtype=torch.float64)
    mean, variance = torch.linspace(-1, 1, 8).double(), torch.linspace(0.5, 2, 8).double()
    raw = outputs(predicts, process, coupling, x, end, t, mean, variance)
    # At the source of a mixture these say nothing of the data, whose mean is the answer.
    if predicts in ("noise", "score", "start") and setting not in ("vp", "ve"):
        raw[0], end[0] = 0.0, mean
    if (predicts, setting) == ("residual", "point"):
        raw[0], end[0] = 0.0, mean
    setting = Setting(process, coupling, mean, variance)
    law = EndpointHead(predicts)(setting, raw.unsqueeze(1), x, t)
    torch.testing.assert_close(law.mean, end, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(("predicts", "setting"), CASES)
def test_any_output_is_a_finite_mean(predicts, setting, clock):
    process, coupling = SETTINGS[setting]
    process = replace(process, schedule=CLOCKS[clock])
    x, raw = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.0, 2**-24, 0.5, 1 - 2**-24])
    setting = Setting(process, coupling, torch.zeros(8), torch.ones(8))
    law = EndpointHead(predicts, spread=1.0)(setting, raw.unsqueeze(1), x, t)
    assert bool(torch.isfinite(law.mean).all())
    assert bool(torch.isfinite(law.variance).all())


def test_a_drift_without_noise_is_refused():
    process = LinearDiffusion(SubVP())  # g(0) = 0: at the source the drift is that of the SDE
    state = torch.zeros(1, 8)
    with pytest.raises(ValueError, match="no noise at the source"):
        setting = Setting(process, Noised(), state[0], state[0] + 1)
        EndpointHead("drift")(setting, state[:, None], state, torch.zeros(1))


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_end_says_what_the_noise_was(setting):
    process, coupling = SETTINGS[setting]
    end, z = torch.randn(2, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.5, 0.99, 1.0], dtype=torch.float64)
    kernel = coupling.kernel(process, t)
    x = kernel.centre(end) + kernel.variance.sqrt().reshape(-1, 1) * z
    noise = kernel.noise(x, end)
    torch.testing.assert_close(noise[:3], z[:3], rtol=1e-9, atol=1e-9)
    assert noise[3].tolist() == [0.0] * 8
    setting = Setting(process, coupling, torch.zeros(8), torch.ones(8))
    law = EndpointHead("noise")(setting, noise.unsqueeze(1), x, t)
    torch.testing.assert_close(law.mean, end, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("predicts", ALL)
def test_at_the_source_a_mixture_knows_the_mean_of_the_data(predicts):
    process, coupling = SETTINGS["mixture"]
    mean, variance = torch.full((8,), 3.0), torch.ones(8)
    setting = Setting(process, coupling, mean, variance)
    law = EndpointHead(predicts)(setting, torch.zeros(2, 1, 8), torch.zeros(2, 8), torch.zeros(2))
    assert bool(torch.isfinite(law.mean).all())
    if predicts not in ("drift",):
        torch.testing.assert_close(law.mean, mean.expand(2, 8))


@pytest.mark.parametrize("source", ["a Gaussian", "a set", "the data, noised"])
def test_the_residual_is_what_regression_leaves_at_unit_variance(source):
    generator = torch.Generator().manual_seed(0)
    sources = -1 + 3 * torch.rand(5000, 1, generator=generator).double() ** 2
    process, coupling = {
        "a Gaussian": SETTINGS["mixture"],
        "a set": (LinearDiffusion(Brownian(0.5)), Independent(sources)),
        "the data, noised": SETTINGS["vp"],
    }[source]
    x1 = 3 + 2 * torch.randn(40000, 1, dtype=torch.float64, generator=generator)
    mean, variance = torch.tensor([3.0]).double(), torch.tensor([4.0]).double()
    setting, head = Setting(process, coupling, mean, variance), EndpointHead("residual")
    for t in (0.05, 0.5, 0.95):
        x0 = coupling.pair(process, x1, generator=generator)
        x = process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)
        times = torch.full((len(x),), t, dtype=torch.float64)
        none = torch.zeros(len(x), 1, 1, dtype=torch.float64)
        guess, more = (head(setting, none + k, x, times).mean for k in (0, 1))
        raw = (x1 - guess) / (more - guess)
        assert abs(float(raw.var()) - 1) < 5 * math.sqrt(2 / len(raw))
        shared = float((raw * (x - x.mean()) / x.std()).mean())
        assert abs(shared) < 5 / math.sqrt(len(raw))


def test_a_coupling_of_unknown_source_takes_a_residual():
    process = LinearDiffusion(Brownian(0.5))
    setting = Setting(process, Paired(), torch.zeros(8), torch.ones(8))
    x, t = torch.randn(2, 8), torch.tensor([0.0, 1.0])
    law = EndpointHead("residual")(setting, torch.zeros(2, 1, 8), x, t)
    # A source like the data, independent of them, says nothing of the end; the end says all.
    torch.testing.assert_close(law.mean, torch.stack([torch.zeros(8), x[1]]))


def test_spread_is_the_variance_of_the_law():
    process, coupling = SETTINGS["vp"]
    x = torch.zeros(3, 8)
    t = torch.tensor([0.2, 0.5, 0.9])
    assert isinstance(EndpointHead().around(process, x, t), Delta)
    law = EndpointHead(spread=0.5).around(process, x, t)
    gain, variance = process.piece(t, 1.0)
    expected = (0.5 * variance / gain**2).float().reshape(3, 1).expand(3, 8)
    torch.testing.assert_close(law.variance, expected)


def test_the_full_spread_is_the_noise_of_brownian_motion():
    # Bridge step with the full spread = a step of the reference towards the mean.
    process, t, s, sigma = LinearDiffusion(Brownian(0.7)), 0.3, 0.6, 0.7
    end = torch.full((1, 8), 2.0, dtype=torch.float64)
    law = EndpointHead(spread=1.0).around(process, end, t)
    _, gain, noise = process.weights(t, s, 1.0)
    total = noise + gain**2 * law.variance
    torch.testing.assert_close(total, torch.full_like(total, sigma**2 * (s - t)))


def test_a_transport_trains_saves_and_loads(tmp_path):
    process = LinearDiffusion(
        VP(), covariance=TORUS, direction="noising", support=IntervalSupport(0.0, 1.0)
    )
    head = EndpointHead("residual", spread=0.5)
    transport = Transport(
        process,
        MLP((8,), process.features, head.outputs(process), width=16),
        head,
        shape=(8,),
        mean=0.0,
        variance=1.0,
    )
    x1 = torch.rand(16, 8, generator=torch.Generator().manual_seed(0)).clamp(0.01, 0.99)
    loss = transport.loss(x1, generator=torch.Generator().manual_seed(0)).mean()
    loss.backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in transport.parameters())
    transport.save_pretrained(tmp_path / "model")
    loaded = Transport.from_pretrained(tmp_path / "model")
    assert loaded.process == process
    assert loaded.head == transport.head == head
    samples = [
        model.sample(5, steps=4, generator=torch.Generator().manual_seed(1))
        for model in (transport, loaded)
    ]
    assert torch.equal(*samples)
    assert bool(((samples[0] > 0) & (samples[0] < 1)).all())


@pytest.mark.parametrize(
    "process",
    [
        LinearDiffusion(),
        LinearDiffusion(OrnsteinUhlenbeck(-1.0), direction="noising").reversed(),
        LinearDiffusion(VE(), covariance=TORUS, support=IntervalSupport(-1.0, 1.0)),
    ],
)
def test_processes_survive_their_configuration(process):
    assert from_config(to_config(process)) == process


def test_nonsense_is_refused():
    state = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="predicts"):
        EndpointHead("velocity")
    with pytest.raises(ValueError, match="spread"):
        EndpointHead(spread=-1.0)
    setting = Setting(PureDeath(), Noised(), state, state)
    with pytest.raises(TypeError, match="needs a diffusion, not PureDeath"):
        EndpointHead()(setting, state[None], state, state[0])
