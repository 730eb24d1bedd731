r"""The reverse process itself, for a process and a law of the data on a small space.

With f_t the law of x_t, P(t->s) the transition probabilities of the process
(stated from data to source) and r its rates, for s < t (t is closer to the data)

    f_t            =  f_1 P(1->t)
    score ratios      f_t(x') / f_t(x)
    reverse matrix    p(x_t = x' | x_s = x)  =  f_t(x') P(t->s)[x', x] / f_s(x)
    reverse rates     λ_t(x -> x')  =  r_t(x' -> x) f_t(x') / f_t(x)
                                    =  E[ λ_t(x -> x' pinned at x_1) | x_t = x ]

(Santos et al., https://arxiv.org/abs/2305.11089). In discrete time the reverse
matrix is the paper's reverse mapping, and there are no rates. `generator` is made
from the last line, which is what a trained model computes; that it agrees with
the line before and is the derivative of the reverse matrix is what tests check.

A state of several sites is one index into the table of all combinations, n of
them; everything is a vector (n,) or a matrix (n, n) in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Noised
from markovbridge.doors import checks
from markovbridge.exact.empirical import Empirical
from markovbridge.laws import Atoms, Categorical, SiteLaw
from markovbridge.processes.base import DiscreteProcess
from markovbridge.processes.jumps import JumpProcess

LARGEST = 4096  # combined states: matrices of 128 MiB
LOST = 1e-9  # mass that may lie above a given `size`


@dataclass(frozen=True, eq=False)
class Reverse:
    """Marginals, score ratios, reverse generator and reverse matrices.

    Attributes:
        process: Any process on integers, stated from data to source.
        data: The law of the data: a table of probabilities, one axis for each site, or a
            data set, `Empirical`.
        size: States 0 .. size-1 of a site to enumerate. Needed for unbounded processes,
            where it must hold all but 1e-9 of the mass; None takes what the process has.
    """

    process: DiscreteProcess
    data: Tensor | Empirical
    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            checks.whole(self.size, "size", least=1)
        if self.process.direction != "noising":
            raise TypeError("the reverse of a process is that of one stated from data to source")
        if isinstance(self.data, Empirical):
            self.data.check(self.process, Noised())
        combinations = self._size**self._sites
        if combinations > LARGEST:
            raise ValueError(
                f"{self._size} states at {self._sites} sites are {combinations} combinations; "
                f"at most {LARGEST} can be enumerated"
            )

    @property
    def _size(self) -> int:
        size = self.size or self.process.size or self.process.states
        if size is None:
            raise ValueError("this process is unbounded: give the number of states as `size`")
        return size

    @property
    def _sites(self) -> int:
        if isinstance(self.data, Empirical):
            return self.data.data[0].numel()
        return self.data.ndim

    @cached_property
    def states(self) -> Tensor:
        """All combinations, (n, sites)."""
        axes = torch.meshgrid(*[torch.arange(self._size)] * self._sites, indexing="ij")
        return torch.stack([axis.reshape(-1) for axis in axes], -1)

    @cached_property
    def _table(self) -> Tensor:
        """The law of the data over all combinations, (n,)."""
        table = torch.zeros((self._size,) * self._sites, dtype=torch.float64)
        if isinstance(self.data, Empirical):
            points = self.data.data.reshape(len(self.data.data), -1)
            weights = self.data.weights
            weights = torch.ones(len(points)) if weights is None else weights
            table.index_put_(tuple(points.mT), weights.double(), accumulate=True)
        else:
            table[tuple(slice(n) for n in self.data.shape)] = self.data.double()
        if bool((table < 0).any()) or not float(table.sum()) > 0:
            raise ValueError("the law of the data must be non-negative with positive sum")
        return (table / table.sum()).reshape(-1)

    def transition(self, t: float, s: float) -> Tensor:
        """P(t->s), from t back to s <= t: (n, n), rows are laws."""
        values = torch.arange(self._size).unsqueeze(1)
        law = self.process.transition(values, t, s)
        assert isinstance(law, SiteLaw), "discrete processes move site by site"
        if isinstance(law, Categorical):
            each = law.log_probs[:, 0, : self._size].double().exp()
        else:
            columns = [law.site_log_prob(torch.full_like(values, v)) for v in range(self._size)]
            each = torch.cat(columns, 1).double().exp()
        return reduce(torch.kron, [each] * self._sites)

    def marginal(self, t: float) -> Tensor:
        """f_t, (n,)."""
        law = self._table @ self.transition(1.0, t)
        lost = 1 - float(law.sum())
        if lost > LOST:
            raise ValueError(f"at t = {t} a mass of {lost:.2g} lies above `size`: raise it")
        return law

    def ratios(self, t: float) -> Tensor:
        """Score ratios f_t(x') / f_t(x), (n, n) with x the row; rows where f_t = 0 are NaN."""
        law = self.marginal(t)
        return law / torch.where(law > 0, law, torch.nan).unsqueeze(1)

    def matrix(self, s: float, t: float) -> Tensor:
        """Reverse transition matrix p(x_t = x' | x_s = x) for s <= t: (n, n), x the row.

        Rows of states that x_s never takes are zero. With t = 1 it is the posterior of the
        data.
        """
        before = self.marginal(s).unsqueeze(1)
        joint = (self.marginal(t).unsqueeze(1) * self.transition(t, s)).mT
        return torch.where(before > 0, joint / torch.where(before > 0, before, 1.0), 0.0)

    def generator(self, t: float) -> Tensor:
        """Reverse generator at t, (n, n): rates from row to column, rows sum to zero.

        Raises:
            TypeError: In discrete time, where there are no rates.
        """
        if not isinstance(self.process, JumpProcess):
            raise TypeError(
                f"{type(self.process).__name__} has no rates: use `matrix` between its times"
            )
        posterior = self.matrix(t, 1.0)
        seen, known = posterior.sum(1) > 0, self._table > 0
        law = Atoms(self.states[known], posterior[seen][:, known].log())
        x = self.states[seen]
        rates = self.process.expected_rates(law, x, t).double()
        moves = self.process.moves(x)
        generator = torch.zeros_like(posterior)
        base = self._size ** torch.arange(self._sites - 1, -1, -1)
        rows = seen.nonzero().squeeze(1)
        for site in range(self._sites):
            inside = (moves[:, site] >= 0) & (moves[:, site] < self._size)
            shift = (moves[:, site] - x[:, site : site + 1]) * base[site]
            target = torch.where(inside, rows.unsqueeze(1) + shift, rows.unsqueeze(1))
            rate = torch.where(inside, rates[:, site], 0.0)
            generator.index_put_((rows.unsqueeze(1).expand_as(target), target), rate, True)
        generator.fill_diagonal_(0.0)
        return generator - torch.diag(generator.sum(1))


doors.guard(__name__)
