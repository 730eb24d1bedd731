"""Count models whose law of the data is known, in place of a network."""

from dataclasses import dataclass

import torch

from markovbridge import CountModel, Noised, PureDeath, Transport, laws
from markovbridge.data.tables.made import Form
from markovbridge.samplers.known_sites import Masking


def count_model(law, mean, *, masking=None, **params):
    """A `CountModel` of an exact law of independent features with these means, (d,)."""
    mean = torch.as_tensor(mean, dtype=torch.float32)
    process = getattr(law, "process", PureDeath())
    model = CountModel(tolerance=1.0, random_state=0, **params)
    model.transport_ = Transport(
        process, law, shape=mean.shape, mean=mean, variance=mean + 1e-3, masking=masking
    )
    model.covariates_, model.n_features_in_ = None, len(mean)
    model.kind_, model.form_ = "array", Form()
    return model


class Zeros(torch.nn.Module):
    """A network that corrects nothing, with one output a site."""

    def forward(self, features, t, condition=None):
        return torch.zeros_like(features[:, :1])


@dataclass(frozen=True)
class SharedDepth:
    """Poisson counts whose means share a gamma factor: known entries say something of others.

    x_j | g ~ Poisson(g m_j), g ~ Gamma(size, mean 1). Given known entries with sum k and mean sum
    a, and thinned others with sum x and survived mean p b, g ~ Gamma(size + k + x) over
    size + a + p b, and the remaining counts of a feature have the mean q m_j E[g].
    """

    process: PureDeath
    mean: torch.Tensor
    size: float

    coupling = Noised()
    masking = Masking()

    def __call__(self, x, t, condition=None, observed=None):
        p = self.process.schedule.survival(t)[:, None].double()
        q = self.process.schedule.mortality(t)[:, None].double()
        mean = self.mean.double()
        known = torch.zeros_like(x, dtype=torch.bool) if observed is None else observed.mask
        values = x if observed is None else torch.where(known, observed.values, x)
        weight = torch.where(known, mean, p * mean).sum(1, keepdim=True)
        gamma = (self.size + values.sum(1, keepdim=True)) / (self.size + weight)
        return laws.Shifted(x, laws.Poisson((q * mean * gamma).log()))


def shared_depth(n, mean, size, rng):
    """N rows of that law, int64."""
    depth = rng.gamma(size, 1 / size, (n, 1))
    return torch.from_numpy(rng.poisson(depth * mean))
