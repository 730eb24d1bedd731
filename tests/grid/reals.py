"""Draw a pair of linear diffusions, and judge it against Gaussian laws in closed form."""

import numpy as np
import torch
from scipy import stats

import markovbridge as mb
from grid.settings import GUIDANCE, INNER, LEVEL, SHIFT, N, made, seed
from markovbridge import covariances, exact, heads, processes

# For every class of SDE: a process, and the coupling that goes with it.
DIFFUSIONS = {
    processes.Brownian: lambda: (mb.LinearDiffusion(mb.Brownian(0.8)), mb.Independent()),
    processes.OrnsteinUhlenbeck: lambda: (
        mb.LinearDiffusion(mb.OrnsteinUhlenbeck(-0.7, 1.0)),
        mb.Dirac(0.3),
    ),
    processes.VP: lambda: (mb.LinearDiffusion(mb.VP(), direction="noising"), mb.Noised()),
    processes.VE: lambda: (
        mb.LinearDiffusion(mb.VE(0.05, 20.0), direction="noising"),
        mb.Noised(),
    ),
    processes.SubVP: lambda: (mb.LinearDiffusion(mb.SubVP(), direction="noising"), mb.Noised()),
    processes.Coefficients: lambda: (
        mb.LinearDiffusion(mb.Coefficients(lambda r: -0.5 - r, lambda r: 1 + 0.5 * r)),
        mb.Independent(),
    ),
    processes.BandSDE: lambda: (
        mb.LinearDiffusion(
            processes.BandSDE((mb.Brownian(0.8), mb.OrnsteinUhlenbeck(-0.7, 1.0))),
            modes=covariances.Cosine(1, (0.1,)),
            clocks=processes.BandClocks((1.5, 0.8)),
        ),
        mb.Independent(),
    ),
}
# Without the spread of the posterior, which a mean does not tell, a step of the bridge draws with
# an error of the first order in its length.
MANY = 384
MEANS = torch.tensor([[0.5, -0.3, 0.2], [-0.4, 0.6, 0.0]]).double()
COVARIANCE = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.2, 0.4]]).double()


class Normal:
    """What a perfect network says of Gaussian data, jointly or by its mean."""

    def __init__(self, process, coupling, sites, mean_only):
        self.process, self.coupling_, self.sites = process, coupling, sites
        self.mean_only, self.kept = mean_only, {}

    def law(self, label, known):
        if (label, known) not in self.kept:
            mean, spread = self.moments(label, known)
            self.kept[label, known] = exact.Gaussian.coupled(
                self.process, self.coupling_, mean, spread
            )
        return self.kept[label, known]

    def moments(self, label, known=()):
        mean = MEANS.mean(0) if label is None else MEANS[label]
        return condition(mean[: self.sites], COVARIANCE[: self.sites, : self.sites], known)

    def __call__(self, x, t, condition=None, observed=None):
        label = None
        if condition is not None and not bool(condition.isnan().any()):
            label = int(condition[0, 0])
        known = ()
        if observed is not None and bool(observed.mask.any()):
            where = observed.mask[0].nonzero().flatten().tolist()
            known = tuple((site, float(observed.values[0, site])) for site in where)
        law = self.law(label, known)(x, t)
        if not self.mean_only:
            return law
        return heads.EndpointHead().around(self.process, law.mean.to(x.dtype), t)


def condition(mean, spread, known):
    """A Gaussian given some of its sites: mean and covariance, zero where it is known."""
    mean, spread = mean.clone(), spread.clone()
    for site, value in known:
        gain = spread[:, site] / spread[site, site]
        mean = mean + gain * (value - mean[site])
        spread = spread - torch.outer(gain, spread[site])
        spread[site], spread[:, site] = 0, 0
    return mean, (spread + spread.mT) / 2


def judge(sampler_class, sde, kind, mode):
    """Raise AssertionError if the law drawn is wrong, what the library raises if it refuses."""
    process, coupling = DIFFUSIONS[sde]()
    sampler, steps = made(sampler_class, kind == "joint", mode)
    if kind != "joint" and sampler_class is mb.Bridge:
        steps = MANY
    sites = 3 if mode == "told" else 2
    network = Normal(process, coupling, sites, kind != "joint")
    model = mb.Transport(
        process,
        network,
        shape=(sites,),
        coupling=coupling,
        masking=mb.Masking() if mode == "told" else None,
    )
    generator = seed(sampler_class.__name__, sde.__name__, kind, mode)
    n, label = N, 1 if mode in ("guided", "conditioned") else None
    options = {"steps": steps, "sampler": sampler, "generator": generator, "block": n}
    if label is not None:
        options["condition"] = torch.full((n, 1), float(label))
    mean, spread = network.moments(label)
    root = torch.linalg.cholesky(spread)

    def data(mean):
        noise = torch.randn(n, sites, generator=generator, dtype=torch.float64)
        return (mean + noise @ root.mT).float()

    if mode in ("inner", "corrected inner"):
        seen = torch.tensor([[0.4, -0.2]])
        x = model.restore(seen.expand(n, -1), INNER, **options)
        law = network.law(label, ())(seen, INNER)
        mean, spread = law.loc[0].double(), law.matrices[0]
    elif mode == "told":
        known = ((1, 0.7),)
        x = torch.full((n, 3), 0.7)
        x = model.impute(x, torch.tensor([[False, True, False]]), **options)
        assert bool((x[:, 1] == 0.7).all())
        mean, spread = network.moments(label, known)
    else:
        if mode == "guided":
            # Equal covariances: what is between the scores is the score at the mean between.
            options["guidance"] = GUIDANCE
            mean = GUIDANCE * mean + (1 - GUIDANCE) * MEANS.mean(0)[:sites]
        if isinstance(coupling, mb.Noised):
            start = coupling.pair(process, data(mean), generator=generator)
            x = model.translate(start, **options)
        else:
            x = model.sample(n, **options)
    allowed = 0.0 if kind == "joint" and sampler_class is mb.Bridge else SHIFT
    sites = spread.diagonal() > 1e-12
    x, mean, spread = x[:, sites].double(), mean[sites], spread[sites][:, sites]
    # White if the law is right: means, variances and correlations of the white coordinates.
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(spread), (x - mean).mT, upper=False
    )
    far = stats.norm.isf(LEVEL / 2) / np.sqrt(n)
    moments = white @ white.mT / n - torch.eye(len(white))
    assert float(white.mean(1).abs().max()) < far + allowed, white.mean(1)
    assert float(moments.abs().max()) < np.sqrt(2) * far + 2 * allowed, moments
    for row in white:
        statistic = stats.kstest(row.numpy(), "norm").statistic
        assert statistic < np.sqrt(-np.log(LEVEL / 2) / (2 * n)) + allowed, statistic
