"""Jump processes of several sites whose reverse is known by enumeration."""

from dataclasses import dataclass

import torch
from scipy.stats import chisquare
from torch import nn

from markovbridge.simulated import (
    JumpDynamics,
    Reactions,
    ReverseRates,
    Tabulated,
    rate_matrix,
    reachable,
    simulate,
)


def ring(pace=1.0, sites=4):
    """Particles hop on a ring where there is room: 1 clockwise, .3 the other way."""
    changes = torch.zeros(2 * sites, sites, dtype=torch.int64)
    for i in range(sites):
        for change, sign in ((changes[i], 1), (changes[sites + i], -1)):
            change[i], change[(i + 1) % sites] = -sign, sign
    rates = pace * torch.tensor([1.0] * sites + [0.3] * sites, dtype=torch.float64)
    return Reactions(changes, lambda x, t: rates.expand(len(x), -1), most=1)


def epidemic(people=12):
    """Susceptible and infected: infection, also from outside, recovery, loss of immunity."""

    def rates(x, t):
        s, i = x.double().unbind(1)
        return torch.stack([s * (3 * i / people + 0.2), 2 * i, 1.5 * (people - s - i)], 1)

    changes = torch.tensor([[-1, 1], [0, -1], [1, 0]])
    return Reactions(changes, rates, allowed=lambda x: x.sum(1) <= people)


@dataclass
class Flips(JumpDynamics):
    """Two sites that flip, at rate 1 + .8 [both equal]."""

    shape = (2,)
    labels = 2

    def moves(self, x):
        return x.unsqueeze(1) ^ torch.eye(2, dtype=torch.int64)

    origins = moves

    def rates(self, x, t):
        return (1 + 0.8 * (x[:, :1] == x[:, 1:]).double()).expand(-1, 2)


@dataclass
class Known:
    """A dynamics with a law of data, and all that follows from it by enumeration."""

    dynamics: JumpDynamics
    states: torch.Tensor
    law: torch.Tensor

    @classmethod
    def of(cls, dynamics, law):
        """A law given as {state: probability}."""
        start = torch.tensor(list(law))
        states = reachable(dynamics, start)
        table = torch.zeros(len(states), dtype=torch.float64)
        for state, probability in law.items():
            table[(states == torch.tensor(state)).all(1)] = probability
        return cls(dynamics, states, table)

    def matrix(self, t=0.5):
        return rate_matrix(self.dynamics, self.states, t)

    def marginal(self, t):
        return self.law @ torch.matrix_exp(self.matrix() * (1 - t))

    def reverse(self, t):
        """Exact reverse rates of each label, (S, M)."""
        return self.of_labels(t) * torch.exp(self.log_ratios(t))

    def of_labels(self, t):
        return self.dynamics.inward(self.states, torch.full((len(self.states),), t).double())

    def log_ratios(self, t):
        law = self.marginal(t).clamp_min(1e-300)
        origins = self.dynamics.origins(self.states)
        same = (origins.unsqueeze(2) == self.states).flatten(3).all(3)
        known = torch.where(same.any(2), law[same.int().argmax(2)], 1.0)
        return (known / law.unsqueeze(1)).log()

    def source(self):
        return Tabulated(self.states, self.marginal(0.0))

    def data(self, n, generator=None):
        return Tabulated(self.states, self.law).sample(n, generator=generator)

    def noised(self, n, t, generator=None, **options):
        return simulate(self.dynamics, self.data(n, generator), 1.0, t, generator=generator)

    def index(self, x):
        return (x.unsqueeze(1) == self.states).flatten(2).all(2).int().argmax(1)

    def counts(self, x):
        return torch.bincount(self.index(x), minlength=len(self.states)).double()

    def distance(self, x):
        """Total variation between a sample and the data."""
        return 0.5 * float((self.counts(x) / len(x) - self.law).abs().sum())

    def mean_loss(self, model, points=48):
        """∫ E loss_rate dt, that is -E bound + E log source, by quadrature."""
        nodes, weights = legendre(points)
        total = 0.0
        for u, weight in zip(nodes, weights, strict=True):
            t = 1 - (1 - u) ** 2  # smooth where a data point makes a logarithm at 1
            times = torch.full((len(self.states),), t, dtype=torch.float64)
            with torch.no_grad():
                rate = model.loss_rate(self.states, times)
            total += weight * 2 * (1 - u) * float(self.marginal(t) @ rate)
        return total

    def entropy(self):
        p = self.law[self.law > 0]
        return float(-(p * p.log()).sum())


def legendre(points):
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(points)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


class Exact(nn.Module):
    """In place of a network: exact log ratios, read off the state that `encode` hands on."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def forward(self, features, t):
        index = self.known.index(features[:, 0].round().long())
        times, where = t.double().unique(return_inverse=True)
        tables = torch.stack([self.known.log_ratios(float(one)) for one in times])
        return tables[where, index]


class Small(nn.Module):
    """Two hidden layers on features and time."""

    def __init__(self, inputs, outputs, width=48, scale=1.0, values=0):
        super().__init__()
        self.scale, self.values = scale, values
        self.layers = nn.Sequential(
            nn.Linear(inputs + 1, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, outputs),
        )

    def forward(self, features, t):
        x = self.scale * features.flatten(1)
        if self.values:  # one-hot states, and log(1 - t)
            one_hot = nn.functional.one_hot(features[:, 0].long(), self.values)
            x = torch.cat([one_hot.flatten(1), features[:, 1, :1]], 1)
        return self.layers(torch.cat([x, t.unsqueeze(1)], 1))


def exact(known):
    return ReverseRates(known.dynamics, Exact(known), known.source())


def follows(counts, law):
    """Whether counts follow a law, at level 1e-5; cells that expect little are one."""
    expected = law * counts.sum()
    large = expected >= 5
    found = torch.cat([counts[large], counts[~large].sum().reshape(1)])
    wanted = torch.cat([expected[large], expected[~large].sum().reshape(1)])
    if float(wanted[-1]) < 5:
        assert float(found[-1]) < 30
        found, wanted = found[:-1], wanted[:-1]
        wanted = wanted * found.sum() / wanted.sum()
    return chisquare(found.numpy(), wanted.numpy()).pvalue > 1e-5
