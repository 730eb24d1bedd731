r"""A head with two parts: the mean, and a table around it.

A network trained for the law of each site learns its mean less well than one trained for the
mean. Here the first output is the mean y of the remaining count, and the others are a table π,
tilted until its mean is y:

    π_η(v) ∝ π(v) exp(η (v - x)),      E_η[x_1 - x] = y.

Of all tables with that mean, the tilted one is nearest to π in Kullback-Leibler divergence
(Csiszár, 1975, https://doi.org/10.1214/aop/1176996454). η takes no gradient, so the likelihood
of the table tells the mean nothing. Give `EndNLL` a weight so small that it hardly reaches the
trunk, such as 0.001 beside `PathKL`: an optimiser that normalises gradients weight by weight, as
Adam does, learns the table's own output layer at full speed all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from markovbridge import doors, laws
from markovbridge.heads.base import CorrectingHead, Head
from markovbridge.heads.counts import CategoricalHead, LogisticMixtureHead, MeanHead, leaping
from markovbridge.laws import Law
from markovbridge.processes.base import Process, Setting
from markovbridge.samplers.base import Sampler


@dataclass(frozen=True)
class CentredHead(CorrectingHead):
    """The mean as `MeanHead` learns it, and a table around it, for bounded counts.

    Attributes:
        table: The head of the table: `Categorical` or `LogisticMixture`.
    """

    table: Head = field(default_factory=CategoricalHead)

    def __post_init__(self) -> None:
        if not isinstance(self.table, CategoricalHead | LogisticMixtureHead):
            raise ValueError(
                f"table must be a CategoricalHead or LogisticMixtureHead, not {self.table!r}"
            )

    def outputs(self, process: Process) -> int:
        """One for the mean, and those of the table."""
        return MeanHead().outputs(process) + self.table.outputs(process)

    def sampler(self, process: Process) -> Sampler:
        """Leaps of second order, which ask for the mean alone."""
        return leaping(process)

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        about = MeanHead()(setting, raw[:, :1], x, t)
        base = setting.base
        if base is not None and base.categories is None:
            setting = replace(setting, base=None)  # it is no table
        law = self.table(setting, raw[:, 1:], x, t).table()
        return laws.Tilted.towards(law, x, about.log_excess(x))


doors.guard(__name__)
