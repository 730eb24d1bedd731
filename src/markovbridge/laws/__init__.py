r"""Laws: what one draw follows.

A law is a batch of distributions over an event, `(batch, *event)`, with four
answers: `sample(generator=)`, `log_prob(x)`, `mean`, `variance`. Most laws are
independent over sites given their parameters (`SiteLaw`): they say the
log-probability per site, and `log_prob` sums it. `Gaussian`, `Mixture` and `Atoms`
are joint.

Counts are carried as int64, reals as float. For counts, X - origin is often
known far more accurately than X (a remaining count of 1e-6 above 200), so
`excess(origin)` and `log_excess(origin)` give E[X] - origin without cancellation.
"""

from markovbridge.laws.base import Delta, Law, Shifted, SiteLaw, Table
from markovbridge.laws.counts import (
    Binomial,
    NegativeBinomial,
    Poisson,
    Rounded,
    SiteMixture,
    ZeroInflated,
)
from markovbridge.laws.gaussian import Gaussian, Normal
from markovbridge.laws.joint import Atoms, Mixture
from markovbridge.laws.modes import ModalGaussian
from markovbridge.laws.numbers import LOG_TINY, MOST
from markovbridge.laws.positive import Beta, Gamma
from markovbridge.laws.tables import BLOCK, Categorical, LogisticMixture, Tilted

__all__ = [
    "BLOCK",
    "LOG_TINY",
    "MOST",
    "Atoms",
    "Beta",
    "Binomial",
    "Categorical",
    "Delta",
    "Gamma",
    "Gaussian",
    "Law",
    "LogisticMixture",
    "Mixture",
    "ModalGaussian",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "Rounded",
    "Shifted",
    "SiteLaw",
    "SiteMixture",
    "Table",
    "Tilted",
    "ZeroInflated",
]
