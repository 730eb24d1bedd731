r"""Couplings: which source state goes with which data point.

The reference, pinned at both ends and mixed over a coupling, is what a model
learns to simulate. Any coupling whose second marginal is the data gives a valid
transport; time reversal ("denoising") is the one that draws the source from the
reference itself, given the data (Peluchetti, https://arxiv.org/abs/2312.14589).

=============== ======================================= ==========================
coupling        x_0 that goes with x_1                  known beside the data
=============== ======================================= ==========================
`Noised`        drawn from the reference, given x_1     the law of x_t given x_1
`Dirac`         one point                               the law of x_t given x_1
`Independent`   any source, drawn without looking       that law if it is Gaussian
`Paired`        comes with the data                     nothing
`MinibatchOT`   any source, matched within the batch    nothing
=============== ======================================= ==========================

Of a conditional model all conditions share the source. `MinibatchOT` then matches within the
rows of equal condition (`Coupling.sources`).

Where the law of x_t given x_1 is known, one learned mean E[x_1 | x_t] gives the score
and E[x_0 | x_t] too (`processes.linear.GivenEnd`), and the posteriors of
`markovbridge.exact` apply.

A transport preserves the marginals of the coupling, not the coupling itself. With
`preserve=True` the network also sees x_0, which makes it the transport of each x_0 to
its own x_1 (https://arxiv.org/abs/2311.06978), at the price of no Markov property.
"""

from markovbridge.couplings.base import Coupling
from markovbridge.couplings.fixed import Dirac, Noised, Paired
from markovbridge.couplings.sources import (
    Data,
    Function,
    Gaussian,
    Independent,
    MinibatchOT,
    Rows,
    Start,
)

__all__ = [
    "Coupling",
    "Data",
    "Dirac",
    "Function",
    "Gaussian",
    "Independent",
    "MinibatchOT",
    "Noised",
    "Paired",
    "Rows",
    "Start",
]
