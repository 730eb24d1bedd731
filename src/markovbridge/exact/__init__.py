"""Laws of x_1 given x_t that are known exactly: they plug in where a network would."""

from markovbridge.exact.base import DataLaw
from markovbridge.exact.count_mixtures import CountMixture
from markovbridge.exact.empirical import Empirical
from markovbridge.exact.fields import GaussianField
from markovbridge.exact.fits import BaseFit, FitFrequencies, FitLinearCounts, FitMixture
from markovbridge.exact.frequencies import Frequencies
from markovbridge.exact.gaussians import Gaussian
from markovbridge.exact.kernels import bridge_kernel, output_law
from markovbridge.exact.linear_counts import LinearCounts
from markovbridge.exact.posteriors import (
    Binomial,
    MeanOnly,
    Mixture,
    NegativeBinomial,
    Poisson,
    ZeroInflatedPoisson,
)
from markovbridge.exact.reverse import Reverse

__all__ = [
    "Binomial",
    "CountMixture",
    "DataLaw",
    "Empirical",
    "BaseFit",
    "FitFrequencies",
    "FitLinearCounts",
    "FitMixture",
    "Frequencies",
    "Gaussian",
    "GaussianField",
    "LinearCounts",
    "MeanOnly",
    "Mixture",
    "NegativeBinomial",
    "Poisson",
    "Reverse",
    "ZeroInflatedPoisson",
    "bridge_kernel",
    "output_law",
]
