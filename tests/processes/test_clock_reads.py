"""Times are read from their device once in a training step, and never in a sampling step."""

import pytest
import torch

import markovbridge as mb
from markovbridge import heads, networks, processes
from markovbridge.doors.randomness import generator
from markovbridge.processes import schedules

COUNTS = torch.tensor([[0, 1, 4], [2, 0, 0], [3, 3, 1], [1, 4, 2]])
CASES = [
    (processes.PureDeath(4), heads.MeanHead(), "Trapezoidal"),
    (processes.UniformChain(5), heads.CategoricalHead(), "Bridge"),
    (processes.LinearDiffusion(), heads.EndpointHead(), "Midpoint"),
    (processes.GammaProcess(3.0), heads.GammaHead(), "Bridge"),
    (processes.AbsorbingChain(5), heads.CategoricalHead(), "Bridge"),
    (processes.Ehrenfest(4), heads.CategoricalHead(), "Bridge"),
    (processes.BirthDeath(1.5, 4), heads.TwoMeansHead(), "Bridge"),
    (processes.RandomWalk(2.0, 1, 4), heads.TwoMeansHead(), "Bridge"),
    (processes.PureBirth(2.0, 0, 4), heads.TwoMeansHead(), "Bridge"),
    (processes.LinearBirthDeath(0.7, 4), heads.TwoMeansHead(), "Bridge"),
]


@pytest.fixture
def reads(monkeypatch):
    """A list that grows by one with each read."""
    found, read = [], schedules._all
    monkeypatch.setattr(schedules, "_all", lambda true: found.append(1) or read(true))
    return found


@pytest.mark.parametrize(("process", "head", "sampler"), CASES)
def test_a_training_step_reads_once_and_a_sampling_step_never(process, head, sampler, reads):
    x = process.check(COUNTS)
    network = networks.MLP((3,), process.features, head.outputs(process), width=4, depth=1)
    objective = mb.EndMSE() if isinstance(head, heads.GammaHead) else None
    transport = mb.Transport(process, network, head, shape=(3,), objective=objective)
    transport.loss(x, generator=generator("cpu", 0)).sum().backward()
    assert len(reads) == 1
    assert type(transport.default_sampler()).__name__ == sampler
    transport.sample(4, steps=3, generator=generator("cpu", 0))
    assert len(reads) == 1


def test_networks_and_exact_laws_are_given_plain_tensors():
    process, seen = processes.PureDeath(4), []

    class Network(torch.nn.Module):
        def forward(self, features, t, condition=None):
            seen.append(t)
            return features

    def law(x, t, condition=None):
        seen.append(t)
        return mb.exact.Poisson(process, torch.ones(3))(x, t)

    for model in (
        mb.Transport(process, Network(), heads.MeanHead(), shape=(3,)),
        mb.Transport(process, law, shape=(3,)),
    ):
        model.loss(COUNTS)
        model.law(COUNTS, 0.5)
        model.law(COUNTS, torch.full((4,), 0.5))
    assert len(seen) == 6 and all(type(t) is torch.Tensor and t.shape == (4,) for t in seen)


def test_a_reading_is_a_tensor_like_any_other():
    """For heads, objectives and processes of a user's, which know of no readings."""
    t = torch.tensor([0.25, 0.5])
    reading = mb.CosineSchedule().at(t)
    assert (
        isinstance(reading, torch.Tensor)
        and mb.CosineSchedule().at(t).schedule == mb.CosineSchedule()
    )
    assert reading.schedule.at(reading) is reading and reading.expand(2) is reading
    assert reading.double() is reading.double() and reading.double().dtype == torch.float64
    for plain in (
        reading * 2,
        reading[:1],
        reading.float() + 0,
        reading.reshape(2, 1),
        1 - reading,
    ):
        assert type(plain) is torch.Tensor
    for shape in ((3, 2), ((3, 2),), (torch.Size((3, 2)),)):
        assert torch.equal(reading.expand(*shape), t.expand(3, 2))
    assert torch.equal(torch.cat([reading, t]), torch.cat([t, t]))


def test_times_that_need_a_gradient_keep_it():
    t = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    reading = mb.LinearSchedule().at(t)
    (slope,) = torch.autograd.grad((reading.survival**2).sum(), t)
    torch.testing.assert_close(slope, 2 * t.detach())
