"""A count model beside its rivals: samples, likelihood, restoration, imputation, cost.

    python benchmarks/rivals.py cells.h5ad --install --json cells.json

trains each method on 80 % of the rows of a table that `CountTable` reads, asks it for what it can
do, and prints one table; `--json` writes it too. Validation rows (a tenth) choose the number of
profiles of the mixture; all scores are of the other rows: see `rivals_scores.py`. Methods are

    CountModel            of this package, with its defaults
    negative-binomials    one for each feature, with size factors
    mixture               negative binomials around several profiles
    scaling               size factors alone: what a prediction has to beat
    ALRA                  low rank with thresholds (`rivals_alra.py`)
    scVI, MAGIC           in environments of their own (`rivals_outside.py`); what is not
                          installed is left out, with a sentence, and `--install` installs it

Each runs in a process of its own, one after another, with the same split, the same thinned counts
(half of the units kept) and the same hidden entries (30 %), told through files in `--folder`.
There they stay, and answers of methods that are not asked for again (`--methods CountModel`) are
scored with the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import environments
import rivals_ours
import rivals_scores
from markovbridge.data import CountTable
from markovbridge.data.rows import dense
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import thin
from rivals_scores import REAL, Figure
from rivals_work import Task

HERE = Path(__file__).parent
SURVIVAL, HIDDEN = 0.5, 0.3
# What is installed for a rival, in this order. MAGIC takes an old pandas, and that an old NumPy.
PINS = {
    "scVI": ("torch==2.13.0", "scvi-tools==1.4.2"),
    "MAGIC": ("numpy==1.26.4", "scipy==1.13.1", "magic-impute==3.0.0"),
}
METHODS = (*rivals_ours.METHODS, *PINS)


def python_of(name: str, folder: Path) -> Path:
    """The interpreter that a method runs in."""
    return environments.python_of(folder / name) if name in PINS else Path(sys.executable)


def tables(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """What every method is given; see `rivals_work`."""
    beside = {"covariates": (args.by,), "categorical": (args.by,)} if args.by else {}
    source = CountTable(args.table, layer=args.layer, transpose=args.transpose, **beside)
    found = {}
    for part in ("train", "validation", "test"):
        data = source.load(part)
        x = dense(data.x).flatten(1).long()
        key = {"train": "counts of training", "validation": "halves"}.get(part, "kept")
        if args.by:
            column = data.condition.argmax(1)
            found[f"classes_{part}"] = column.numpy()
        found[part] = x.int().numpy()
        if part != "train":
            kept, _ = thin(x, SURVIVAL, generator=generator("cpu", key, args.seed))
            chance = torch.rand(x.shape, generator=generator("cpu", key, "hidden", args.seed))
            found[f"kept_{part}"] = kept.int().numpy()
            found[f"hidden_{part}"] = (chance < HIDDEN).numpy()
    return found


def prepare(folder: Path, given: Mapping[str, np.ndarray], options: Mapping) -> Task:
    """Write what every method is given, unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "task.npz"
    if file.exists():
        with np.load(file) as old:
            same = set(old) == set(given) and all(np.array_equal(old[k], given[k]) for k in given)
        if not same:
            raise SystemExit(f"{folder} holds answers about another table: give another --folder")
    else:
        np.savez_compressed(file, **given)
    (folder / "options.json").write_text(json.dumps(options))
    return Task(given, options)


def run(name: str, folder: Path, apart: Path) -> None:
    """Let a method answer, in a process of its own."""
    for end in ("npz", "json"):
        (folder / f"{name}.{end}").unlink(missing_ok=True)
    script = HERE / ("rivals_outside.py" if name in PINS else "rivals_ours.py")
    threads = str(json.loads((folder / "options.json").read_text())["threads"])
    counted = {f"{library}_NUM_THREADS": threads for library in ("OMP", "OPENBLAS", "MKL")}
    environment = os.environ | counted
    if name in PINS:
        environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python_of(name, apart), script, name, folder],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        last = "\n    ".join(done.stderr.splitlines()[-5:])
        print(f"{name} ended with status {done.returncode}:\n    {last}", flush=True)


def answered(folder: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Mapping]]:
    """All answers in a folder, and what they cost, in the order of `METHODS`."""
    answers, work = {}, {}
    for name in METHODS:
        if (folder / f"{name}.json").exists():
            with np.load(folder / f"{name}.npz") as file:
                answers[name] = dict(file)
            work[name] = json.loads((folder / f"{name}.json").read_text())
    return answers, work


def scored(task: Task, answers: Mapping, work: Mapping, repeats: int) -> list[Figure]:
    """All scores."""
    found = list(rivals_scores.nats(answers))
    found += rivals_scores.samples(task, answers, repeats)
    for kind in ("lost", "imputed"):
        found += rivals_scores.predictions(task, answers, kind)
    return [*found, *rivals_scores.costs(work)]


def text_of(figures: Sequence[Figure]) -> str:
    """One line a metric, one column a method, the best marked by a star."""
    cells = {(f.group, f.metric, f.method): f for f in figures}
    first = max(len(f.metric) for f in figures)
    lines = []
    for group in dict.fromkeys(f.group for f in figures):
        some = [f for f in figures if f.group == group]
        methods = sorted(dict.fromkeys(f.method for f in some), key=_place)
        widths = {m: max(len(m), 16) for m in methods}
        heads = "".join(f"  {m:>{widths[m]}}" for m in methods)
        lines += ["", f"{group.upper():<{first}}{heads}"]
        for metric in dict.fromkeys(f.metric for f in some):
            here = {m: cells[group, metric, m] for m in methods if (group, metric, m) in cells}
            places = {m: f.distance() for m, f in here.items() if m != REAL}
            best = min((p for p in places.values() if p == p), default=None)
            line = f"{metric:<{first}}"
            for m in methods:
                star = "*" if m in places and places[m] == best else ""
                line += f"  {number(here.get(m)) + star:>{widths[m]}}"
            lines.append(line)
    return "\n".join(lines[1:])


def _place(method: str) -> int:
    """Where a column stands: the floor first, then as in `METHODS`."""
    return -1 if method == REAL else METHODS.index(method.partition(",")[0])


def number(figure: Figure | None) -> str:
    """A score as text."""
    if figure is None:
        return ""
    digits = 1 if abs(figure.value) >= 100 else 2 if abs(figure.value) >= 10 else 4
    text = f"{figure.value:.{digits}f}"
    return text if figure.error is None else f"{text} ± {figure.error:.{digits}f}"


def losses(figures: Sequence[Figure]) -> list[str]:
    """Where rivals are better than the first method, a sentence each."""
    first = next(f.method for f in figures if f.method != REAL)
    ours = {(f.group, f.metric): f for f in figures if f.method == first}
    found: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        key = figure.group, figure.metric
        if key in ours and figure.method != REAL and figure.distance() < ours[key].distance():
            found.setdefault(key, []).append(figure)
    return [
        f"{group}, {metric}: {first} {number(ours[group, metric])}; "
        + ", ".join(f"{f.method} {number(f)}" for f in better)
        for (group, metric), better in found.items()
    ]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="a file of counts that CountTable reads")
    parser.add_argument("--layer", help="of AnnData, in place of X")
    parser.add_argument("--transpose", action="store_true", help="features are in rows")
    parser.add_argument("--by", help="a column of classes, which methods are told")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--install", action="store_true", help="install what is absent")
    parser.add_argument("--environments", type=Path, default=HERE.parent / ".venv-rivals")
    parser.add_argument("--folder", type=Path, help="where answers are kept")
    parser.add_argument("--json", type=Path, help="where the table is written")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=500, help="test rows for nats")
    parser.add_argument("--looks", type=int, default=64, help="draws at each, for nats")
    parser.add_argument("--repeats", type=int, default=2, help="draws that scores are means of")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1500, help="of CountModel")
    parser.add_argument("--width", type=int, default=256, help="of CountModel")
    parser.add_argument("--model", help="a folder of CountModel: loaded, or else written")
    parser.add_argument("--scvi-epochs", type=int, help="at most; scVI's own number if not given")
    parser.add_argument("--scvi-likelihood", choices=["zinb", "nb"], default="zinb")
    return parser


def main(words: Sequence[str] | None = None) -> list[Figure]:
    args = arguments().parse_args(words)
    torch.set_num_threads(args.threads)
    apart = args.environments.resolve()
    names = ("samples", "rows", "looks", "seed", "threads", "steps", "width", "model")
    options = {name: getattr(args, name) for name in (*names, "scvi_epochs", "scvi_likelihood")}
    options["survival"] = SURVIVAL
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        task = prepare(folder, tables(args), options)
        rows, width = task["train"].shape
        print(
            f"{args.table}: {rows:,} training rows, {len(task['test']):,} test rows of {width:,}"
        )
        for name in args.methods:
            pins, own = PINS.get(name, ()), apart / name
            if pins and args.install and environments.absent(name, own, pins):
                environments.install(own, pins)
            if pins and (reason := environments.absent(name, own, pins)):
                print(reason)
            else:
                run(name, folder, apart)
        answers, work = answered(folder)
    if not answers:
        raise SystemExit("no method has answered")
    figures = scored(task, answers, work, args.repeats)
    print(text_of(figures))
    better = losses(figures)
    print(f"\nBetter than {next(iter(answers))}: {len(better)}", *better, sep="\n  ")
    if args.json:
        facts = {"table": str(args.table), "rows": rows, "features": width, "options": options}
        cost = {"work": work, "figures": [asdict(figure) for figure in figures]}
        args.json.write_text(json.dumps({**facts, "better": better, **cost}, indent=1))
    return figures


if __name__ == "__main__":
    main()
