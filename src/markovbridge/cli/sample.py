"""`markovbridge sample`: draw from a trained run.

    RUN/samples.npz    `samples` (n, *event), and `meta`, how they were made, as JSON
    RUN/samples.png    a grid of the first of them, if they are images
    RUN/path.npz       `times` (T,) and `states` (T, k, *event): the first k on their way

Sample i is a function of the model, the options and i alone: not of n, of the number
of processes, or of interruptions. From Python the same samples are

    transport.sample(n, generator=torch.Generator().manual_seed(seed), steps=..., ...)
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from markovbridge.cli import console
from markovbridge.cli.blocks import Blocks
from markovbridge.cli.errors import UsageError
from markovbridge.cli.options import parse, split_target
from markovbridge.cli.ranks import Ranks, ranks
from markovbridge.cli.runs import ours, run_folder, write_arrays
from markovbridge.cli.usage import short
from markovbridge.config import from_config, to_config
from markovbridge.heads import Head
from markovbridge.metrics.extractors import hash_weights
from markovbridge.randomness import fresh_key
from markovbridge.samplers import Bridge, Sampler
from markovbridge.transport import BLOCK, Transport

__all__ = ["sample"]

SAMPLER = Bridge()
GRID = 64  # samples in the picture


def sample(
    run: str,
    n: int = 64,
    steps: int = 100,
    seed: int = 0,
    weights: Literal["ema", "raw"] = "ema",
    block: int = BLOCK,
    device: str | None = None,
    threads: int | None = None,
    sampler: Sampler = SAMPLER,
    head: Head | None = None,
    network: Callable[[tuple[int, ...], int, int], nn.Module] | None = None,
) -> None:
    """Draw samples from a trained run.

    RUN is a folder that `markovbridge train` wrote. The same options give the same samples,
    and the first n of more. If the command is interrupted, give it again: it goes on where
    it was. Several processes share the work:

      torchrun --standalone --nproc_per_node=2 -m -- markovbridge sample RUN --n 50000

    Args:
        run: The run folder.
        n: How many samples.
        steps: Steps from source to data; for most samplers the network evaluations a sample.
        seed: Seed of the samples.
        weights: The average of the weights over training (ema), or the last ones (raw) of
            the newest checkpoint.
        block: Samples that go through the network at once; memory grows with it, and other
            samples come of another value.
        device: Such as cpu or cuda. Without it, a GPU if there is one.
        threads: CPU threads of each process. Without it, torch's own choice.
        sampler: How to step.
        head: The model's own head, to change what has no weights, such as
            --head.kernel stochastic.
        network: Only for a network of your own: its class.
    """


def sample_main(words: list[str]) -> None:
    """Run the verb."""
    name, rest = split_target(words, "RUN", "sample runs/digits")
    run = None if name is None else run_folder(name)
    saved = {} if run is None else saved_model(run)
    defaults = {"head": saved["head"]} if ours(saved.get("head")) and saved else None
    options = parse(sample, rest, usage=f"sample {name or 'RUN'}", defaults=defaults)
    assert run is not None
    values = options.values
    for option in ("n", "steps", "block", "threads"):
        if values[option] is not None and values[option] < 1:
            raise UsageError(f"{option} is {values[option]}; it must be at least 1")
    with ranks() as team, _threads(values.pop("threads")):
        transport = _load(run, saved, values.pop("network"), values["head"], values["weights"])
        transport.to(team.device(values.pop("device")))
        _sample(run, team, transport, **values)


def saved_model(run: Path) -> dict[str, Any]:
    """The configuration of a run's model.

    Raises:
        FileNotFoundError: If it has no model.
        ValueError: If the file is damaged.
    """
    for folder in ("model", ".model.previous"):  # as `from_pretrained` looks for it
        path = run / folder / "config.json"
        if path.is_file():
            try:
                config = json.loads(path.read_text(encoding="utf-8"))
                return {part: config[part] for part in ("shape", "process", "network", "head")}
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged: {error}") from error
    raise FileNotFoundError(
        f"{run} has no model to sample from; `markovbridge train RECIPE --output {run}` makes one"
    )


def _load(
    run: Path,
    saved: dict[str, Any],
    network: Callable[..., nn.Module] | None,
    head: Head | None,
    weights: str,
) -> Transport:
    """The transport of a run, with the weights asked for."""
    parts: dict[str, Any] = {} if head is None else {"head": head}
    if network is not None:
        process = from_config(saved["process"])
        own = from_config(saved["head"]) if head is None else head
        parts["network"] = network(tuple(saved["shape"]), process.features, own.outputs(process))
    elif not ours(saved["network"]):
        path = saved["network"]["class_path"]
        raise UsageError(f"the network of {run} is your own: name it with --network {path}")
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


def _sample(
    run: Path,
    team: Ranks,
    transport: Transport,
    *,
    n: int,
    steps: int,
    seed: int,
    weights: str,
    block: int,
    sampler: Sampler,
    head: Head | None,
) -> None:
    """Make the blocks of this process; assemble them all in the first."""
    meta = {
        "sampler": f"{_told(sampler)}, {_told(transport.head)}",
        "steps": steps,
        "seed": seed,
        "weights": weights,
        "block": block,
        "device": transport.device.type,
        "model": hash_weights(transport),
        "markovbridge": version("markovbridge"),
    }
    parts = {
        "sampler": to_config(sampler),
        **{part: to_config(getattr(transport, part)) for part in ("head", "process", "coupling")},
    }
    blocks = Blocks(run / "samples.parts", {**meta, **parts, "torch": torch.__version__})
    if team.rank == 0 and (changed := blocks.prepare()):
        console.note(f"{changed} is not what an interrupted call was given: starting afresh")
    team.wait()
    total = -(-n // block)
    mine = [k for k in range(team.rank, total, team.size) if not blocks.done(k)]
    if team.rank == 0 and 0 < len(mine) < len(range(0, total, team.size)):
        console.note("continuing an interrupted call")
    key = fresh_key(torch.Generator().manual_seed(seed))
    amount = min(n, len(mine) * block * team.size)
    share = amount / max(1, len(mine))
    try:
        with console.Progress(amount, "samples", active=team.rank == 0) as progress:
            for index in mine:
                blocks.make(
                    index,
                    transport,
                    sampler,
                    key=key,
                    steps=steps,
                    block=block,
                    advance=lambda part: progress.advance(part * share),
                )
    except KeyboardInterrupt:
        console.note("what is finished is kept: give the same command again to go on")
        raise
    team.wait()
    if team.rank == 0:
        _assemble(run, blocks, total, n, meta, transport)


def _assemble(
    run: Path, blocks: Blocks, total: int, n: int, meta: dict[str, Any], transport: Transport
) -> None:
    """Put the blocks together, and what shows them beside."""
    parts = [blocks.load(index) for index in range(total)]
    samples = np.concatenate([part["samples"] for part in parts])[:n]
    evaluations = float(np.mean([part["evaluations"] for part in parts]))
    seconds = float(np.sum([part["seconds"] for part in parts]))
    meta = {
        **meta,
        "n": n,
        "evaluations": int(evaluations) if evaluations.is_integer() else evaluations,
        "seconds": round(seconds, 3),
    }
    first = parts[0]
    write_arrays(run / "path.npz", times=first["times"], states=first["states"][:, :n])
    files = [run / "samples.npz", run / "path.npz"]
    picture = _picture(run / "samples.png", samples, transport)
    write_arrays(files[0], samples=samples, meta=np.array(json.dumps(meta)))
    blocks.clear()
    console.say(
        f"{n:,} samples of {run}: {meta['sampler']}, {steps_of(meta)}, {meta['weights']} weights, "
        f"seed {meta['seed']}; {seconds:.1f} s, {n / seconds:.3g} samples/s"
    )
    console.say(f"wrote {', '.join(str(path) for path in [*files, *picture])}")
    console.say(f"to score them: markovbridge evaluate {run}")


def steps_of(meta: dict[str, Any]) -> str:
    """The cost of a sample in words."""
    return f"{meta['steps']} steps, {meta['evaluations']:g} evaluations"


def _picture(path: Path, samples: np.ndarray, transport: Transport) -> list[Path]:
    """Draw a grid, if these are count images."""
    shape = transport.shape
    if samples.dtype.kind == "f" or len(shape) != 3 or shape[0] not in (1, 3):
        return []
    from markovbridge.images import grid_png

    shown = torch.from_numpy(samples[:GRID]).long()
    maximum = getattr(transport.process, "maximum", None) or max(1, int(shown.max()))
    path.write_bytes(grid_png(shown, maximum))
    return [path]


def _told(part: Any) -> str:
    """A part by its class and the options that differ from their defaults."""
    config = to_config(part)
    usual = {f.name: f.default for f in dataclasses.fields(part)}
    own = {k: v for k, v in config["init_args"].items() if usual.get(k) != v}
    return short({**config, "init_args": own}).removesuffix("()")


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
