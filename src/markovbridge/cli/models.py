"""The model of a run, and what it is told, as verbs ask for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from markovbridge.cli import console
from markovbridge.couplings import Coupling
from markovbridge.data.meeting import each, told
from markovbridge.heads import Head
from markovbridge.processes import Process
from markovbridge.storage.config import from_config, short, to_config
from markovbridge.storage.errors import UsageError
from markovbridge.storage.parts import ForeignClass, arguments, checked
from markovbridge.training.run_folder import RunFolder
from markovbridge.transport import Transport, features
from markovbridge.transport import saved as files
from markovbridge.transport.saved import configuration, hash_tensors

EACH = "of each row"  # what a condition is that rows bring with them


def load_transport(
    run: RunFolder,
    *,
    network: Callable[..., nn.Module] | None,
    process: Process | None = None,
    coupling: Coupling | None = None,
    head: Head | None = None,
    weights: str = "ema",
) -> Transport:
    """The transport of a run, with the weights asked for.

    Args:
        run: The run.
        network: The network, if it is the user's own.
        process: The process, likewise.
        coupling: The coupling, likewise.
        head: The head, if it is the user's own, or another one for drawing.
        weights: The average of the weights (ema) or the last ones (raw).

    Raises:
        UsageError: If a part is the user's own and not given, or is not the one of the run.
        FileNotFoundError: If there are no such weights.
    """
    saved, kinds = run.model_configuration(), arguments(Transport)
    saved["objective"] = configuration(run.model)[1].get("objective")
    own = {"process": process, "coupling": coupling, "head": head}
    parts: dict[str, Any] = {name: part for name, part in own.items() if part is not None}
    for name in ("process", "coupling"):
        if name in parts and to_config(parts[name]) != saved[name]:
            raise UsageError(
                f"the {name} of {run} is {short(saved[name])}, not {short(to_config(own[name]))}: "
                f"leave --{name} out, or name the one it was trained with, options and all"
            )
    for name in ("process", "coupling", "head", "network", "objective", "sampler"):
        if name in parts or (name == "network" and network is not None):
            continue
        try:
            checked(saved[name], kinds[name], name)
        except ForeignClass as error:
            if name in ("objective", "sampler"):  # of no use but to those who train on
                parts[name] = None
                continue
            raise UsageError(
                f"the {name} of {run} is your own: name it with --{name} {error.path}"
            ) from error

    def part(name: str) -> Any:
        return parts[name] if name in parts else from_config(saved[name], kinds[name], name)

    if network is not None:
        masking, covariates = part("masking"), part("covariates")
        own_head, base = part("head"), part("base")
        told = {"base": base, "masking": masking, "head": own_head}
        seen = features(part("process"), part("coupling"), **told)
        condition = {"condition": len(covariates.names)} if covariates else {}
        shape, outputs = tuple(saved["shape"]), own_head.outputs(part("process"))
        parts["network"] = network(shape, seen, outputs, **condition)
    transport = Transport.from_pretrained(run.model, **parts)
    if weights == "raw":
        found, complaints = run.newest()
        for complaint in complaints:
            console.note(f"warning: {complaint}")
        if found is None:
            raise FileNotFoundError(f"{run} has no checkpoint, so no raw weights; use ema")
        transport.load_state_dict(found.tensors["model"])
    return transport


def hash_of(run: RunFolder, weights: str) -> str | None:
    """What `hash_weights` says of a run's model, whose parts need not be known.

    Args:
        run: The run.
        weights: Which: "ema" or "raw".

    Returns:
        The hash; None if there are no such weights, or they are damaged.
    """
    try:
        if weights == "ema":
            return hash_tensors(files.stored(run.model)[1])
        found, _ = run.newest()
        if found is None:
            return None
        saved = files.stored(run.model)[1] if files.standing(run.model).is_dir() else {}
        laws = {name: value for name, value in saved.items() if name.startswith(files.LAW)}
        return hash_tensors({**found.tensors["model"], **laws})
    except (FileNotFoundError, ValueError, KeyError):
        return None


def conditioned(
    transport: Transport,
    given: dict[str, Any] | None,
    guidance: float,
    n: int,
    *,
    columns: Mapping[str, Any] | None = None,
    what: str = "the samples",
) -> tuple[dict[str, Any], Tensor | None]:
    """What n samples are conditioned on: what is known of their rows, and what is given by name.

    The value "*" of a class or category takes each of its levels in turn, sample by sample.

    Args:
        transport: The model.
        given: What the command line gives by name.
        guidance: How strongly the condition acts.
        n: How many samples there are.
        columns: What is known of the row that each belongs to, n values by name; None if they
            belong to no rows.
        what: What to call these rows, or samples, in a message.

    Returns:
        Condition and guidance as stored beside samples, nothing if there is no condition; and
        the condition in numbers, (n, C) or None.

    Raises:
        UsageError: If the model knows nothing of that name or level, or there is no condition
            to be guided by.
    """
    encoding = transport.covariates
    if encoding is None and given:
        raise UsageError("this model was trained without a condition; leave --condition out")
    said = {} if encoding is None else each(encoding, given, n)
    say = console.note if columns is not None else lambda _: None
    try:
        condition = told(columns or {}, encoding, said, n=n, what=what, say=say)
    except ValueError as error:
        raise UsageError(f"condition: {error}") from error
    if encoding is None or condition is None or bool(condition.isnan().all()):
        if guidance != 1:
            raise UsageError("guidance needs a condition to follow, such as --condition.label 3")
        return {}, None
    names = [column.name for column in encoding.columns]
    known = {name: EACH for name in names if columns is not None and name in columns}
    facts: dict[str, Any] = {"condition": known | (given or {}), "guidance": guidance}
    if known:
        facts["condition hash"] = hashed(condition)
    return facts, condition


def hashed(*values: Tensor) -> str:
    """What tells given rows from others."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
