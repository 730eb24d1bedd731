r"""Conditions: what a model is told about a sample, and how strongly that acts.

**Condition.** Numbers about a sample, (batch, C), each of which may be unknown: NaN. What
they mean is up to `data.covariates.Covariates`, which encodes classes and covariates. In
training a share of the samples lose all of theirs, so that one network learns the law given
the condition and the law without it (Ho & Salimans, https://arxiv.org/abs/2207.12598).

**Guidance** of strength γ stands between the two laws, and beyond them for γ > 1:

    diffusions      score  γ s_c + (1 - γ) s_u,  that is  E_γ[x_1] = γ E_c[x_1] + (1 - γ) E_u[x_1]
    jumps by means  rates  λ_c^γ λ_u^{1-γ},      that is  y_γ = y_c^γ y_u^{1-γ}
    tables          law    p_γ(x_1^i) ∝ p_c(x_1^i)^γ p_u(x_1^i)^{1-γ}

Both scores are affine in E[x_1 | x_t] with the same coefficients, so the first line is exact.
So is the second where rates are proportional to expected steps y: pure death (`MeanHead` and
`NegativeBinomialHead`, y = E[x_1 - x_t]; mixtures are refused) and the random walk
(`TwoMeansHead`); for birth and death the two means are what is interpolated, the rate of
immigration being known (log-rates: Nisonoff et al., https://arxiv.org/abs/2406.01572). Of a
table per site it is the posterior that is interpolated: rates are then those of a process
pinned at an end drawn from p_γ, and arrive at the data at any γ. For Poisson tables under pure
death that *is* the interpolation of rates; for masking it is so up to the normaliser, the pace
of unmasking being given; for other chains it is a definition of its own. No line makes samples
of p_c^γ p_u^{1-γ} in general, as guided marginals at t < 1 are not those of any one law;
independent Poisson counts are an exception, where samples are exactly Poisson(μ_c^γ
μ_u^{1-γ}).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.processes.base import Process
from markovbridge.processes.clock import match


def dropped(
    condition: Tensor,
    dropout: float,
    generator: torch.Generator | None,
    sizes: Sequence[int] = (),
) -> Tensor:
    """A condition (batch, C) of which some samples, at random, have lost theirs to NaN.

    Of several covariates, the others lose each on its own as well, so that any of them may
    be unknown.

    Args:
        condition: The condition, (batch, C).
        dropout: Probability of losing everything, and then of losing a covariate.
        generator: Source of randomness.
        sizes: How many numbers of the condition each covariate has, C in sum.
    """
    u = torch.rand(len(condition), device=condition.device, generator=generator)
    lost = match(u < dropout, condition)
    if len(sizes) > 1:
        shape = (len(condition), len(sizes))
        u = torch.rand(shape, device=condition.device, generator=generator)
        repeats = torch.tensor(sizes, device=condition.device)
        lost = lost | (u < dropout).repeat_interleave(repeats, dim=1)
    return torch.where(lost, torch.nan, condition.float())


def guided(
    process: Process, x: Tensor, conditional: Law, unconditional: Law, strength: float
) -> Law:
    """The law of x_1 given x_t = x between two, or beyond the first; see the module's head.

    Args:
        process: The process.
        x: State, (batch, *event).
        conditional: The law at strength 1.
        unconditional: The law at strength 0, of the same kind.
        strength: γ.

    Raises:
        TypeError: If there is no such law between laws of this kind.
    """
    return process.between(conditional, unconditional, x, strength)


doors.guard(__name__)
