"""What every law promises, whoever made it: shapes, types, and draws that repeat."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.storage.config import from_config, to_config
from markovbridge.storage.parts import ForeignClass
from markovbridge.storage.public_names import ours
from markovbridge.testing.report import CheckError, Ledger, largest, seeded

REFUSED = (ValueError, TypeError, NotImplementedError, ArithmeticError)


def check_law(
    ledger: Ledger, name: str, law: Law, like: Tensor, seed: int = 0, moments: bool = True
) -> None:
    """Check shapes and types of a law of states like `like`, (batch, *event)."""
    ledger.demand(
        "laws", isinstance(law, Law), f"{name} gives a {type(law).__name__}, which is no Law"
    )
    draw = ledger.ask("draws", lambda: law.sample(generator=seeded(seed)), NotImplementedError)
    if draw is None:
        raise CheckError(f"{ledger.of}: {name} gives a law that cannot be drawn from")
    check_states(ledger, f"draws of {name}", draw, like)
    if not moments:
        return
    for which in ("mean", "variance"):
        value = ledger.ask(which, lambda which=which: getattr(law, which))
        if value is None:
            continue
        ledger.demand(
            "shapes",
            value.shape == like.shape and value.is_floating_point(),
            f"{name}: the {which} of the law is {tuple(value.shape)} of {value.dtype}; it must "
            f"be reals of the shape of the states, {tuple(like.shape)}",
        )


def check_states(ledger: Ledger, name: str, draw: Tensor, like: Tensor) -> None:
    """Check that states have the shape and the type of others."""
    ledger.demand(
        "shapes",
        draw.shape == like.shape,
        f"{name} have shape {tuple(draw.shape)} where states have {tuple(like.shape)}",
    )
    ledger.demand(
        "dtype",
        draw.dtype == like.dtype,
        f"{name} are {draw.dtype} where states are {like.dtype}: a law has to keep the type",
    )


def check_repeats(
    ledger: Ledger, name: str, draw: Callable[[torch.Generator], Tensor], seed: int = 0
) -> None:
    """Check that draws are a function of the generator, and of it alone."""
    state = torch.get_rng_state()
    first, second = draw(seeded(seed)), draw(seeded(seed))
    used = not torch.equal(state, torch.get_rng_state())
    torch.set_rng_state(state)
    ledger.demand(
        "determinism",
        not used,
        f"{name} is drawn from the global generator of torch: hand the `generator` on to all "
        "that is random",
    )
    ledger.demand(
        "determinism",
        torch.equal(first, second),
        f"{name} differs from draw to draw under the same generator: hand the `generator` on to "
        "all that is random",
    )


def check_draws(ledger: Ledger, name: str, law: Law, seed: int = 0) -> None:
    """Check that draws of a law repeat."""
    check_repeats(ledger, name, lambda generator: law.sample(generator=generator), seed)


def densities(law: Law, x: Tensor) -> Tensor | None:
    """Log-densities of the events x, (batch,) float64; None if the law refuses them."""
    try:
        return law.log_prob(x).double()
    except REFUSED:
        return None


def check_config(ledger: Ledger, value: object) -> None:
    """Check that an object comes back from its configuration, and is what it was."""
    what = "configuration"
    held = fields(value) if is_dataclass(value) else ()
    if any(inspect.isroutine(getattr(value, field.name)) for field in held):
        ledger.skip(what, "it holds a function, which no file can name")
        return
    config = ledger.ask(what, lambda: to_config(value), TypeError)
    if config is None:
        return
    try:
        if ours(type(value)):
            found = from_config(config, type(value), what)
        else:
            inside = {k: from_config(v) for k, v in config.get("init_args", {}).items()}
            found = type(value)(**inside)
    except ForeignClass as refusal:
        ledger.skip(what, refusal)
        return
    except Exception as error:
        raise CheckError(
            f"{ledger.of}: it cannot be made again of its configuration {config}: {error}"
        ) from error
    alike = to_config(found) == config
    ledger.demand(what, alike, f"what is made of its configuration {config} is {found}")


def gap(a: Tensor, b: Tensor) -> float:
    """How far two tensors are apart, beside their size where that is above 1."""
    a, b = a.double(), b.double()
    equal = a == b  # infinities too
    apart = torch.where(equal, 0.0, (a - b) / (1 + torch.maximum(a.abs(), b.abs())))
    return largest(apart)


doors.guard(
    __name__,
    inside=(
        "check_states",
        "densities",
        "gap",
    ),
)
