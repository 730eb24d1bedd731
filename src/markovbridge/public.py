"""What `import markovbridge` offers by name; see `markovbridge.storage.lazily`.

A count model, with readers of tables and the training loop, is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from markovbridge import exact
from markovbridge.couplings import Dirac, Independent, MinibatchOT, Noised, Paired
from markovbridge.heads import (
    CategoricalHead,
    CentredHead,
    EndpointHead,
    GammaHead,
    JointHead,
    LogisticMixtureHead,
    MeanHead,
    NegativeBinomialHead,
    TwoMeansHead,
)
from markovbridge.processes import (
    VE,
    VP,
    AbsorbingChain,
    BirthDeath,
    Brownian,
    Coefficients,
    DiscreteTimeChain,
    DiscretisedGaussianChain,
    Ehrenfest,
    FiniteChain,
    GammaProcess,
    LinearBirthDeath,
    LinearDiffusion,
    OrnsteinUhlenbeck,
    PureBirth,
    PureDeath,
    RandomWalk,
    SubVP,
    UniformChain,
    Yule,
)
from markovbridge.processes.schedules import (
    CosineSchedule,
    LinearSchedule,
    LogisticSchedule,
    SurvivalSchedule,
)
from markovbridge.samplers import (
    Bridge,
    Corrected,
    EulerMaruyama,
    Gillespie,
    HandOver,
    Midpoint,
    ProbabilityFlow,
    StochasticAdams,
    StochasticHeun,
    TauLeaping,
    Trapezoidal,
)
from markovbridge.samplers.known_sites import Masking
from markovbridge.samplers.model import Given
from markovbridge.transport import Transport, statistics
from markovbridge.transport.objectives import (
    DriftMatching,
    EarlyError,
    EndMSE,
    EndNLL,
    FiniteTime,
    Instantaneous,
    PathKL,
)

if TYPE_CHECKING:
    from markovbridge.counts import CountModel

__all__ = [
    "AbsorbingChain",
    "BirthDeath",
    "Bridge",
    "Brownian",
    "CategoricalHead",
    "CentredHead",
    "Coefficients",
    "Corrected",
    "CosineSchedule",
    "CountModel",
    "Dirac",
    "DiscreteTimeChain",
    "DiscretisedGaussianChain",
    "DriftMatching",
    "EarlyError",
    "Ehrenfest",
    "EndMSE",
    "EndNLL",
    "EndpointHead",
    "EulerMaruyama",
    "FiniteChain",
    "FiniteTime",
    "GammaHead",
    "GammaProcess",
    "Gillespie",
    "Given",
    "HandOver",
    "Independent",
    "Instantaneous",
    "JointHead",
    "LinearBirthDeath",
    "LinearDiffusion",
    "LinearSchedule",
    "LogisticSchedule",
    "LogisticMixtureHead",
    "Masking",
    "MeanHead",
    "Midpoint",
    "MinibatchOT",
    "NegativeBinomialHead",
    "Noised",
    "OrnsteinUhlenbeck",
    "Paired",
    "PathKL",
    "ProbabilityFlow",
    "PureBirth",
    "PureDeath",
    "RandomWalk",
    "StochasticAdams",
    "StochasticHeun",
    "SubVP",
    "SurvivalSchedule",
    "TauLeaping",
    "Transport",
    "Trapezoidal",
    "TwoMeansHead",
    "UniformChain",
    "VE",
    "VP",
    "Yule",
    "exact",
    "statistics",
]


def __getattr__(name: str) -> Any:
    if name == "CountModel":
        from markovbridge.counts import CountModel

        return CountModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
