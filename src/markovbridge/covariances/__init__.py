"""Covariances of Gaussian noise, as operators.

| covariance | Γ | Γ x, samples | roots, inverse, determinant |
|---|---|---|---|
| `Isotropic` | one variance | O(d) | yes |
| `Diagonal` | a variance per site | O(d) | yes |
| `Dense` | any matrix | O(d²), once O(d³) | yes |
| `Separable` | channels ⊗ space | as the factors | as the factors |
| `Torus` | a kernel, periodic | O(d log d) | yes |
| `Grid` | a kernel, not periodic | O(d log d) | inverse only, iterative |
| `GMRF` | lattice Matérn by its precision | sparse solves | yes |

`fit` estimates one of them from data, `plot` compares fits with the data.
"""

from markovbridge.covariances.base import OPERATIONS, Covariance, SingularError
from markovbridge.covariances.dense import Dense, Diagonal, Isotropic
from markovbridge.covariances.figures import plot
from markovbridge.covariances.fit import Fit, fit
from markovbridge.covariances.gmrf import GMRF
from markovbridge.covariances.grid import Embedding, Grid
from markovbridge.covariances.kernels import (
    Exponential,
    Kernel,
    Matern,
    PowerLaw,
    SquaredExponential,
)
from markovbridge.covariances.kronecker import Separable
from markovbridge.covariances.torus import Torus

__all__ = [
    "GMRF",
    "OPERATIONS",
    "Covariance",
    "Dense",
    "Diagonal",
    "Embedding",
    "Exponential",
    "Fit",
    "Grid",
    "Isotropic",
    "Kernel",
    "Matern",
    "PowerLaw",
    "Separable",
    "SingularError",
    "SquaredExponential",
    "Torus",
    "fit",
    "plot",
]
