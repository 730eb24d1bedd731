"""What makes a run the run it is, and whether a checkpoint belongs to it.

A run may be continued by the same configuration, model and data only: with any
other the result would be neither the old run's nor the new one's. But one that has
done all its steps may be given more of them.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from markovbridge import doors
from markovbridge.storage.config import to_config
from markovbridge.storage.documents import NUMBER, conforming
from markovbridge.storage.older import LATER
from markovbridge.storage.public_names import renamed
from markovbridge.training import tracking
from markovbridge.training.checkpoint import Checkpoint
from markovbridge.training.config import TrainingConfig, is_cut
from markovbridge.training.examples import Examples
from markovbridge.transport import Transport
from markovbridge.transport.saved import PARTS

# What changes neither the weights nor their random numbers may differ. (Of which weights are
# selected, `validate_every` is part.)
FREE = {
    "log_every",
    "validate_every",
    "checkpoint_every",
    "keep",
    "sample_every",
    "samples",
    "sample_steps",
    "planning",
    "threads",
    "tracker",
}


def check_folder(directory: str | Path | None, config: TrainingConfig, *, resume: bool) -> None:
    """Refuse what can be no folder of a run.

    Raises:
        ValueError: If there is none to continue, or it is the current folder.
        ImportError: If the package of a tracker is not installed.
    """
    tracking.check(config.tracker)
    if resume and directory is None:
        raise ValueError("resume needs the directory of the run to continue.")
    if directory is not None and Path(directory) == Path():
        raise ValueError(
            f"directory is {str(directory)!r}, which is the current folder; give the run a "
            "folder of its own, such as runs/NAME."
        )


def describe(
    config: TrainingConfig, transport: Transport, data: Examples, held_out: Examples | None
) -> dict[str, Any]:
    """All that the weights are a function of, as JSON can hold it."""
    described = {
        "training": asdict(config),
        "model": {part: to_config(getattr(transport, part)) for part in PARTS},
        "data": data.fingerprint(),
    }
    if config.select == "best" and held_out is not None:
        described["held-out data"] = held_out.fingerprint()
    return described


# Of the state of a checkpoint, what its reader relies on.
STATE = {"step": NUMBER, "run": {"training": {}}, "processes": NUMBER, "window": [[NUMBER]]}
STATE |= {"validation_loss": NUMBER, "elapsed_s": NUMBER}
STATE |= {"best?": {"best_step": NUMBER, "best_loss": NUMBER}}


def continued(config: TrainingConfig, found: Checkpoint) -> TrainingConfig:
    """How a run is continued from a checkpoint: with its warm-up, if no other was asked for."""
    conforming(found.state, STATE, f"the state of {found.path}")
    warmup = found.state["run"]["training"].get("warmup")
    return config.continuing(warmup) if isinstance(warmup, int) else config


def belongs(found: Checkpoint, current: dict[str, Any]) -> None:
    """Raise unless a checkpoint is one of the run that `current` describes; see `check`."""
    conforming(found.state, STATE, f"the state of {found.path}")
    check(found.state["run"], current, found.state["step"])


def differences(found: Checkpoint, current: dict[str, Any], processes: int) -> list[str]:
    """What is said of a run that goes on otherwise than it would have; nothing if it does not.

    Args:
        found: The checkpoint that it goes on from.
        current: What it is now, as of `describe`.
        processes: By how many processes.
    """
    before, told = found.state["processes"], []
    if before != processes:
        told.append(
            f"{processes} processes instead of {before}: the noise differs, so the result will "
            "not be bit-equal to an uninterrupted run"
        )
    planned, steps = found.state["run"]["training"]["steps"], current["training"]["steps"]
    warmup = current["training"]["warmup"]
    if steps > planned and is_cut(warmup, planned):
        told.append(
            f"the warm-up stays at {warmup} steps, those of a run of {planned}, so the result "
            f"will not be bit-equal to a run of {steps}, unless that has trainer.warmup {warmup} "
            "too"
        )
    if steps > planned and _bound_to_steps(current["training"]):
        told.append(
            f"{steps} steps instead of the {planned} that the run was planned for: what was done "
            f"stays, the rest goes on as in a run of {steps}, so the result will not be bit-equal "
            "to one"
        )
    return told


def check(saved: dict[str, Any], current: dict[str, Any], step: int) -> None:
    """Raise unless a run described by `saved`, at `step`, is the one of `current`.

    `steps` may differ where neither the learning rate nor what is selected depends on it, and
    where all of them are done.

    Raises:
        ValueError: Naming the setting that differs.
    """
    training = current["training"]
    steps, free = training["steps"], set(FREE)
    # A run of before there was a setting has its default.
    usual = {field.name: field.default for field in fields(TrainingConfig)}
    saved = {**renamed(saved), "training": {**usual, **saved["training"]}}
    if "model" in saved:  # of before there were base laws, maybe
        saved["model"] = {"base": None, **saved["model"]}
    if training["select"] == "best":
        free.remove("validate_every")
    if not _bound_to_steps(training) or step >= saved["training"]["steps"]:
        free.add("steps")
    found = difference(saved, current, {f"training.{name}" for name in free})
    if found is not None:
        name, before, now = found
        if name.startswith("data."):
            raise ValueError(
                f"{name} is {now!r}, but the run to continue has {before!r}: the data have "
                "changed since; bring them back, and the split that it was trained on, or start a "
                "new run, from its weights if you like."
            )
        if name == "training.steps":
            raise ValueError(
                f"{name} is {now!r}, but the run to continue has {before!r} and is at step "
                f"{step}; let it end with those, and give it more steps then."
            )
        raise ValueError(
            f"{name} is {now!r}, but the run to continue has {before!r}; set it to that, or "
            "start a new run."
        )
    if steps < step:
        raise ValueError(
            f"training.steps is {steps}, but the run to continue is at step {step} already; "
            "give more steps."
        )


def _bound_to_steps(training: dict[str, Any]) -> bool:
    """Whether the learning rate, or which weights are kept, depends on the number of steps."""
    return training["decay"] != "constant" or training["select"] == "best"


def difference(
    before: Any, now: Any, free: set[str], name: str = ""
) -> tuple[str, Any, Any] | None:
    """The dotted name of the first place where two descriptions differ, and both values."""
    if name in free or before == now:
        return None
    if isinstance(before, dict) and isinstance(now, dict):
        usual = to_config(LATER) if name.endswith(".init_args") else {}
        for key in {**before, **now}:
            old, inside = before.get(key, usual.get(key)), f"{name}.{key}".strip(".")
            inner = difference(old, now.get(key, usual.get(key)), free, inside)
            if inner is not None:
                return inner
        return None
    return name, before, now


doors.guard(__name__)
