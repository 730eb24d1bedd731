"""Tiny models of every class of linear diffusion, and exact laws of reals."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge import couplings, covariances, exact, networks, processes
from pinned_cases import COUNTS, REALS, TOLD, Case, case, empirical

ENDS = torch.tensor(
    [[1.0, 0.5, -0.2], [0.3, -0.9, 0.0], [-0.6, 0.1, 1.4], [0.7, 0.7, -1.0], [0.2, -0.3, 0.6]]
)
FIELDS = REALS.repeat(1, 4).reshape(5, 1, 3, 4)
LINE = {"dimension": 1}
WAVES = covariances.Cosine(1, (0.1, 0.3))
KERNEL = covariances.Matern(variance=0.8, length=1.0, smoothness=1.5)
DENSE = covariances.Dense([[1.0, 0.4, 0.1], [0.4, 0.8, 0.2], [0.1, 0.2, 0.6]])


def pull(r: Tensor) -> Tensor:
    """A pull of the user's."""
    return -0.5 - r


def noise(r: Tensor) -> Tensor:
    """A noise of the user's."""
    return 1 + 0.5 * r


def corners(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """A source of the user's."""
    return torch.rand(like.shape, generator=generator).round()


def normal(mean: float = 0.2, std: float = 0.7, **options) -> couplings.Gaussian:
    return couplings.Gaussian(mean, std, **options)


DIFFUSION_CASES: dict[str, Callable[[], Case]] = {
    "brownian": lambda: case(
        mb.LinearDiffusion(mb.Brownian(0.8)),
        mb.EndpointHead("end", spread=1.0),
        REALS,
        coupling=mb.Independent(),
        objective=mb.EndNLL(),
        **TOLD,
    ),
    "brownian-dirac": lambda: case(
        mb.LinearDiffusion(mb.Brownian(), covariances.Torus(KERNEL, **LINE)),
        mb.EndpointHead("residual"),
        REALS,
        coupling=mb.Dirac(0.3),
        objective=mb.PathKL(),
    ),
    "ornstein": lambda: case(
        mb.LinearDiffusion(
            mb.OrnsteinUhlenbeck(-0.7), covariances.Diagonal([0.5, 1.0, 1.5]), mb.CosineSchedule()
        ),
        mb.EndpointHead("drift"),
        REALS,
        coupling=mb.Independent(normal()),
        objective=mb.DriftMatching(),
    ),
    "vp": lambda: case(
        mb.LinearDiffusion(mb.VP(0.1, 5.0), DENSE, direction="noising"),
        mb.EndpointHead("noise"),
        REALS,
    ),
    "ve": lambda: case(
        mb.LinearDiffusion(
            mb.VE(0.05, 3.0), covariances.Grid(KERNEL, **LINE), direction="noising"
        ),
        mb.EndpointHead("score"),
        REALS,
        objective=mb.EndMSE(),
    ),
    "operator": lambda: case(
        mb.LinearDiffusion(mb.Brownian(0.7), covariances.Torus(KERNEL)),
        mb.EndpointHead("residual"),
        FIELDS,
        network=partial(networks.FourierOperator, width=4, depth=2, waves=2),
        coupling=mb.Independent(normal(correlated=True)),
    ),
    "sub-vp": lambda: case(
        mb.LinearDiffusion(
            mb.SubVP(0.1, 5.0),
            covariances.Separable(covariances.Torus(KERNEL), covariances.Isotropic(0.5)),
            direction="noising",
        ),
        mb.EndpointHead("residual"),
        FIELDS,
    ),
    "coefficients": lambda: case(
        mb.LinearDiffusion(mb.Coefficients(pull, noise)),
        mb.EndpointHead("end"),
        REALS,
        coupling=mb.MinibatchOT(),
        saved=False,
    ),
    "correlated": lambda: case(
        mb.LinearDiffusion(mb.Brownian(), covariances.GMRF(covariances.Matern(smoothness=1.0))),
        mb.EndpointHead("start"),
        FIELDS,
        coupling=mb.Independent(normal(correlated=True)),
        objective=mb.EndMSE(),
    ),
    "matched": lambda: case(
        mb.LinearDiffusion(mb.Brownian(0.5), covariances.Torus(covariances.Exponential(), **LINE)),
        mb.EndpointHead("end"),
        REALS,
        coupling=mb.MinibatchOT(normal(), preserve=True),
    ),
    "preserved": lambda: case(
        mb.LinearDiffusion(mb.Brownian(0.5)),
        mb.EndpointHead("residual"),
        REALS,
        coupling=mb.Independent(preserve=True),
    ),
    "paired": lambda: case(
        mb.LinearDiffusion(mb.Brownian(0.5)),
        mb.EndpointHead("end"),
        REALS,
        coupling=mb.Paired(),
        x0=ENDS,
    ),
    "paired-preserved": lambda: case(
        mb.LinearDiffusion(mb.Brownian(0.5)),
        mb.EndpointHead("end"),
        REALS,
        coupling=mb.Paired(preserve=True),
        x0=ENDS,
    ),
    "from-rows": lambda: case(
        mb.LinearDiffusion(mb.Brownian()),
        mb.EndpointHead("end"),
        REALS,
        coupling=mb.Independent(ENDS),
        saved=False,
    ),
    "from-a-function": lambda: case(
        mb.LinearDiffusion(mb.Brownian()),
        mb.EndpointHead("end"),
        REALS,
        coupling=mb.Independent(corners),
        saved=False,
    ),
    "from-data": lambda: case(
        mb.LinearDiffusion(
            mb.Brownian(), covariances.Torus(covariances.SquaredExponential(0.5), **LINE)
        ),
        mb.EndpointHead("residual"),
        REALS,
        coupling=mb.Independent(couplings.Data(mb.data.Synthetic((3,), maximum=3, n=40))),
    ),
    "clocks": lambda: case(
        mb.LinearDiffusion(
            mb.VP(0.1, 5.0),
            covariances.Modal(WAVES, (0.4, 0.8, 1.2)),
            direction="noising",
            modes=WAVES,
            clocks=processes.BandClocks((3.0, 1.0, 0.4), (1.0, 0.5, 0.1)),
        ),
        mb.EndpointHead("residual"),
        REALS,
        coupling=mb.Independent(normal(correlated=True)),
    ),
    "sdes-of-bands": lambda: case(
        mb.LinearDiffusion(
            processes.BandSDE((mb.Brownian(0.7), mb.OrnsteinUhlenbeck(-0.8), mb.VP(0.1, 4.0))),
            modes=covariances.Grouped(WAVES, [0, 1, 2]),
        ),
        mb.EndpointHead("drift"),
        REALS,
        coupling=mb.Dirac(0.3),
    ),
    "opposite": lambda: case(
        mb.LinearDiffusion(mb.Brownian(), covariances.Power(DENSE, -0.25)),
        mb.EndpointHead("end"),
        REALS,
        coupling=mb.Independent(normal(correlated=True)),
    ),
    "positive": lambda: case(
        mb.LinearDiffusion(support=processes.PositiveSupport()),
        mb.EndpointHead("end"),
        REALS.exp(),
        state=REALS,
        coupling=mb.Independent(),
    ),
    "interval": lambda: case(
        mb.LinearDiffusion(
            mb.Brownian(),
            covariances.Torus(covariances.PowerLaw(), **LINE),
            support=processes.IntervalSupport(-3.0, 3.0),
        ),
        mb.EndpointHead("end"),
        REALS,
        coupling=mb.Independent(),
    ),
    "rounded": lambda: case(
        mb.LinearDiffusion(support=processes.RoundedSupport(5)),
        mb.EndpointHead("end"),
        COUNTS.float(),
        state=REALS,
        coupling=mb.Independent(),
        **TOLD,
    ),
}

AMOUNTS = REALS.exp()

AMOUNT_CASES: dict[str, Callable[[], Case]] = {
    "gamma": lambda: case(
        mb.GammaProcess(4.0), mb.GammaHead(), AMOUNTS, objective=mb.EndNLL(), **TOLD
    ),
    "gamma-single": lambda: case(
        mb.GammaProcess(12.0, mb.LinearSchedule()),
        mb.GammaHead(components=1),
        AMOUNTS,
        masking=mb.Masking(),
        objective=mb.EndMSE(),
    ),
}

# Exact laws


def gaussian() -> Case:
    process = mb.LinearDiffusion(mb.OrnsteinUhlenbeck(0.5))
    spread = torch.as_tensor(DENSE.matrix).double()
    law = exact.Gaussian.coupled(
        process, mb.Independent(normal()), torch.tensor([0.5, -0.3, 0.2]).double(), spread
    )
    return case(process, None, REALS, law=law, objective=mb.EndMSE(), saved=False)


def gaussian_field() -> Case:
    torus = covariances.Torus(covariances.Exponential(0.8, 1.5), dimension=1)
    process = mb.LinearDiffusion(mb.VP(0.1, 5.0), torus, direction="noising")
    base = exact.GaussianField(process, torus, 0.3)
    head, masking = mb.EndpointHead("residual"), mb.Masking()
    return case(process, head, REALS, base=base, masking=masking, saved=False)


LAW_CASES: dict[str, Callable[[], Case]] = {
    "exact-empirical-reals": lambda: empirical(
        mb.LinearDiffusion(mb.VP(0.1, 5.0), direction="noising"), REALS
    ),
    "exact-gaussian": gaussian,
    "exact-gaussian-field": gaussian_field,
    "exact-empirical-amounts": lambda: empirical(mb.GammaProcess(4.0), AMOUNTS),
}

CASES = DIFFUSION_CASES | AMOUNT_CASES | LAW_CASES
