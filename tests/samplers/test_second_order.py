"""Second-order samplers against the laws of their steps, enumerated with NumPy."""

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import LinearSchedule, PureDeath, Transport, exact
from markovbridge.couplings import Noised
from markovbridge.processes import AbsorbingChain, LinearDiffusion, UniformChain
from markovbridge.samplers import SecondOrderBridge, Trapezoidal
from problems import assert_follows, distance

TOP = 3  # counts 0 .. 3 at each of two sites
VALUES = np.arange(TOP + 1)


first, second = np.meshgrid(VALUES, VALUES, indexing="ij")
LAW = np.exp(-((first - second) ** 2) / 6 - (first - 1) ** 2 / 4)
LAW = LAW / LAW.sum()


def thin(p):
    return stats.binom.pmf(VALUES[None, :], VALUES[:, None], p)


def posterior(p):
    """Tables of x_1 at each site: (x, x', site, end)."""
    to = thin(p)
    joint = to.T @ LAW @ to
    first = np.einsum("ya,yb,bc->acy", to, LAW, to)
    second = np.einsum("ya,yb,bc->acb", to, LAW, to)
    return np.stack([first, second], 2) / np.maximum(joint, 1e-300)[:, :, None, None]


def bridge(p, s):
    """p(x_s | x_p, x_1): (x_p, end, x_s)."""
    x, y, z = np.meshgrid(VALUES, VALUES, VALUES, indexing="ij")
    return stats.binom.pmf(z - x, np.maximum(y - x, 0), (s - p) / (1 - p)) * (y >= x)


def evidence(p):
    return np.where(VALUES[None] >= VALUES[:, None], thin(p).T, 0.0)


def corrected(new, old, x, weight):
    """The positive part of an extrapolated table, its mean put back."""
    signed = weight * new - (weight - 1) * old
    table = np.maximum(signed, 0) / np.maximum(signed, 0).sum()
    above = np.maximum(VALUES - x, 0)
    wanted, mean = max(signed @ above, 0.0), table @ above
    if wanted < mean:
        return wanted / mean * table + (1 - wanted / mean) * (VALUES == x)
    biased = table * above / max(mean, 1e-300)
    share = (wanted - mean) / max(biased @ above - mean, 1e-300)
    return (1 - min(share, 1)) * table + min(share, 1) * biased if mean > 0 else table


def law_step(mass, p, s, theta):
    m = p + theta * (s - p)
    old_tables, new_tables = posterior(p), posterior(m)
    to_m, to_s, ratio = bridge(p, m), bridge(m, s), evidence(m)
    weight, moved = 1 / (2 * theta * (1 - theta)), np.zeros_like(mass)
    for x in zip(*np.nonzero(mass), strict=True):
        look = [old_tables[x][i] @ to_m[x[i]] for i in (0, 1)]
        for x_m in np.ndindex(mass.shape):
            probability = mass[x] * look[0][x_m[0]] * look[1][x_m[1]]
            if probability < 1e-15:
                continue
            rest = []
            for i in (0, 1):
                before = evidence(p)[x[i]]
                news = ratio[x_m[i]] / np.where(before > 0, before, np.inf)
                old = old_tables[x][i] * news
                end = corrected(new_tables[x_m][i], old / old.sum(), x_m[i], weight)
                rest.append(end @ to_s[x_m[i]])
            moved += probability * np.outer(*rest)
    return moved


def births(x, mean):
    table = stats.poisson.pmf(VALUES - x, mean)
    table[-1] += 1 - table.sum()
    return table


def mean_step(mass, p, s, theta):
    m = p + theta * (s - p)
    weight, moved = 1 / (2 * theta * (1 - theta)), np.zeros_like(mass)
    here = np.stack(np.meshgrid(VALUES, VALUES, indexing="ij"), 2)
    hazard = [np.maximum(posterior(u) @ VALUES - here, 0) / (1 - u) for u in (p, m)]
    for x in zip(*np.nonzero(mass), strict=True):
        look = [births(x[i], hazard[0][x][i] * (m - p)) for i in (0, 1)]
        for x_m in np.ndindex(mass.shape):
            probability = mass[x] * look[0][x_m[0]] * look[1][x_m[1]]
            if probability < 1e-15:
                continue
            rate = np.maximum(weight * hazard[1][x_m] - (weight - 1) * hazard[0][x], 0)
            rest = [births(x_m[i], rate[i] * (s - m)) for i in (0, 1)]
            moved += probability * np.outer(*rest)
    return moved


STEPS = {SecondOrderBridge: law_step, Trapezoidal: mean_step}


def output(step, survival, theta):
    mass = np.zeros((TOP + 1, TOP + 1))
    mass[0, 0] = 1
    for p, s in zip(survival, survival[1:], strict=False):
        mass = step(mass, p, s, theta)
    return mass


def transport(states=TOP + 1):
    process = PureDeath(maximum=TOP, schedule=LinearSchedule())
    every = torch.cartesian_prod(torch.arange(TOP + 1), torch.arange(TOP + 1))
    law = exact.Empirical(process, every, torch.from_numpy(LAW).flatten(), states=states)
    return Transport(process, law, shape=(2,))


@pytest.mark.parametrize("sampler", [SecondOrderBridge(), SecondOrderBridge(0.3), Trapezoidal()])
def test_steps_follow_their_law(sampler):
    survival = [0.0, 0.3, 1.0]
    x = transport().sample(
        40_000,
        steps=torch.tensor(survival, dtype=torch.float64),
        sampler=sampler,
        generator=torch.Generator().manual_seed(0),
        block=4096,
    )
    expected = output(STEPS[type(sampler)], survival, sampler.theta)
    assert distance(expected, LAW) > 0.003  # so that following the step is not being exact
    assert_follows((TOP + 1) * x[:, 0] + x[:, 1], expected.flatten())


@pytest.mark.parametrize("sampler", [SecondOrderBridge, Trapezoidal])
def test_second_order(sampler):
    errors = []
    for steps in (4, 8, 16):
        survival = np.sin(np.linspace(0, np.pi / 2, steps + 1)) ** 2
        errors.append(distance(output(STEPS[sampler], survival, sampler().theta), LAW))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders.min() > 1.7, (errors, orders)


@pytest.mark.parametrize("steps", [1, 3])
def test_sites_on_their_own_are_exact(steps):
    # What the own move says is known; with nothing else to learn the law is exact.
    process = PureDeath(maximum=10)
    law = exact.Empirical(
        process,
        torch.arange(11).unsqueeze(1),
        torch.from_numpy(stats.binom.pmf(range(11), 10, 0.4)),
        states=11,
    )
    x = Transport(process, law, shape=(1,)).sample(
        20_000,
        steps=steps,
        sampler=SecondOrderBridge(),
        generator=torch.Generator().manual_seed(1),
        block=4096,
    )
    assert_follows(x, stats.binom.pmf(range(11), 10, 0.4))


@pytest.mark.parametrize("steps", [1, 3])
def test_a_constant_hazard_is_exact(steps):
    process = PureDeath()
    x = Transport(process, exact.Poisson(process, 2.5), shape=(1,)).sample(
        20_000,
        steps=steps,
        sampler=Trapezoidal(),
        generator=torch.Generator().manual_seed(2),
        block=4096,
    )
    assert_follows(x, stats.poisson.pmf(range(40), 2.5))


@pytest.mark.parametrize("process", [UniformChain(3), AbsorbingChain(3)])
def test_chains(process):
    table = np.array([[0.4, 0.02, 0.03], [0.05, 0.2, 0.05], [0.02, 0.03, 0.2]])
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    law = exact.Empirical(process, every, torch.from_numpy(table).flatten(), states=3)
    model = Transport(process, law, shape=(2,), coupling=Noised())
    off = []
    for sampler, steps in ((None, 4), (SecondOrderBridge(), 2)):  # equal evaluations
        x = model.sample(
            20_000,
            steps=steps,
            sampler=sampler,
            generator=torch.Generator().manual_seed(3),
            block=8192,
        )
        found = np.bincount((3 * x[:, 0] + x[:, 1]).numpy(), minlength=9) / len(x)
        off.append(distance(found, table.flatten()))
    assert off[1] < 0.7 * off[0], off


def test_evaluations():
    assert SecondOrderBridge().evaluations(5) == Trapezoidal().evaluations(5) == 10


@pytest.mark.parametrize("theta", [0.0, 1.0, -0.1])
def test_theta_lies_inside_the_step(theta):
    for sampler in (SecondOrderBridge, Trapezoidal):
        with pytest.raises(ValueError, match="theta"):
            sampler(theta)


def test_refuses_what_it_cannot_step():
    unbounded = PureDeath()
    model = Transport(unbounded, exact.Poisson(unbounded, 1.0), shape=(1,))
    with pytest.raises(TypeError, match="maximum"):
        model.sample(2, steps=2, sampler=SecondOrderBridge())
    bounded = PureDeath(maximum=5)
    model = Transport(bounded, exact.Poisson(bounded, 1.0), shape=(1,))
    with pytest.raises(TypeError, match="Trapezoidal"):
        model.sample(2, steps=2, sampler=SecondOrderBridge())
    model = Transport(LinearDiffusion(), lambda x, t, c: None, shape=(1,))
    with pytest.raises(TypeError, match="leaps amounts"):
        model.sample(2, steps=2, sampler=Trapezoidal())
