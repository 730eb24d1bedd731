"""Imputation against the exact conditional law, on tables of two pixels and on Gaussians."""

import pytest
import torch
from scipy import stats

from markovbridge import (
    AbsorbingChain,
    BirthDeath,
    Bridge,
    CategoricalHead,
    Dirac,
    Ehrenfest,
    Gillespie,
    Independent,
    LinearDiffusion,
    MeanHead,
    PureDeath,
    TauLeaping,
    Transport,
    UniformChain,
    exact,
    laws,
)
from markovbridge.couplings import Gaussian
from markovbridge.doors.randomness import generator
from markovbridge.networks import MLP
from markovbridge.samplers import SecondOrderBridge, Trapezoidal
from markovbridge.samplers.known_sites import Masking
from problems import LEVEL, assert_follows, assert_uniform, distance

SIZE = 5  # values of each of two pixels
N = 10_000

first, second = torch.meshgrid(*[torch.arange(SIZE).double()] * 2, indexing="ij")
TABLE = torch.exp(-((first + second - 4) ** 2) / 1.5 - (first - 1) ** 2 / 4) + 0.02 * (
    first == second
)
TABLE = TABLE / TABLE.sum()
POINTS = torch.cartesian_prod(torch.arange(SIZE), torch.arange(SIZE))
PROCESSES = {
    "death": PureDeath(SIZE - 1),
    "uniform": UniformChain(SIZE),
    "absorbing": AbsorbingChain(SIZE),
    "urn": Ehrenfest(SIZE - 1),
    "birth-death": BirthDeath(2.0, SIZE - 1),
}


def joint(process):
    return exact.Empirical(process, POINTS, TABLE.flatten())


class Told:
    """A perfect network trained with known sites: the law given x_t and what is known."""

    def __init__(self, process):
        self.joint = joint(process)

    def __call__(self, x, t, condition=None, observed=None):
        law = self.joint(x, t)
        if observed is not None:
            same = (POINTS == observed.values.unsqueeze(1)) | ~observed.mask.unsqueeze(1)
            log_weights = torch.where(same.all(-1), law.log_weights, -torch.inf)
            law = laws.Atoms(law.points, log_weights.log_softmax(1))
        return law.sites(SIZE)


class NotTold:
    """A perfect network trained without: the law given x_t alone, kept for each time."""

    def __init__(self, process):
        self.joint, self.kept = joint(process), {}
        states = torch.arange(process.size or SIZE)
        self.states, self.size = torch.cartesian_prod(states, states), len(states)

    def __call__(self, x, t, condition=None):
        t = float(t[0])
        if t == 0:
            return self.joint(x, t).sites(SIZE)
        if t not in self.kept:
            self.kept[t] = self.joint(self.states, t).sites(SIZE).logits
        return laws.Categorical(self.kept[t][x[:, 0] * self.size + x[:, 1]])


def told(process):
    return Transport(process, Told(process), shape=(2,), masking=Masking())


def impute(model, value, n=N, **options):
    """The second pixel, given the first: (n,)."""
    x = torch.tensor([[value, 99]]).expand(n, 2)
    mask = torch.tensor([True, False])
    options = {"generator": generator("cpu", "impute"), "block": n} | options
    draws = model.impute(x, mask, **options)
    assert (draws[:, 0] == value).all()
    return draws[:, 1]


def conditional(value):
    return (TABLE[value] / TABLE[value].sum()).numpy()


# A network that is told ----------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_perfect_network_that_is_told_is_exact(name, steps):
    """With one pixel open the law per site is the joint law: exact at any number of steps."""
    assert_follows(impute(told(PROCESSES[name]), 3, steps=steps), conditional(3))


@pytest.mark.parametrize(
    ("sampler", "steps"), [(SecondOrderBridge(), 3), (Gillespie(), 1)], ids=["second", "jumps"]
)
def test_other_exact_samplers_are_exact(sampler, steps):
    draws = impute(told(PureDeath(SIZE - 1)), 1, 5000, steps=steps, sampler=sampler)
    assert_follows(draws, conditional(1))


class Lenient(Told):
    """Told what is known, it need not look at that site, which a leap may take too far."""

    def __call__(self, x, t, condition=None, observed=None):
        assert observed is not None
        return super().__call__(torch.where(observed.mask, 0, x), t, None, observed)


@pytest.mark.parametrize("sampler", [Trapezoidal(), TauLeaping()], ids=["trapezoidal", "leap"])
def test_leaps_converge(sampler):
    """They may step beyond the known value, from where there is no bridge."""
    process = PureDeath(SIZE - 1)
    model = Transport(process, Lenient(process), shape=(2,), masking=Masking())
    draws = impute(model, 1, 3000, steps=25, sampler=sampler)
    found = torch.bincount(draws, minlength=SIZE) / len(draws)
    assert distance(found, conditional(1)) < 0.05


def test_moves_back_and_forth_change_nothing_for_a_network_that_is_told():
    assert_follows(impute(told(PureDeath(SIZE - 1)), 3, steps=3, rounds=4), conditional(3))


def test_both_pixels_or_none_may_be_known():
    process = PureDeath(SIZE - 1)
    model = Transport(process, NotTold(process), shape=(2,))
    x = torch.tensor([[3, 1]]).expand(5000, 2)
    options = {"steps": 20, "rounds": 1, "generator": generator("cpu", 2), "block": 5000}
    assert model.impute(x, torch.tensor(True), **options).equal(x)
    draws = model.impute(x, torch.tensor(False), **options)
    again = model.sample(5000, steps=20, generator=generator("cpu", 3), block=5000)
    tables = [torch.bincount(SIZE * d[:, 0] + d[:, 1], minlength=SIZE**2) for d in (draws, again)]
    tables = torch.stack(tables).numpy()
    assert stats.chi2_contingency(tables[:, tables.sum(0) > 10]).pvalue > LEVEL


class GaussianPair:
    """(X, Y) standard normal with correlation .8, told X or Y: exact, from a point at 0."""

    def __call__(self, x, t, condition=None, observed=None):
        t = t.double().reshape(-1, 1)
        known = observed.mask.flip(1)  # whether the other is known
        mean = torch.where(known, 0.8 * observed.values.flip(1), 0.0).double()
        precision = torch.where(known, 1 / (1 - 0.8**2), 1.0)
        # Brownian bridge from 0: x_t = t x_1 + √(t(1-t)) z, so x_t has precision t/(1-t) of x_1.
        heard = t / (1 - t)
        total = precision + heard
        centre = (precision * mean + heard * x / t.clamp_min(1e-9)) / total
        return laws.Normal(centre.float(), total.rsqrt().float())


@pytest.mark.parametrize("steps", [1, 5])
def test_a_diffusion_that_is_told_is_exact(steps):
    model = Transport(
        LinearDiffusion(), GaussianPair(), shape=(2,), coupling=Dirac(0.0), masking=Masking()
    )
    x = torch.tensor([[torch.nan, 1.5]]).expand(5000, 2)
    draws = model.impute(
        x, ~x.isnan()[:1], steps=steps, generator=generator("cpu", steps), block=5000
    )
    assert (draws[:, 1] == 1.5).all()
    assert_uniform(stats.norm.cdf(draws[:, 0], 0.8 * 1.5, 0.6))


def test_a_network_learns_to_impute():
    from markovbridge.training import Trainer, TrainingConfig

    x = POINTS[torch.multinomial(TABLE.flatten(), 4000, True, generator=generator("cpu", 1))]
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    network = MLP((2,), 3, SIZE, width=32, depth=1)
    torch.random.set_rng_state(state)
    parts = {"mean": x.float().mean(), "variance": x.float().var(), "masking": Masking(0.3, 0.7)}
    model = Transport(PureDeath(SIZE - 1), network, CategoricalHead(), shape=(2,), **parts)
    config = TrainingConfig(steps=250, batch_size=128, learning_rate=8e-3, warmup=10, ema=0.98)
    trained = Trainer(model, x, config).run()
    for value in (1, 3):
        draws = impute(trained, value, 4000, steps=5)
        found = torch.bincount(draws, minlength=SIZE) / len(draws)
        assert distance(found, conditional(value)) < 0.08
        unconditional = TABLE.sum(0).numpy()
        assert distance(unconditional, conditional(value)) > 0.15


# Replacement ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["death", "uniform"])
def test_the_error_of_replacement_falls_with_rounds(name):
    process = PROCESSES[name]
    model, value = Transport(process, NotTold(process), shape=(2,)), 3
    errors = []
    for rounds in (1, 4, 16):
        draws = impute(model, value, 4000, steps=8, rounds=rounds)
        found = torch.bincount(draws, minlength=SIZE) / len(draws)
        errors.append(distance(found, conditional(value)))
    assert errors[0] > 0.2 and errors[2] < 0.15
    assert errors[0] > 1.3 * errors[1] > 1.3 * 1.3 * errors[2]


def test_rounds_are_ten_where_they_are_needed(monkeypatch):
    import markovbridge.transport.draws as sampling

    seen, walk = [], sampling.walk
    monkeypatch.setattr(
        sampling, "walk", lambda *a, rounds, **k: (seen.append(rounds), walk(*a, rounds=1, **k))[1]
    )
    process = PureDeath(SIZE - 1)
    for model in (told(process), Transport(process, NotTold(process), shape=(2,))):
        impute(model, 1, 4, steps=2)
    assert seen == [1, 10]


def test_replacement_needs_a_way_back():
    data = torch.randn(50, 2, generator=generator("cpu", 0))
    process = LinearDiffusion()
    coupling = Independent(Gaussian())
    law = exact.Empirical(process, data, coupling=coupling)
    model = Transport(process, law, shape=(2,), coupling=coupling)
    x, mask = data[:4], torch.tensor([True, False])
    with pytest.raises(TypeError, match="stated from source to data, so there is no way"):
        model.impute(x, mask, steps=3)
    draws = model.impute(x, mask, steps=3, rounds=1, generator=generator("cpu", 0), block=4)
    assert draws[:, 0].equal(x[:, 0])


# What a draw depends on ----------------------------------------------------------------------


def trained(masking=None):
    network = MLP((1, 2, 3), 3 if masking else 1, 1, width=16, depth=1)
    g = generator("cpu", "weights")
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=g))
    moments = {"mean": 3.0, "variance": 5.0}
    return Transport(
        PureDeath(9), network, MeanHead(), shape=(1, 2, 3), masking=masking, **moments
    )


def test_blocks_masks_and_states_on_the_way():
    model = trained(Masking())
    g = generator("cpu", "x")
    x = torch.randint(0, 10, (10, 1, 2, 3), generator=g, dtype=torch.uint8)
    mask = torch.rand(x.shape, generator=g) < 0.5
    seen = []
    options = {"steps": 4, "block": 4}
    whole = model.impute(
        x,
        mask,
        generator=generator("cpu", 1),
        callback=lambda t, x: seen.append((t, x)),
        **options,
    )
    assert whole.dtype == torch.int64 and whole[mask].equal(x[mask].long())
    part = model.impute(x[:8], mask[:8], generator=generator("cpu", 1), **options)
    assert part.equal(whole[:8])
    assert not model.impute(x, mask, generator=generator("cpu", 2), **options).equal(whole)
    for t, state in seen[:5]:  # known sites are on their way to their value
        assert (state[mask[:4]] <= x[:4][mask[:4]]).all() and (t > 0 or state.sum() == 0)
    key = torch.Generator().manual_seed(3)
    from markovbridge.doors.randomness import fresh_key

    number = fresh_key(key)
    block = model.impute_block(1, x, mask, key=number, **options)
    again = model.impute(x, mask, generator=torch.Generator().manual_seed(3), **options)
    assert block.equal(again[4:8])


def test_what_is_refused():
    model = trained()
    x, mask = torch.zeros(2, 1, 2, 3, dtype=torch.int64), torch.ones(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="rounds must be from 1 to 100000, not 0"):
        model.impute(x, mask, rounds=0)
    with pytest.raises(TypeError, match="a mask of known sites is bool"):
        model.impute(x, mask.long())
    with pytest.raises(ValueError, match="holds 12, above the maximum 9"):
        model.impute(x + 12, mask)
    assert model.impute(x - 1, ~mask, steps=1, sampler=Bridge()).shape == x.shape
