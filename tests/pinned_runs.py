"""Run folders and a `CountModel` as they are stored, and what comes of using them."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import markovbridge as mb
from markovbridge.cli import main
from markovbridge.exact import BaseFit, FitMixture

TABLE = "cells.csv"
TINY = ["--network.width", "4", "--network.depth", "1", "--network.dropout", "0.1"]
TINY += ["--trainer.threads", "1"]
TINY += ["--trainer.warmup", "1", "--trainer.batch_size", "8", "--trainer.log_every", "1"]
TINY += ["--trainer.checkpoint_every", "2", "--trainer.validate_every", "2"]
TINY += ["--trainer.steps", "4"]
FEW = ["--steps", "3", "--block", "8", "--threads", "1"]
LEFT_OUT = ("log.txt", "metrics.jsonl", "model/README.md")


def call(*words: object) -> None:
    """Give a command, which has to succeed."""
    assert main([str(word) for word in words]) == 0, words


def make_digits(run: Path, table: Path) -> None:
    """A run of four steps that can be continued, as its learning rate is constant."""
    more = ["--trainer.decay", "constant", "--split", "train", "--trainer.keep", "1"]
    call("train", "digits", "--output", run, *TINY, *more, "--trainer.sample_every", 0)


def make_table(run: Path, table: Path) -> None:
    """A run of four steps, of which the last two are to be made again."""
    call("train", table, "--output", run, "--data.covariates", "[batch]", *TINY)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(table.resolve()), TABLE))
    shutil.rmtree(run / "checkpoints" / "step-00000004")


def make_count_model(folder: Path, table: Path) -> None:
    """A model that was fitted to the table and saved."""
    fitted(table).save(folder)


def fitted(table: Path, base: BaseFit | None = None) -> mb.CountModel:
    model = mb.CountModel(
        width=4,
        depth=1,
        base=base,
        steps=3,
        batch_size=8,
        library_size="covariate",
        random_state=0,
    )
    return model.fit(frame(table), covariates=["batch"])


def frame(table: Path) -> Any:
    import pandas as pd

    return pd.read_csv(table, index_col=0)


def use_digits(run: Path, table: Path) -> dict[str, Any]:
    """Samples of the run, their scores, restored and imputed counts, and two more steps."""
    found = sampled(run, "samples", "--n", 12, *FEW)
    call("evaluate", run)
    records = json.loads((run / "evaluation.json").read_text())["records"]
    for one in records:
        found[f"{one['metric']}, {one['extractor']}"] = [one["value"], one["floor"]]
    call("restore", run, "--survival", "0.3", "--n", 2, "--draws", 19, *FEW)
    found |= arrays(run / "restored.npz", "input", "mean", "low")
    call("impute", run, "--observed", "top", "--n", 1, "--draws", 19, *FEW)
    found |= arrays(run / "imputed.npz", "mean", "sd")
    call("train", run, "--resume", "true", "--trainer.steps", 6)
    later = sampled(run, "samples after", "--n", 2, "--weights", "raw", "--threads", 1)
    return found | trained(run, 6) | later


def use_table(run: Path, table: Path) -> dict[str, Any]:
    """Samples of the run, restored and imputed counts, and its last steps once more."""
    told = ["--condition.batch", "north", "--guidance", 2]
    found = sampled(run, "samples", "--n", 6, *told, *FEW)
    rows = [*FEW, "--input", table, "--n", 3, "--draws", 19]
    call("restore", run, "--survival", "0.5", *rows)
    found |= arrays(run / "restored.npz", "draws", "mean", "low")
    call("impute", run, "--observed", "random:0.5", *rows)
    found |= arrays(run / "imputed.npz", "observed", "draws")
    model = mb.CountModel.load(run)
    found["as a count model"] = model.sample(3, random_state=1).to_numpy()
    call("train", run, "--resume", "true", "--data.path", table.resolve())
    return found | trained(run, 4) | sampled(run, "samples after", "--n", 3, *FEW)


def use_count_model(folder: Path, table: Path) -> dict[str, Any]:
    """What a model says that was read, and the same model fitted again."""
    rows, model = frame(table), mb.CountModel.load(folder)
    again = fitted(table)
    names, few = list(model.feature_names_in_), rows[:3]
    holes = few[names].astype(float).mask(np.eye(3, len(names)) > 0)
    holes = holes.join(few["batch"])
    imputed = model.impute(holes, draws=19, random_state=0)
    told = fitted(table, FitMixture((2,))).impute(holes, draws=19, random_state=0)
    restored = model.restore(few, survival=0.5, draws=19, random_state=0)
    return {
        "names": names,
        "samples": model.sample(5, random_state=0)[names].to_numpy(),
        "samples of a batch": model.sample(
            3, covariates={"batch": "south"}, library_size=20.0, guidance=1.5, random_state=0
        )[names].to_numpy(),
        "imputed": imputed.draws.mean(0),
        "imputed of a mixture, mean": told.mean[names].to_numpy(),
        "imputed of a mixture, draws": told.draws.mean(0),
        "restored": restored.mean[names].to_numpy(),
        "interval": np.stack([side[names].to_numpy() for side in restored.interval(0.9)]),
        "score": model.score_samples(few, draws=4),
        "loss": again.loss_,
        "best step": again.best_step_,
        "library sizes": again.library_sizes_[::100],
        "samples of the model fitted again": again.sample(5, random_state=0)[names].to_numpy(),
    }


def sampled(run: Path, word: str, *options: object) -> dict[str, Any]:
    """Samples that the command draws."""
    call("sample", run, *options)
    return {word: arrays(run / "samples.npz", "samples")["samples"]}


def arrays(file: Path, *names: str) -> dict[str, Any]:
    """Arrays of a file."""
    with np.load(file, allow_pickle=False) as found:
        return {
            f"{file.stem}: {name}" if name != "samples" else name: found[name] for name in names
        }


def trained(run: Path, step: int) -> dict[str, Any]:
    """What was logged, but for times, and hashes of the weights at a step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, Any] = {
        f"step {line['step']}, {name}": value
        for line in lines
        for name, value in line.items()
        if name != "step" and not name.endswith("_s")
    }
    files = [*(run / "checkpoints" / f"step-{step:08d}").glob("*.safetensors")]
    files += [run / "model" / "model.safetensors"]
    for file in sorted(files):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        found[f"weights: {file.relative_to(run)}"] = digest
    return found


# How each folder is made, and how it is used.
RUNS: dict[str, tuple[Callable[[Path, Path], None], Callable[[Path, Path], dict[str, Any]]]] = {
    "digits": (make_digits, use_digits),
    "table": (make_table, use_table),
    "count_model": (make_count_model, use_count_model),
}


def make_cells(file: Path) -> None:
    """A table of two sorts of rows."""
    draw = np.random.default_rng(0)
    sort = draw.integers(2, size=48)
    counts = draw.poisson(np.array([[6.0, 3.0, 0.5, 1.0], [0.5, 1.0, 7.0, 2.0]])[sort])
    lines = [",ash,birch,cedar,elm,batch"]
    for place, (row, one) in enumerate(zip(counts, sort, strict=True)):
        lines.append(f"s{place},{','.join(map(str, row))},{('south', 'north')[one]}")
    file.write_text("\n".join(lines) + "\n")


def make_run(name: str, folder: Path) -> None:
    """Make the folder of a run below `folder`, without what is not needed."""
    if not (folder / TABLE).exists():
        make_cells(folder / TABLE)
    run = folder / name
    RUNS[name][0](run, folder / TABLE)
    for path in LEFT_OUT:
        (run / path).unlink(missing_ok=True)


def use_run(name: str, folder: Path, into: Path) -> dict[str, Any]:
    """Use a copy of the folder of a run below `folder`; its table is a file beside it."""
    run = shutil.copytree(folder / name, into / name)
    table = Path(shutil.copy(folder / TABLE, into))
    with contextlib.chdir(into):
        return RUNS[name][1](run, table)
