"""What a `CountModel` is fitted with: a transport of counts, the rows, and the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Noised
from markovbridge.data.covariates import Covariates
from markovbridge.data.rows import Rows, taken
from markovbridge.doors.randomness import derive, generator
from markovbridge.exact import BaseFit, DataLaw, FitMixture
from markovbridge.heads import Head, MeanHead
from markovbridge.networks import MLP, Attention, Network
from markovbridge.processes import PureDeath
from markovbridge.samplers.known_sites import Masking
from markovbridge.training import Examples, TrainingConfig
from markovbridge.training.config import share_of
from markovbridge.training.selection import MOST
from markovbridge.transport import Transport, features, statistics
from markovbridge.transport.objectives import PathKL

MASKING = Masking(none=0.5)  # what "half" stands for
FEWEST, HELD = 256, 2**23  # rows that are held out of wide tables, and their counts
QUANTILES = 1001  # that stand for the law of library sizes


def check(params: Mapping[str, Any]) -> None:
    """Refuse arguments of the constructor that are none of those it names.

    Raises:
        ValueError: If so; ranges are checked where they are used.
    """
    size, network, masking = params["library_size"], params["network"], params["masking"]
    if isinstance(params["base"], str) and params["base"] not in ("mixture", "moments"):
        raise ValueError(
            f"base must be 'mixture', 'moments', a BaseFit or None, not {params['base']!r}"
        )
    if size not in ("covariate", None):
        raise ValueError(f"library_size must be 'covariate' or None, not {size!r}")
    if network not in ("mlp", "attention"):
        raise ValueError(f"network must be 'mlp' or 'attention', not {network!r}")
    if isinstance(masking, str) and masking != "half":
        raise ValueError(f"masking must be 'half', a Masking or None, not {masking!r}")


def transport(
    x: Tensor | Rows,
    condition: Tensor | None,
    covariates: Covariates | None,
    params: Mapping[str, Any],
    seed: int,
) -> Transport:
    """An untrained model of counts by pure death.

    Args:
        x: The training rows.
        condition: What is known of them, (n, C), or None.
        covariates: How what is known of them is encoded, or None.
        params: Arguments of the constructor of `CountModel`, by name.
        seed: Of the weights.
    """
    masking: Masking | None = MASKING if params["masking"] == "half" else params["masking"]
    head: Head = MeanHead(link="exp") if params["head"] is None else params["head"]
    if head.noise:
        raise ValueError(
            f"a CountModel leaps, and draws nothing jointly: take the head of the law, "
            f"{head.stated!r}, in place of {type(head).__name__}"
        )
    process = PureDeath()
    mean, variance = statistics(x)
    fit = FitMixture() if params["base"] == "mixture" else params["base"]
    base: Any = fit
    if isinstance(fit, BaseFit):
        base = fit.told(process, x, condition, covariates, seed=seed)
    corrects = isinstance(base, DataLaw)  # of whole rows
    seen = features(process, Noised(), base=base, masking=masking, head=head)
    told = 0 if covariates is None else len(covariates.names)
    objective = PathKL(damping=1.0) if params["objective"] is None else params["objective"]
    shape, outputs = (x.shape[1],), head.outputs(process)
    size = {"width": params["width"], "depth": params["depth"], "condition": told}
    network: Network
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "weights"))
        if params["network"] == "attention":
            network = Attention(shape, seen, outputs, **size)
        else:
            network = MLP(shape, seen, outputs, compress=True, normed=not corrects, **size)
    return Transport(
        process,
        network,
        head,
        shape=shape,
        mean=mean,
        variance=variance,
        objective=objective,
        base=base,
        covariates=covariates,
        condition_dropout=params["condition_dropout"] if covariates else 0.0,
        masking=masking,
    )


def held_out(n: int, fraction: float, seed: int, features: int = 1) -> tuple[Tensor, Tensor]:
    """Positions of the training rows and of those held out, both rising.

    Held out are `MOST` rows at most, of wide tables so many as `HELD` counts are in, but `FEWEST`.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction must lie in [0, 1), not {fraction}")
    order = torch.randperm(n, generator=generator("cpu", "held out", seed))
    held = min(round(n * fraction), MOST, max(FEWEST, HELD // features))
    return order[held:].sort().values, order[:held].sort().values


def examples(x: Tensor | Rows, condition: Tensor | None, index: Tensor) -> Examples:
    """Some rows of a table, with what belongs to each."""
    return Examples(taken(x, index), None if condition is None else condition[index])


def plan(params: Mapping[str, Any], seed: int, *, validated: bool) -> TrainingConfig:
    """How it is trained; of `validated` models the best weights are kept.

    Args:
        params: Arguments of the constructor of `CountModel`, by name.
        seed: Of the order of the rows and of the noise.
        validated: Whether rows are held out.
    """
    steps = params["steps"]
    return TrainingConfig(
        steps=steps,
        batch_size=params["batch_size"],
        learning_rate=params["learning_rate"],
        warmup=share_of(steps, 50),
        decay="cosine",
        ema=params["ema"],
        seed=seed,
        log_every=max(1, steps // 50),
        validate_every=max(1, steps // 30) if validated else 0,
        select="best" if validated else "last",
        checkpoint_every=max(1, steps // 5),
        planning=False,  # a table is drawn in many steps
    )


def by_step(records: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """What a log has, a dictionary for each step that it has something of, in their order."""
    found: dict[float, dict[str, float]] = {}
    for record in records:
        found.setdefault(record["step"], {}).update(record)
    return [found[step] for step in sorted(found)]


def quantiles(totals: Tensor) -> np.ndarray:
    """Those of the totals of the training rows, (`QUANTILES`,)."""
    grid = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    ordered = totals.double().sort().values
    return ordered[(grid * (len(ordered) - 1)).round().long()].numpy()


def drawn_totals(sizes: np.ndarray, n: int, generator: torch.Generator) -> list[float]:
    """N totals of the law that quantiles stand for."""
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    return sizes[(u * QUANTILES).long().numpy()].tolist()


doors.guard(__name__)
