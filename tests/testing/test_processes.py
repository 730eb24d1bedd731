"""`check_process`: ours pass, and broken ones are told by name."""

from dataclasses import dataclass, replace

import pytest
import torch

import markovbridge as mb
from grid.reals import DIFFUSIONS
from grid.worlds import INTEGERS
from markovbridge import laws
from markovbridge.testing import CheckError, check_process

COUNTS = torch.tensor([[0, 1], [2, 2], [1, 0]])
REALS = torch.tensor([[0.3], [-1.2], [0.8], [2.0], [0.1]])
ON_INTEGERS = [made for make in INTEGERS.values() for made, *_ in make()]
FEW = 500


def name(process):
    if isinstance(process, mb.LinearDiffusion):
        return type(process.sde).__name__
    return type(process).__name__ + ("" if process.states is not None else ", unbounded")


@pytest.mark.parametrize("process", ON_INTEGERS, ids=name)
def test_processes_on_integers_pass(process):
    report = check_process(process, COUNTS, draws=FEW)
    found = report.checked
    configured = {"configuration"} - set(report.skipped)
    assert ("configuration" in configured) != callable(getattr(process, "rate_matrix", None))
    asked = {"Chapman-Kolmogorov", "Bayes: the bridge", "marginals of `noised`", "moments"}
    assert asked | configured | {"determinism", "dtype"} <= set(found)
    assert found["Bayes: the bridge"] < 1e-9
    assert ("rates" in found) == process.jumps
    assert ("evidence" in found) == (process.states is not None)
    assert set(report.skipped) >= ({"expected rates"} if process.states is None else set())


@pytest.mark.parametrize("make", DIFFUSIONS.values(), ids=[sde.__name__ for sde in DIFFUSIONS])
@pytest.mark.parametrize("sites", [1, 2])
def test_processes_on_reals_pass(make, sites):
    report = check_process(make()[0], REALS.expand(-1, sites) + torch.arange(sites), draws=FEW)
    assert {"Bayes: the bridge", "drift", "diffusion"} <= set(report.checked)
    assert ("Chapman-Kolmogorov" in report.checked) == (sites == 1)


def test_data_in_other_coordinates_and_correlated_noise_pass():
    torus = mb.covariances.Torus(mb.covariances.Exponential(1.0, 2.0))
    process = mb.LinearDiffusion(covariance=torus, support=mb.processes.PositiveSupport())
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 1, 4, 4, generator=generator) + 0.5
    assert "Bayes: the bridge" in check_process(process, x, draws=FEW).checked


def test_a_report_is_a_table():
    text = str(check_process(mb.PureDeath(), COUNTS, draws=FEW))
    lines = text.splitlines()
    assert lines[0].split() == ["PureDeath", "largest", "error", "allowed"]
    assert any(
        line.startswith("evidence") and "skipped: the data are unb" in line for line in lines
    )


CHAIN = mb.UniformChain(3)


@dataclass(frozen=True)
class Urn(mb.Ehrenfest):
    """An urn to be broken."""

    maximum: int = 3


class WrongBridge(Urn):
    def bridge(self, x, y, s, t, u):
        return super().transition(y, u, t)


class BridgeOfOtherTimes(Urn):
    def bridge(self, x, y, s, t, u):
        s, t, u = (torch.as_tensor(time).double() for time in (s, t, u))
        return super().bridge(x, y, s, s + (u - s) * ((t - s) / (u - s)) ** 1.01, u)


class RatesOff(Urn):
    def rates(self, x, y, t):
        return 1.01 * super().rates(x, y, t)


class MovesOff(Urn):
    def moves(self, x):
        return super().moves(x).flip(-1)


class ExpectedOff(Urn):
    def expected_rates(self, law, x, t):
        return self.rates(x, law.mean.round().long(), t)


class NoisedOff(Urn):
    def noised(self, x1):
        return super().transition(x1, 1.0, 0.6)


class SourceOff(Urn):
    def source(self, like):
        return laws.Categorical(torch.zeros(*like.shape, self.size))


class Rounding(laws.Categorical):
    def sample(self, *, generator=None):
        return super().sample(generator=generator).float()


class Global(laws.Categorical):
    def sample(self, *, generator=None):
        return super().sample(generator=None)


class Skewed(laws.Categorical):
    def sample(self, *, generator=None):
        return laws.Categorical(1.5 * self.logits).sample(generator=generator)


class Off(laws.Categorical):
    @property
    def mean(self):
        return super().mean + 0.01


def with_law(kind):
    class Changed(Urn):
        def transition(self, x, s, t):
            return kind(super().transition(x, s, t).logits)

    return Changed


class TransitionOff(Urn):
    def transition(self, x, s, t):
        s, t = (torch.as_tensor(time).double() for time in (s, t))
        return super().transition(x, s, s * (t / s) ** 1.1)


class EvidenceOff(Urn):
    def evidence(self, x, t):
        return 1.1 * super().evidence(x, t)


class BoundsOff(Urn):
    def bounds(self, high, low):
        found = super().bounds(high, low)
        return replace(found, of=lambda x: found.of(x) / 10)


class PathOff(Urn):
    def divergence(self, law, x, y, t):
        return 2 * super().divergence(law, x, y, t)


class Forgiving(Urn):
    def check(self, x, name="x"):
        return torch.as_tensor(x).nan_to_num().long()


BROKEN = {
    SourceOff: "`source` is not the law at t = 0",
    WrongBridge: "bridge",
    BridgeOfOtherTimes: "`bridge` between .* not the product of transitions",
    RatesOff: "`rates` at .* are not the limit of the bridge",
    MovesOff: "`rates` at .* are not the limit of the bridge",
    ExpectedOff: "`expected_rates` at .* not the average",
    NoisedOff: "`noised` is not the transition from 1 to 0",
    with_law(Rounding): "draws of `transition` are torch.float32 where states are torch.int64",
    with_law(Global): "from the global generator of torch",
    with_law(Skewed): "draws of `transition` do not follow",
    with_law(Off): "the mean of `transition`",
    TransitionOff: "is not that by way of|not the product of transitions",
    EvidenceOff: "`evidence` at",
    BoundsOff: "`bounds` around .* are below a rate",
    PathOff: "`divergence` at",
    Forgiving: "`check` takes NaN",
}


@pytest.mark.parametrize(
    ("broken", "sentence"), BROKEN.items(), ids=[f"{i}-{b.__name__}" for i, b in enumerate(BROKEN)]
)
def test_a_broken_process_is_told(broken, sentence):
    with pytest.raises(CheckError, match=sentence):
        check_process(broken(), COUNTS)


def test_the_urn_that_was_broken_passes():
    check_process(Urn(), COUNTS)


class Drifting(mb.LinearDiffusion):
    def drift(self, x, y, t):
        return 1.01 * super().drift(x, y, t)


class Loud(mb.LinearDiffusion):
    def diffusion(self, t):
        return 1.1 * super().diffusion(t)


class Bridged(mb.LinearDiffusion):
    def bridge(self, x, y, s, t, u):
        law = super().bridge(x, y, s, t, u)
        return replace(law, scale=1.02 * law.scale)


class Still(mb.LinearDiffusion):
    def noised(self, x1):
        law = super().noised(x1)
        return replace(law, scale=0.5 * law.scale)


@dataclass(frozen=True, eq=False)
class Narrow(laws.Gaussian):
    def sample(self, *, generator=None):
        law = laws.Gaussian(self.loc, 0.9 * self.scale, self.covariance)
        return law.sample(generator=generator)


class Narrowed(mb.LinearDiffusion):
    def transition(self, x, s, t):
        law = super().transition(x, s, t)
        return Narrow(law.loc, law.scale, law.covariance)


class SourceLoud(mb.LinearDiffusion):
    def source(self, like):
        return laws.Normal(torch.zeros_like(like), torch.full_like(like, 1.5))


class Faster(mb.LinearDiffusion):
    def transition(self, x, s, t):
        law = super().transition(x, s, t)
        return replace(law, scale=law.scale.abs() ** 1.1)


@pytest.mark.parametrize("sites", [1, 2])
@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Drifting, "`drift` at"),
        (Loud, "`diffusion` at"),
        (Bridged, "`bridge` between"),
        (Still, "bridges from `noised`"),
        (Narrowed, "draws of the transition"),
        (Faster, "is not that by way of|not the product of transitions"),
    ],
)
def test_a_broken_diffusion_is_told(broken, sentence, sites):
    with pytest.raises(CheckError, match=sentence):
        check_process(broken(mb.OrnsteinUhlenbeck(-0.7)), REALS.expand(-1, sites))


def test_a_source_that_is_not_where_noising_ends_is_told():
    with pytest.raises(CheckError, match="`source` does not have the moments at t = 0"):
        check_process(SourceLoud(mb.VP(), direction="noising"), REALS)
    kept = check_process(mb.LinearDiffusion(mb.VP(), direction="noising"), REALS)
    assert "source" in kept.checked
    left = check_process(mb.LinearDiffusion(mb.VE(), direction="noising"), REALS)
    assert "something is left of the data" in left.skipped["source"]


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ValueError, match="give at least one data point"):
        check_process(CHAIN, COUNTS[:0])
    with pytest.raises(ValueError, match="times must increase"):
        check_process(CHAIN, COUNTS, times=(0.5, 0.2, 0.9))
    with pytest.raises(CheckError, match="too many for tables"):
        check_process(mb.PureDeath(), 100_000 + COUNTS)
