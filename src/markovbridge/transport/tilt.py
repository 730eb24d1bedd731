r"""Counts with prescribed means: the model as it is, but for the least change that gives them.

Of all laws with prescribed means that nearest to p, in relative entropy, is the tilt
p(x_1) exp(θ·x_1) (Csiszár 1975). Its generative process has the rates of p times
h(x + e_j, t)/h(x, t), with h(x, t) = E[exp(θ·x_1) | x_t = x]. Where x_1 - x_t is Poisson with
means that do not depend on x, that factor is e^θ_j, always; so births at site j are multiplied by
e^θ_j, and of independent Poisson counts that is the tilt exactly. For other laws the same factors
are a process near it, whose means are as prescribed all the same, as θ is found by its samples.

θ is a fixed point: with means m of a pilot sample, θ <- θ + log(prescribed/m). The first step is
whole, later ones are 1/2, 1/3, ... of it, so that the errors of the pilots average out: the means
are those prescribed up to chance of all pilots together.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.doors.randomness import fresh_key
from markovbridge.laws import Law
from markovbridge.processes.schedules import Time
from markovbridge.samplers import Sampler
from markovbridge.samplers.extrapolation import REACH
from markovbridge.samplers.model import NOTHING, Given
from markovbridge.transport.draws import STEPS, Sampling

PILOT = 512
ROUNDS = 8


class Multiplied(Sampling):
    """A model of counts by pure death whose remaining counts are multiplied, site by site.

    Args:
        transport: The model.
        tilt: θ, logarithms of the factors, broadcastable to event.
    """

    def __init__(self, transport: Sampling, tilt: Tensor) -> None:
        super().__init__()
        if not transport.process.thins:
            raise TypeError(
                "means are prescribed to counts by pure death, not to a model of "
                f"{type(transport.process).__name__}"
            )
        checks.parameter(tilt, "tilt")
        self.transport = transport
        self.process, self.coupling = transport.process, transport.coupling
        self.masking = transport.masking
        # Means are prescribed to laws, not to ends that are drawn jointly.
        self.head = None if transport.head is None else transport.head.stated
        self.error_curve, self.covariates = transport.error_curve, transport.covariates
        self.shape, self.site_names = transport.shape, transport.site_names
        self.mean, self.variance, self.seen = transport.mean, transport.variance, transport.seen
        self.tilt = tilt.expand(self.shape)

    def law(self, x: Tensor, t: Time, given: Given = NOTHING) -> Law:
        """The law of x_1 given x_t = x, what remains of it multiplied by e^θ."""
        return self.transport.law(x, t, given).multiplied(self.tilt.to(x.device))


def prescribed(
    transport: Sampling,
    means: Tensor,
    *,
    generator: torch.Generator,
    condition: Tensor | None = None,
    guidance: float = 1.0,
    steps: int = STEPS,
    sampler: Sampler | None = None,
    pilot: int = PILOT,
    rounds: int = ROUNDS,
) -> Multiplied:
    """A model whose samples have prescribed means.

    Args:
        transport: The model.
        means: What the means are to be, in the shape of an event; NaN leaves a site free.
        generator: Of the pilot samples.
        condition: What samples will be conditioned on, (n, C): pilots take rows from all over it.
        guidance: How strongly that acts.
        steps: Steps of a walk.
        sampler: How to step; the default of the model if None.
        pilot: Rows of a pilot sample.
        rounds: How many of these there are.

    Raises:
        ValueError: If a mean is not above 0, or is more than the model may draw, or there are not
            as many as sites.
    """
    checks.whole(pilot, "pilot", least=2)
    checks.turns(rounds, "rounds")
    wanted = means.double()
    free = wanted.isnan()
    if tuple(wanted.shape) != transport.shape:
        raise ValueError(f"means has shape {tuple(wanted.shape)}, an event {transport.shape}")
    if not bool(((wanted > 0) & wanted.isfinite())[~free].all()):
        raise ValueError("means must be above 0 and finite, or NaN where a mean is left free")
    if transport.seen is not None:
        most = REACH * transport.seen[1].clamp_min(1).double().cpu()
        if bool((far := wanted.cpu() > most).any()):
            mean, least = float(wanted.cpu()[far][0]), float(most[far][0])
            raise ValueError(
                f"a mean of {mean:g} is asked for, and the model expects at most {least:g} there, "
                f"{REACH:g} times the largest value that it was trained on: ask for less"
            )
    tilt = torch.zeros(transport.shape, dtype=torch.float64)
    made = Multiplied(transport, tilt)
    told = None
    for turn in range(rounds):
        if condition is not None:  # rows from all over, others in each round
            places = (torch.arange(pilot) + turn / rounds) * len(condition) / pilot
            told = condition[places.long()]
        rng = torch.Generator(transport.device).manual_seed(fresh_key(generator))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pilots look like is for the samples to say
            drawn = made.sample(
                pilot,
                generator=rng,
                condition=told,
                guidance=guidance,
                steps=steps,
                sampler=sampler,
            )
        found = (drawn.double().cpu().sum(0) + 0.5) / pilot
        step = torch.where(free, 0.0, (wanted / found).log())
        tilt = tilt + step / (turn + 1)
        made = Multiplied(transport, tilt)
    return made


doors.guard(__name__)
