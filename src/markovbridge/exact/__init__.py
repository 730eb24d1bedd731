"""Laws of x_1 given x_t that are known exactly: they plug in where a network would."""

from markovbridge.exact.kernels import bridge_kernel, output_law
from markovbridge.exact.posteriors import (
    Binomial,
    DataLaw,
    Empirical,
    MeanOnly,
    Mixture,
    NegativeBinomial,
    Poisson,
    ZeroInflatedPoisson,
)

__all__ = [
    "Binomial",
    "DataLaw",
    "Empirical",
    "MeanOnly",
    "Mixture",
    "NegativeBinomial",
    "Poisson",
    "ZeroInflatedPoisson",
    "bridge_kernel",
    "output_law",
]
