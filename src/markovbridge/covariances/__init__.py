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
| `Modal` | a variance for each band of modes | two transforms | yes |
| `Power` | C^γ, with the trace of C | two transforms | yes |

`Cosine`, `Fourier`, `Haar` and `Eigenvectors` are transforms to modes; `Grouped` says which of
them are a band.

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
from markovbridge.covariances.modes import Cosine, Eigenvectors, Fourier, Grouped, Haar
from markovbridge.covariances.spectral import Modal, Power
from markovbridge.covariances.torus import Torus
from markovbridge.covariances.transforms import Sites, Transform

__all__ = [
    "Cosine",
    "Eigenvectors",
    "Fourier",
    "Grouped",
    "Haar",
    "Modal",
    "Transform",
    "Power",
    "Sites",
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
