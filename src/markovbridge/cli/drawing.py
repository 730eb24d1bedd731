"""What the verbs that draw share: a model, and blocks made from it by some processes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from markovbridge import pretrained
from markovbridge.cli import console
from markovbridge.cli.blocks import Blocks, largest
from markovbridge.cli.errors import UsageError
from markovbridge.cli.options import parse, split_target
from markovbridge.cli.ranks import Ranks, ranks
from markovbridge.cli.runs import admitted, configuration, run_folder, source_of
from markovbridge.cli.usage import short
from markovbridge.config import from_config, to_config
from markovbridge.data.arrays import read_arrays
from markovbridge.data.covariates import described
from markovbridge.data.meeting import each, told
from markovbridge.heads import Head
from markovbridge.images import is_image, to_shades
from markovbridge.locks import locked
from markovbridge.metrics.extractors import hash_weights
from markovbridge.parts import ForeignClass, arguments, checked
from markovbridge.pretrained import NEW, coupling_once
from markovbridge.randomness import fresh_key
from markovbridge.reading import array_file
from markovbridge.samplers import Sampler
from markovbridge.transport import Transport
from markovbridge.walks import blocks as blocks_of

__all__ = [
    "Drawn",
    "How",
    "asked",
    "beside",
    "check_positive",
    "conditioned",
    "cost",
    "drawn",
    "hashed",
    "load_transport",
    "opened",
    "read_rows",
    "saved_model",
    "shades",
    "threads",
]

EACH = "of each row"  # what a condition is that rows bring with them


def saved_model(run: Path) -> dict[str, Any]:
    """The configuration of a run's model.

    Raises:
        FileNotFoundError: If it has no model.
        ValueError: If the file is damaged.
    """
    try:
        path, config = pretrained.configuration(run / "model")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{run} has no model to sample from; `markovbridge train RECIPE --output {run}` "
            "makes one"
        ) from error
    try:
        parts = ("shape", "process", "network", "head", "coupling")
        return {**NEW, **{part: config[part] for part in (*parts, *NEW & config.keys())}}
    except KeyError as error:
        raise ValueError(f"{path} is damaged: {error} is missing") from error


def asked(
    verb: Callable[..., None], words: list[str], example: str, *, data: bool = False
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The run that a verb is given, the configuration of its model, and the verb's options.

    Args:
        verb: The typed function of the verb, its name being that of the verb.
        words: What follows the verb on the command line.
        example: What could follow it.
        data: Whether the run's own data are the default of the option `data`.
    """
    name, rest = split_target(words, "RUN", f"{verb.__name__} {example}")
    run = None if name is None else run_folder(name)
    saved = {} if run is None else saved_model(run)
    defaults: dict[str, Any] = {}
    if run is not None:
        defaults["head"] = admitted(saved["head"], Head, "head", run / "model" / "config.json")
        if data:
            defaults["data"] = source_of(run, configuration(run))
    defaults = {name: value for name, value in defaults.items() if value is not None}
    options = parse(verb, rest, usage=f"{verb.__name__} {name or 'RUN'}", defaults=defaults)
    assert run is not None
    return run, saved, options.values


def load_transport(
    run: Path,
    saved: dict[str, Any],
    network: Callable[..., nn.Module] | None,
    head: Head | None,
    weights: str,
) -> Transport:
    """The transport of a run, with the weights asked for.

    Raises:
        UsageError: If its network is the user's own and not given.
        FileNotFoundError: If there are no such weights.
    """
    parts: dict[str, Any] = {} if head is None else {"head": head}
    kinds = arguments(Transport)

    def part(name: str) -> Any:
        return from_config(saved[name], kinds[name], name)

    if network is not None:
        process, coupling = part("process"), part("coupling")
        own = part("head") if head is None else head
        masking, covariates = part("masking"), part("covariates")
        features = coupling.features(process) + (masking.features(process) if masking else 0)
        told = {"condition": len(covariates.names)} if covariates else {}
        shape, outputs = tuple(saved["shape"]), own.outputs(process)
        parts["network"] = network(shape, features, outputs, **told)
    else:
        try:
            checked(saved["network"], kinds["network"], "network")
        except ForeignClass as error:
            raise UsageError(
                f"the network of {run} is your own: name it with --network {error.path}"
            ) from error
    transport = Transport.from_pretrained(run / "model", **parts)
    if weights == "raw":
        from markovbridge.training import checkpoint

        found, complaints = checkpoint.latest(run / "checkpoints")
        for complaint in complaints:
            console.note(f"warning: {complaint}")
        if found is None:
            raise FileNotFoundError(f"{run} has no checkpoint, so no raw weights; use ema")
        transport.load_state_dict(found.tensors["model"])
    return transport


@contextlib.contextmanager
def opened(
    run: Path, saved: dict[str, Any], values: dict[str, Any], made: str
) -> Iterator[tuple[Ranks, Transport]]:
    """The processes of a verb, and the transport of its run on their device.

    Args:
        run: The run folder.
        saved: The configuration of its model.
        values: Options of the verb; what is used up here is taken out.
        made: What is written, such as "samples", by no other command at the same time.

    Raises:
        InUseError: If another command writes the same.
    """
    with contextlib.ExitStack() as stack:
        team = stack.enter_context(ranks())
        if team.rank == 0:
            stack.enter_context(locked(run, made))
        stack.enter_context(threads(values.pop("threads")))
        network, head = values.pop("network"), values.pop("head")
        transport = load_transport(run, saved, network, head, values["weights"])
        yield team, transport.to(team.device(values.pop("device")))


class How(TypedDict):
    """Options of every verb that draws, as `drawn` takes them."""

    steps: int
    seed: int
    weights: str
    block: int
    sampler: Sampler | None


class Drawn(NamedTuple):
    """What was drawn: samples (n, *event), the first block with its path, how, and the blocks."""

    samples: np.ndarray
    first: dict[str, np.ndarray]
    meta: dict[str, Any]
    blocks: Blocks


def drawn(
    folder: Path,
    team: Ranks,
    transport: Transport,
    draw: Callable[..., Tensor],
    n: int,
    unit: str,
    facts: dict[str, Any],
    *,
    steps: int,
    seed: int,
    weights: str,
    block: int,
    sampler: Sampler | None,
    grid: Tensor | None = None,
) -> Drawn | None:
    """Make the blocks of this process that are not there yet, and wait for the others.

    Args:
        folder: Where blocks are stored.
        team: The processes.
        transport: The model.
        draw: Such as `transport.sample_block`: draws the block of an index, given options.
        n: How many samples in all.
        unit: What progress is counted in, plural.
        facts: What samples depend on beside the options below, as it is stored with them.
        steps: Number of steps.
        seed: Seed of the samples.
        weights: Which weights the transport has.
        block: How many samples a block has.
        sampler: How to step; the default of the transport if None.
        grid: Where the steps stop, if not where the transport has them stop.

    Returns:
        All that was made, in the first process; None in the others.
    """
    sampler = transport.default_sampler() if sampler is None else sampler
    parts = coupling_once(
        {part: to_config(getattr(transport, part)) for part in ("head", "process", "coupling")}
    )
    parts["sampler"] = to_config(sampler)
    meta = {
        "sampler": f"{_told(sampler, parts['sampler'])}, {_told(transport.head, parts['head'])}",
        "steps": steps,
        "seed": seed,
        "weights": weights,
        "block": block,
        "device": transport.device.type,
        "model": hash_weights(transport),
        "markovbridge": version("markovbridge"),
        **facts,
    }
    blocks = Blocks(folder, {**meta, **parts, "torch": torch.__version__})
    if team.rank == 0 and (changed := blocks.prepare()):
        console.note(f"{changed} is not what an interrupted call was given: starting afresh")
    team.wait()
    total = blocks_of(n, block)
    mine = [k for k in range(team.rank, total, team.size) if not blocks.done(k)]
    if team.rank == 0 and 0 < len(mine) < len(range(0, total, team.size)):
        console.note("continuing an interrupted call")
    amount = min(n, len(mine) * block * team.size)
    share = amount / max(1, len(mine))
    one = partial(
        draw,
        key=fresh_key(torch.Generator().manual_seed(seed)),
        steps=steps if grid is None else grid,
        sampler=sampler,
        block=block,
    )
    try:
        with console.Progress(amount, unit, active=team.rank == 0) as progress:
            for index in mine:
                blocks.make(
                    index,
                    transport,
                    lambda watch, index=index: one(index, callback=watch),
                    steps=steps,
                    advance=lambda part: progress.advance(part * share),
                )
    except KeyboardInterrupt:
        console.note("what is finished is kept: give the same command again to go on")
        raise
    team.wait()
    return _gathered(blocks, total, n, meta) if team.rank == 0 else None


def _gathered(blocks: Blocks, total: int, n: int, meta: dict[str, Any]) -> Drawn:
    """All samples, and in `meta` what they cost."""
    parts = [blocks.load(index) for index in range(total)]
    samples = np.concatenate([part["samples"] for part in parts])[:n]
    evaluations = float(np.mean([part["evaluations"] for part in parts]))
    meta = {
        **meta,
        "n": n,
        "evaluations": int(evaluations) if evaluations.is_integer() else evaluations,
        "seconds": round(float(np.sum([part["seconds"] for part in parts])), 3),
    }
    return Drawn(samples, parts[0], meta, blocks)


def cost(meta: dict[str, Any]) -> str:
    """What samples were conditioned on, how they were made and what they cost, in words."""
    given = described(meta.get("condition"), meta.get("guidance", 1.0))
    beginning = f"given {given}; " if given else ""
    return (
        f"{beginning}{meta['sampler']}, {meta['steps']} steps, "
        f"{meta['evaluations']:g} evaluations, {meta['weights']} weights, seed {meta['seed']}; "
        f"{meta['seconds']:.1f} s, "
        f"{meta['n'] / max(meta['seconds'], 1e-3):.3g} samples/s"
    )


def shades(x: Tensor, transport: Transport) -> Tensor | None:
    """States (N, *event) as images for `grid_png(..., 255)`; None if they are none.

    Counts go from black at 0 to white at the largest; reals from the least to the greatest.
    """
    if not is_image(transport.shape):
        return None
    if x.is_floating_point():
        return to_shades(x, float(x.min()), float(x.max()))
    return to_shades(x, 0, largest(transport) or max(1, int(x.max())))


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


def read_rows(file: Path, key: str | None) -> Tensor:
    """Rows of an .npy or .npz file, (n, *event): int64 or float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no rows of numbers.
    """
    array, _ = read_arrays(file.expanduser(), key, None)
    if array.dtype.kind not in "iuf" or array.ndim < 2 or not array.size:
        raise ValueError(f"{file} holds no rows (n, *event) of numbers")
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


def beside(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """What an .npz file knows of its rows: arrays of these names with one value a row."""
    if file.suffix.lower() != ".npz":
        return {}
    with array_file(file.expanduser()) as content:
        there = {name: content[name] for name in names if name in content}
    return {name: values.tolist() for name, values in there.items() if values.ndim == 1}


def hashed(*values: Tensor) -> str:
    """What tells given rows from others."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def check_positive(values: dict[str, Any], *names: str) -> None:
    """Refuse options below 1.

    Raises:
        UsageError: Naming the option and its value.
    """
    for name in names:
        if values[name] is not None and values[name] < 1:
            raise UsageError(f"{name} is {values[name]}; it must be at least 1")


def _told(part: Any, config: dict[str, Any]) -> str:
    """A part by its class and those options of its configuration that are not the defaults."""
    usual = {f.name: f.default for f in dataclasses.fields(part)}
    own = {k: v for k, v in config["init_args"].items() if usual.get(k) != v}
    return short({**config, "init_args": own}).removesuffix("()")


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Use so many CPU threads while inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
