r"""Closed forms that are fitted to data, for a network to correct.

A `BaseFit` says which law is to be found and how; called with a process and data it finds it. What
comes of it is a `DataLaw` whose numbers are saved with the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.covariates import Covariates
from markovbridge.data.rows import Rows, parts, taken
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.exact.base import DataLaw
from markovbridge.exact.count_mixtures import CountMixture
from markovbridge.exact.frequencies import Frequencies
from markovbridge.exact.linear_counts import SMALLEST, LinearCounts
from markovbridge.processes.base import DiscreteProcess, Process
from markovbridge.samplers.extrapolation import floor

HELD = 2048  # rows by which the number of profiles is chosen, at most
LEAST = 10  # rows for each profile
SEEN = 20_000  # rows of which a covariance, or weights of levels, are made, at most


class BaseFit(ABC):
    """How a law of the data is found in closed form."""

    @abstractmethod
    def __call__(self, process: Process, x: Tensor | Rows, *, seed: int = 0) -> DataLaw:
        """The law that fits.

        Args:
            process: The process under which its posterior is wanted.
            x: Data, (n, *event).
            seed: Of what is random in finding it.

        Raises:
            TypeError: If it is not for this process.
            ValueError: If a value is no state of the process.
        """

    def told(
        self,
        process: Process,
        x: Tensor | Rows,
        condition: Tensor | None,
        covariates: Covariates | None,
        *,
        seed: int = 0,
    ) -> DataLaw:
        """Fit a law to data of which a condition is known; by default the condition is not used.

        Args:
            process: The process under which its posterior is wanted.
            x: Data, (n, *event).
            condition: What is told of each row, (n, C), or None.
            covariates: What that means, or None.
            seed: Of what is random in finding it.
        """
        return self(process, x, seed=seed)


@dataclass(frozen=True)
class FitFrequencies(BaseFit):
    """How often each value occurs at each site, for tables over a bounded number of values.

    Attributes:
        prior: Observations that each site is given beside its own, spread over the values as
            the whole of the data has them.
    """

    prior: float = 1.0

    def __post_init__(self) -> None:
        checks.number(self.prior, "prior", above=0)

    def __call__(self, process: Process, x: Tensor | Rows, *, seed: int = 0) -> Frequencies:
        states = process.states if isinstance(process, DiscreteProcess) else None
        if states is None:
            raise TypeError(
                f"frequencies are of a bounded number of values, which {process} has not: set "
                "`maximum` of the process, or take base='moments'"
            )
        event = tuple(x.shape[1:])
        table = Frequencies(process, states=states, shape=event)
        sites = table.logits[..., 0].numel()
        first = torch.arange(sites) * states
        counts = torch.zeros(sites * states, dtype=torch.float64)
        for part in parts(x):
            values = process.check(part).flatten(1)
            counts += torch.bincount((first + values).flatten(), minlength=len(counts))
        counts = counts.reshape(*event, states)
        pooled = counts.reshape(-1, states).sum(0) + 1e-3
        table.logits.copy_((counts + self.prior * pooled / pooled.sum()).log().log_softmax(-1))
        return table


@dataclass(frozen=True)
class FitMixture(BaseFit):
    """A mixture of negative binomials, for tables of counts: see `CountMixture`.

    Attributes:
        components: How many profiles; of several numbers, the one that says most of a tenth of
            the rows, which is held out from the fit.
        residuals: Whether the network that corrects it is told residuals: see `CountMixture`.
    """

    components: tuple[int, ...] = (1, 2, 4, 8, 16)
    residuals: bool = True

    def __post_init__(self) -> None:
        for components in self.components:
            checks.whole(components, "components", least=1)
        if not self.components:
            raise ValueError("components is empty: give how many profiles there may be")

    def __call__(self, process: Process, x: Tensor | Rows, *, seed: int = 0) -> CountMixture:
        order = torch.randperm(len(x), generator=generator("cpu", "mixture", seed))
        held = min(len(order) // 10, HELD)
        every = taken(x, order[held:].sort().values)
        candidates = [k for k in self.components if k <= len(every) // LEAST] or [1]
        if held == 0 or len(candidates) == 1:
            found = CountMixture.fit(every, components=candidates[-1], seed=seed)
        else:
            tested = taken(x, order[:held].sort().values)
            found = CountMixture.choose(every, tested, candidates=candidates, seed=seed)
        numbers = found.log_weights, found.depths, found.profiles, found.sizes
        return CountMixture.of(process, *numbers, corrected=True, residuals=self.residuals)

    def told(
        self,
        process: Process,
        x: Tensor | Rows,
        condition: Tensor | None,
        covariates: Covariates | None,
        *,
        seed: int = 0,
    ) -> CountMixture:
        """The mixture, with weights of their own for the levels of categories."""
        found = self(process, x, seed=seed)
        if condition is None or covariates is None:
            return found
        some = torch.arange(len(x))
        if len(some) > SEEN:
            some = torch.randperm(len(x), generator=generator("cpu", "levels", seed))[:SEEN]
            some = some.sort().values
        return found.told(taken(x, some), condition[some], covariates)


@dataclass(frozen=True)
class FitLinearCounts(BaseFit):
    """What neighbours say of each other, by the covariance of counts: see `LinearCounts`.

    For images of up to 4,096 sites. Of more than 20,000 rows so many are taken at random.
    """

    def __call__(self, process: Process, x: Tensor | Rows, *, seed: int = 0) -> LinearCounts:
        law = LinearCounts(process, shape=x.shape[1:])
        sites = law.mean.numel()
        if len(x) < 2:
            raise ValueError(f"a covariance needs at least 2 samples, not {len(x)}")
        order = torch.randperm(len(x), generator=generator("cpu", "linear counts", seed))[:SEEN]
        x, total = taken(x, order.sort().values), torch.zeros(sites, dtype=torch.float64)
        for part in parts(x):
            total += process.check(part).flatten(1).double().sum(0).cpu()
        mean = total / len(x)
        mean = mean.clamp_min(floor(float(mean.mean()), True)).float()
        square = torch.zeros(sites, sites)
        for part in parts(x):
            y = (part.flatten(1).float().cpu() - mean) / mean.sqrt()
            square += y.T @ y / len(x)
        variance, modes = torch.linalg.eigh(square.double())
        law.mean.copy_(mean.reshape(law.mean.shape))
        law.modes.copy_(modes)
        law.spread.copy_((variance - 1).clamp_min(SMALLEST))
        return law


doors.guard(__name__)
