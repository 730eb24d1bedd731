r"""Transport: the model. A process, a coupling, a head and an objective, plus weights.

Training reads top to bottom in `loss`, sampling in `markovbridge.transport.draws`. With
`head=None` the network is an exact law of `markovbridge.exact`, and everything
works untrained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling, Noised
from markovbridge.data.covariates import Covariates
from markovbridge.data.rows import Rows
from markovbridge.exact.base import DataLaw
from markovbridge.heads import Head
from markovbridge.processes import Process
from markovbridge.samplers import Sampler
from markovbridge.samplers.extrapolation import extremes
from markovbridge.samplers.grids import ErrorCurve
from markovbridge.samplers.known_sites import Masking, Observed
from markovbridge.samplers.model import Given
from markovbridge.transport.asked import Asked
from markovbridge.transport.bases import Named, base_of
from markovbridge.transport.contract import check_law
from markovbridge.transport.draws import BLOCK
from markovbridge.transport.guidance import dropped
from markovbridge.transport.likelihood import Bound, log_likelihood
from markovbridge.transport.objectives import Objective, usual
from markovbridge.transport.refined import refined
from markovbridge.transport.saved import load, save


class Transport(Asked):
    """Carries a source to the data along a reference process.

    >>> import markovbridge as mb
    >>> process = mb.PureDeath()
    >>> exactly = mb.exact.Poisson(process, 3.0)  # in place of a network
    >>> model = Transport(process, exactly, shape=(2,))
    >>> model.sample(5, steps=1).shape
    torch.Size([5, 2])

    Args:
        process: The reference process.
        network: `network(features, t, condition)`, (batch, features, *event) to
            (batch, outputs, *event), for a head; or, with `head=None`, a callable
            `(x, t, condition) -> Law` such as those of `markovbridge.exact`, which with
            `masking` is given an `Observed`, or None, after these. A callable of your own may
            say by an attribute `coupling` what it holds for; exact laws do. Where the coupling
            is preserved it is `given_start(x, t, x_0, condition)` of the law that is called.
        head: How the network's output becomes the law of x_1 given x_t.
        shape: Event shape.
        mean: Mean of the data, broadcastable to event (see `statistics`).
        variance: Variance of the data, likewise.
        coupling: Which source goes with which data point; None is that of the exact law, or of
            the base law, and `Noised`, time reversal, if there is none.
        objective: The loss.
        base: What the network corrects: a law of the data whose posterior is known, such as
            those of `markovbridge.exact`, or "moments", independent sites with mean and variance
            of the data; an output of zeros then states its law of x_1 given x_t. A law is shown
            to the network as well, in `process.base_features` more features; see `features`.
            None, and where the process or the head knows no closed form, is the head's own start.
        covariates: What the numbers of a condition mean: kept for those who sample, to
            `encode` classes and covariates.
        condition_dropout: Probability that a sample loses its condition in training. At 0
            the network learns nothing of the unconditional law, which guidance needs.
        masking: Train with known sites of x_1, for `impute`: which ones.
        error_curve: How far the best guess is from the data over time, which decides where a
            number of `steps` stops: `grids.measure`, and training under pure death, take it.
        sampler: The sampler to take if none is named; None is that of the head, or, where that
            leaps or draws jointly, what training measures at its end: see `transport.planning`.
        seen: Least and largest value of each site in the training data, (2, *event), in their
            units; `Trainer` takes it from its data. What is drawn of counts is bounded by it,
            and samples far outside are reported: see `markovbridge.samplers.extrapolation`.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        process: Process,
        network: Callable[..., Any],
        head: Head | None = None,
        *,
        shape: Sequence[int],
        mean: Tensor | float | None = None,
        variance: Tensor | float | None = None,
        coupling: Coupling | None = None,
        objective: Objective | None = None,
        base: DataLaw | Literal["moments"] | None = "moments",
        covariates: Covariates | None = None,
        condition_dropout: float = 0.0,
        masking: Masking | None = None,
        error_curve: ErrorCurve | None = None,
        sampler: Sampler | None = None,
        seen: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.process = process
        self.network = network
        self.shape = tuple(int(n) for n in shape)
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape must be the event shape, such as (1, 28, 28), not {shape}")
        if coupling is None:
            own = getattr(network if head is None else base, "coupling", None)
            coupling = own if isinstance(own, Coupling) else Noised()
        coupling.suits(process)
        self.coupling, self.head = coupling, head
        if head is None:
            check_law(network, process, coupling)
        else:
            head.check(process, coupling)
        self.base: Named = base_of(base).kept(process, coupling, head)
        told = callable(getattr(network, "given_start", None))
        if head is None and self.coupling.preserve and not told:
            raise ValueError(
                "preserve=True shows x_0 to a network with a head or to a law that has "
                "`given_start`, as those of `exact` do; this law of x_1 given x_t does not see "
                "it: take the coupling with preserve=False"
            )
        self.objective = usual(process) if objective is None else objective
        if not 0 <= condition_dropout <= 1:
            raise ValueError(f"condition_dropout must lie in [0, 1], not {condition_dropout}")
        continuous = [c.name for c in covariates.columns if not c.levels] if covariates else []
        if coupling.batched and continuous:
            raise ValueError(
                f"{type(coupling).__name__} matches rows of equal condition, and covariate "
                f"{continuous[0]!r} is continuous: take Independent(), or categories for it"
            )
        self.covariates = covariates
        self.condition_dropout = condition_dropout
        self.masking = masking
        self.error_curve, self.sampler = error_curve, sampler
        self.autocast: torch.dtype | None = None
        for name, value in (("mean", mean), ("variance", variance)):
            value = torch.as_tensor(1.0 if value is None else value, dtype=torch.float32)
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} must be finite")
            try:
                value.expand(self.shape)
            except RuntimeError:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}, which does not broadcast to the "
                    f"event shape {self.shape}"
                ) from None
            self.register_buffer(name, value)
        # Not of the weights, so that checkpoints of older versions fit: saved beside them.
        self.register_buffer("seen", None, persistent=False)
        if seen is not None:
            if tuple(seen.shape) != (2, *self.shape):
                raise ValueError(
                    f"seen is the least and the largest value of each site, {(2, *self.shape)}, "
                    f"not {tuple(seen.shape)}"
                )
            self.see(seen)

    def see(self, x: Tensor | Rows) -> None:
        """Widen the range of the training data, `seen`, by that of data (N, *event)."""
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"data of shape {tuple(x.shape)} have no range for the event shape {self.shape}"
            )
        found = extremes(x).to(self.mean.device)
        if self.seen is not None:
            found = extremes(torch.cat([self.seen.to(found), found]))
        self.seen = found

    def loss(
        self,
        x1: Tensor,
        *,
        x0: Tensor | None = None,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The objective at random times, one value per sample: (batch,).

        Args:
            x1: Data, (batch, *event).
            x0: Source states paired with x1; drawn from the coupling if None.
            condition: What the network is conditioned on; in training mode some samples lose
                theirs, as `condition_dropout` says.
            generator: Source of randomness on the device of x1.

        Raises:
            ValueError: If x1 is no valid state of the process, naming the value.
        """
        x1 = self.check(x1, "x1")
        if x0 is None:
            x0 = self.coupling.sources(self.process, x1, condition, generator=generator)
        else:
            x0 = self.check(x0, "x0")
            if len(x0) != len(x1):
                raise ValueError(
                    f"x0 has {len(x0)} rows and x1 has {len(x1)}: row i of one goes with row i of "
                    "the other"
                )
        t = self.objective.times(len(x1), generator=generator, device=x1.device)
        t = self.process.schedule.at(t)  # read once, and handed on
        x_t = self.process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)
        if condition is not None and self.condition_dropout > 0 and self.training:
            sizes = [len(c.names) for c in self.covariates.columns] if self.covariates else []
            condition = dropped(condition, self.condition_dropout, generator, sizes)
        observed = None
        if self.masking is not None:
            # Known sites are certain, so that the objective counts the others only.
            observed = Observed(x1, self.masking.draw(x1, generator=generator))
        given = Given(condition, start=x0, observed=observed)
        loss = self.objective(self.process, self.law(x_t, t, given), x_t, x1, t)
        return loss if not self.draws_jointly else loss + self._score(x1, given, generator)

    def _score(self, x1: Tensor, given: Given, generator: torch.Generator | None) -> Tensor:
        """The score of ends that are made of noise, (batch,): 0 for rows without."""
        head = self.head
        assert head is not None
        made = max(1, round(head.share * len(x1)))
        assert given.start is not None
        start, end = given.start[:made], x1[:made]
        t = head.times(made, generator, x1.device)
        x_t = self.process.bridge(start, end, 0.0, t, 1.0).sample(generator=generator)
        # All that is drawn of a row at once: a call of the network has its price.
        each = torch.arange(made, device=x1.device).repeat(head.draws)
        x_t, t = x_t[each], self.process.schedule.at(t[each])
        noise = head.evened(self.noise(x_t, generator))
        ends = self.said(x_t, t, given.rows(each), noise)
        score = torch.zeros(len(x1), device=x1.device)
        score[:made] = head.score(self.setting, ends, end) * (len(x1) / made)
        return score

    forward = loss

    def log_likelihood(
        self,
        x1: Tensor,
        *,
        x0: Tensor | None = None,
        condition: Tensor | None = None,
        draws: int = 64,
        steps: int | Tensor | None = None,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
    ) -> Bound:
        """A lower bound on log p(x_1), without bias and with its standard error.

        Of the process in continuous time, or of the `Bridge` sampler with `steps` steps; for a
        joint law of a chain in discrete time the two differ: see `likelihood`.

        Args:
            x1: Data, (n, *event).
            x0: Source states; if given, the bound is one on log p(x_1 | x_0).
            condition: What to condition on, (n, C), NaN being unknown; if given, the bound is
                one on log p(x_1 | condition).
            draws: How often the network looks at each data point (plus a pilot of 320 looks
                in all); even. The error falls with its square root or faster.
            steps: Number of steps or grid of times, for the bound of a sampler.
            generator: Source of randomness on the device of the transport.
            block: How many states the network sees at once.

        Returns:
            `Bound` with `nats` and `standard_error`, (n,), and bits per dimension.

        Raises:
            ValueError: If the bound is infinite or not known, with what to use instead.
        """
        with self.evaluating():
            return log_likelihood(
                self,
                x1,
                x0=x0,
                condition=condition,
                draws=draws,
                steps=steps,
                generator=generator,
                block=block,
            )

    def refined(self, factor: int) -> Transport:
        """The same model where all axes but the first have `factor` times as many sites.

        For fields on one physical domain: the finer grid has the sites of the old one and those
        between them. The network is the same object and has the same weights, so it has to be one
        of fields of any size, such as `networks.FourierOperator`; noise and source are those of
        the finer grid (`Covariance.refined`); mean, variance and range of the data, where they
        differ from site to site, are those of the nearest old site before.

        Noise should be smooth at the scale of a site, as of `Torus(Matern(length=6.0))`, and the
        source `Gaussian(correlated=True)`: then what is drawn agrees with the old grid where the
        two overlap. White noise is drawn too, and does not: see the page on covariances.

        Args:
            factor: How many sites along each axis take the place of one.

        Returns:
            A model on events (C, factor · n_1, factor · n_2, ...), to be drawn from, trained on
            and saved as any other.

        Raises:
            NotImplementedError: If the network, process, covariance, coupling or base law is
                bound to the sites it has.
            ValueError: If there are no axes of space.
        """
        return refined(self, factor)

    def save_pretrained(
        self, directory: str | Path, *, card: dict[str, Any] | None = None
    ) -> None:
        """Write weights, configuration and model card into a directory, atomically.

        Args:
            directory: Replaced as a whole if it exists, by one process at a time.
            card: Facts for the model card: data, steps, metrics, and so on.
        """
        save(self, Path(directory), card or {})

    @classmethod
    def from_pretrained(cls, directory: str | Path, **parts: Any) -> Transport:
        """Rebuild a saved transport.

        Args:
            directory: What `save_pretrained` wrote, or a run folder, whose model it then is.
            **parts: Parts to use instead of the saved ones (`process`, `network`, `head`,
                `coupling`, `objective`): your own classes, or another head for sampling.

        Raises:
            FileNotFoundError: If there is no model in the directory.
            ValueError: If a file is damaged or names a class this package does not have.
        """
        return load(cls, Path(directory), parts)


doors.guard(__name__)
