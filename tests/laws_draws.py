"""Random parameters of laws, and what an example of a law says."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

import markovbridge
from markovbridge import laws
from markovbridge.covariances import Eigenvectors
from markovbridge.exact import fields
from markovbridge.laws import Law


@dataclass(frozen=True)
class Example:
    """A law and where it has mass.

    Attributes:
        make: The law of so many equal rows.
        values: Points of its sum or integral, (K, *event).
        origin: A state that no draw is below, (*event), for the excess.
        weights: Of the points in the integral, (K,); None for a sum.
        accuracy: Relative error that rounding leaves in float64.
    """

    make: Callable[[int], Law]
    values: Tensor
    origin: Tensor
    weights: Tensor | None = None
    accuracy: float = 1e-8


def concrete(base: type) -> list[type]:
    """All classes of the package under `base` that can be made, by name."""
    for module in pkgutil.walk_packages(markovbridge.__path__, "markovbridge."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = set(), [base]
    while left:
        one = left.pop()
        left += one.__subclasses__()
        if one.__module__.startswith("markovbridge.") and not inspect.isabstract(one):
            found.add(one)
    return sorted(found, key=lambda one: f"{one.__module__}.{one.__qualname__}")


class Draws:
    """Random parameters, extremes among them."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        self.rng, self.dtype = np.random.default_rng(seed), dtype
        self.extreme = seed % 2 == 1

    def real(self, value: float | np.ndarray) -> Tensor:
        """One site of a float law, to be expanded to n rows."""
        return torch.as_tensor(value, dtype=self.dtype).reshape(1, 1)

    def pick(self, usual: float, *extremes: float) -> float:
        """The usual value, or for every second seed an extreme."""
        return float(self.rng.choice(extremes)) if self.extreme and extremes else usual

    def mean(self, high: float = 30.0, huge: float = 1e5) -> float:
        usual = float(np.exp(self.rng.uniform(math.log(0.05), math.log(high))))
        return self.pick(usual, 1e-12, 1e-4, huge if self.dtype == torch.float64 else high)

    def share(self) -> float:
        return self.pick(float(self.rng.uniform()), 0.0, 1.0, 1e-9, 1 - 1e-6)

    def weights(self, count: int) -> Tensor:
        """Log-probabilities, (count,), one or more of them 0."""
        weights = self.rng.dirichlet(np.full(count, 0.5))
        weights[self.rng.integers(count)] = 0
        if self.extreme:
            weights = np.where(weights == weights.max(), 1, 1e-9 * weights)
        return torch.as_tensor(weights / weights.sum()).log().to(self.dtype)

    def table(self, size: int) -> Tensor:
        """Logits of a table of several humps with holes, (size,)."""
        spread = self.pick(2.0, 0.0, 8.0, 60.0)
        logits = self.rng.normal(size=size) * spread
        logits[1:-1][self.rng.random(size - 2) < 0.3] = -math.inf
        return torch.as_tensor(logits + self.rng.normal() * 5, dtype=self.dtype)


def rows(value: Tensor, n: int) -> Tensor:
    """One row, repeated."""
    return value.expand(n, *value.shape[1:])


def whole(value: int) -> Tensor:
    return torch.full((1, 1), int(value))


def window(low: float, high: float) -> Tensor:
    """All whole numbers, (K, 1)."""
    return torch.arange(math.floor(low), math.ceil(high) + 1).unsqueeze(1)


def around(mean: float, variance: float, tail: float = 40.0) -> Tensor:
    """Where a count has mass: 14 deviations, and `tail` beyond."""
    reach = 14 * math.sqrt(variance) + tail
    return window(max(0.0, mean - reach), mean + reach)


ZERO = torch.zeros(1, dtype=torch.int64)


GRID = np.linspace(-9, 9, 121)  # of the trapezoid rule, exact for Gaussians to 1e-13


def plane(draws: Draws, mean: Tensor, matrix: np.ndarray) -> tuple[Tensor, Tensor]:
    """A grid for a Gaussian of two sites and its weights."""
    root = np.linalg.cholesky(matrix)
    square = np.stack(np.meshgrid(GRID, GRID), -1).reshape(-1, 2)
    values = torch.as_tensor(square @ root.T) + mean
    cell = (GRID[1] - GRID[0]) ** 2 * root[0, 0] * root[1, 1]
    return values.to(draws.dtype), torch.full((len(values),), cell, dtype=torch.float64)


def correlated(draws: Draws) -> np.ndarray:
    a, b, c = draws.rng.uniform(0.2, 2), draws.rng.uniform(0.2, 2), draws.pick(0.5, -0.99, 0.99)
    return np.array([[a, c * math.sqrt(a * b)], [c * math.sqrt(a * b), b]])


def modal_gaussian(draws: Draws) -> Example:
    angle = draws.rng.uniform(0, math.pi)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    deviation = np.array([draws.pick(0.7, 1e-2, 50.0), draws.pick(1.3, 1e-2, 50.0)])
    centre = torch.as_tensor(draws.rng.normal(size=(1, 2)))
    mean = centre @ torch.as_tensor(turn)
    values, weights = plane(draws, mean, turn.T @ np.diag(deviation**2) @ turn)
    modes, spread = Eigenvectors(torch.as_tensor(turn)), torch.as_tensor(deviation).to(draws.dtype)
    return Example(
        lambda n: laws.ModalGaussian(rows(centre.to(draws.dtype), n), spread, modes),
        values,
        values[0] * 0,
        weights,
    )


def field_of_known(draws: Draws) -> Example:
    """Of fields of which nothing is known: what known sites change, tests/exact has."""
    free = modal_gaussian(draws)

    def make(n: int) -> Law:
        nothing = torch.zeros(n, 2, dtype=draws.dtype)
        return fields._Known(free.make(n), nothing, nothing > 0, [], draws.dtype)

    return replace(free, make=make)
