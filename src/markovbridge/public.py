"""What `import markovbridge` offers by name: processes, heads, samplers and the rest.

The package itself imports this when the first of these names is asked for, so that what needs
none of them, such as `markovbridge --help`, does not wait for torch.
"""

from markovbridge import exact
from markovbridge.count_model import CountModel
from markovbridge.couplings import Dirac, Independent, MinibatchOT, Noised, Paired
from markovbridge.heads import (
    Categorical,
    Centred,
    Endpoint,
    LogisticMixture,
    Mean,
    NegativeBinomial,
    TwoMeans,
)
from markovbridge.masking import Masking
from markovbridge.objectives import (
    DriftMatching,
    EndMSE,
    EndNLL,
    FiniteTime,
    Instantaneous,
    PathKL,
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
    LinearDiffusion,
    OrnsteinUhlenbeck,
    PureBirth,
    PureDeath,
    RandomWalk,
    SubVP,
    UniformChain,
)
from markovbridge.samplers import (
    Bridge,
    Corrected,
    EulerMaruyama,
    Gillespie,
    Midpoint,
    ProbabilityFlow,
    TauLeaping,
    Trapezoidal,
)
from markovbridge.schedules import Cosine, Linear, Logistic, Survival
from markovbridge.transport import Transport, statistics

__all__ = [
    "AbsorbingChain",
    "BirthDeath",
    "Bridge",
    "Brownian",
    "Categorical",
    "Centred",
    "Coefficients",
    "Corrected",
    "Cosine",
    "CountModel",
    "Dirac",
    "DiscreteTimeChain",
    "DiscretisedGaussianChain",
    "DriftMatching",
    "Ehrenfest",
    "EndMSE",
    "EndNLL",
    "Endpoint",
    "EulerMaruyama",
    "FiniteChain",
    "FiniteTime",
    "Gillespie",
    "Independent",
    "Instantaneous",
    "Linear",
    "LinearDiffusion",
    "Logistic",
    "LogisticMixture",
    "Masking",
    "Mean",
    "Midpoint",
    "MinibatchOT",
    "NegativeBinomial",
    "Noised",
    "OrnsteinUhlenbeck",
    "Paired",
    "PathKL",
    "ProbabilityFlow",
    "PureBirth",
    "PureDeath",
    "RandomWalk",
    "SubVP",
    "Survival",
    "TauLeaping",
    "Transport",
    "Trapezoidal",
    "TwoMeans",
    "UniformChain",
    "VE",
    "VP",
    "exact",
    "statistics",
]
