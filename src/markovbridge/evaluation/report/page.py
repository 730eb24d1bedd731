"""One self-contained HTML page per run: `write_report`.

Everything is inside the file: pictures as PNG data, charts as SVG, the style
sheet. It opens from a disk, an e-mail or a server alike, makes no request, and
follows the reader's light or dark setting. What has not been made yet is said,
with the command that makes it.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from markovbridge.evaluation.metrics import Record
from markovbridge.evaluation.metrics.evaluation import ENERGY, FRECHET, lower_is_better, samples_of
from markovbridge.evaluation.metrics.extractors import RAW
from markovbridge.evaluation.report.calibration import calibration_section
from markovbridge.evaluation.report.charts import Series, line_chart, running_mean
from markovbridge.evaluation.report.findings import (
    diagnostics_section,
    likelihood_section,
    restoration_section,
)
from markovbridge.evaluation.report.html import (
    command,
    describe,
    document,
    duration,
    keys_table,
    missing,
    number,
)
from markovbridge.evaluation.report.pictures import (
    dense,
    grids_section,
    neighbours_section,
    path_section,
    samples_section,
)
from markovbridge.evaluation.report.run import Run, class_of, read_run
from markovbridge.evaluation.report.verdict import AUC, verdict
from markovbridge.storage.config import at_a_glance
from markovbridge.storage.documents import PlainDumper
from markovbridge.storage.files import write_text
from markovbridge.training.run_folder import RunFolder
from markovbridge.transport.draws import BLOCK

# Options of `sample` that go without saying.
USUAL = {"grid": "model", "weights": "ema", "block": BLOCK, "guidance": 1.0}


def write_report(run: str | Path, *, callback: Callable[[float], None] | None = None) -> Path:
    """Write `report.html` into a run folder.

    Args:
        run: The folder. Only config.yaml has to be there.
        callback: Called with the share of the work that has been done since: of the search for
            the nearest training data, beside which all else is nothing.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: If it is no run folder.
        ValueError: If a file in it is damaged; the message names it.
    """
    found = read_run(run)
    return write_text(RunFolder(found.path).report, _page(found, callback))


def _page(run: Run, callback: Callable[[float], None] | None) -> str:
    name = run.path.resolve().name
    search = partial(neighbours_section, callback=callback)
    sections = [
        _made(search if section is neighbours_section else section, run, file)
        for section, file in SECTIONS
    ]
    body = "".join(f"<section>{section}</section>" for section in sections if section)
    head = _made(lambda run: _head(run, name), run, "model/config.json")
    told = _made(_verdict, run, "evaluation.json")
    return document(name, f"{head}{told}{body}")


def _made(section: Callable[[Run], str], run: Run, file: str) -> str:
    """A section of the page.

    Raises:
        ValueError: If it cannot be made of what its file holds, naming that.
    """
    try:
        return section(run)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{run.path / file} holds what no report can show ({reason})") from error
    except ValueError as error:
        raise ValueError(f"{run.path / file}: {error}") from error


def _head(run: Run, name: str) -> str:
    data = run.training
    parts = []
    if data is not None:
        shape = " × ".join(map(str, data.shape))
        items = f"rows of {shape} features" if run.table else f"items of shape {shape}"
        parts.append(f"{len(data):,} training {items} from {data.name}.")
    model = run.model
    if "process" in model:
        process, head = class_of(model["process"]), class_of(model.get("head"))
        parts.append(f"Reference process {process}" + (f", head {head}." if head else "."))
    facts = _facts(run)
    tiles = "".join(f"<div><dt>{escape(k)}</dt><dd>{v}</dd></div>" for k, v in facts.items())
    return (
        f'<header><p class="kicker">markovbridge run</p><h1>{escape(name)}</h1>'
        f'<p class="lead">{escape(" ".join(parts))}</p>'
        + (f'<dl class="facts">{tiles}</dl>' if facts else "")
        + "</header>"
    )


def _verdict(run: Run) -> str:
    return verdict(run, dense(run.alike) if run.table else None)


def _last(run: Run, key: str) -> Any:
    """The latest logged value of `key`, or None."""
    return next((entry[key] for entry in reversed(run.history) if key in entry), None)


def _facts(run: Run) -> dict[str, str]:
    facts: dict[str, str] = {}
    if run.history:
        facts["Training steps"] = number(run.history[-1]["step"])
    if (elapsed := _last(run, "elapsed_s")) is not None:
        facts["Training time"] = duration(elapsed)
    if run.weights is not None:
        facts["Weights"] = number(run.weights)
    if (loss := _last(run, "best_loss")) is not None:
        step = number(_last(run, "best_step"))
        facts["Held-out loss"] = f"{number(loss)} <small>the lowest, at step {step}</small>"
    elif (loss := _last(run, "validation_loss")) is not None:
        facts["Held-out loss"] = number(loss)
    elif (loss := _last(run, "loss")) is not None:
        facts["Training loss"] = number(loss)
    if run.given:
        facts["Samples given"] = escape(run.given)
    if "evaluations" in run.samples_meta:
        facts["Network evaluations"] = number(run.samples_meta["evaluations"])
    for record in run.records:
        if record.metric in (AUC, ENERGY, "FID") or (record.metric, record.extractor) == (
            FRECHET,
            RAW,
        ):
            name = record.metric[0].upper() + record.metric[1:]
            facts[name] = f"{number(record.value)} <small>floor {number(record.floor)}</small>"
    if run.likelihood:
        bits = run.likelihood[0]
        facts["Bits per dimension"] = (
            f"≤ {number(bits.bits, '.3f')} <small>± {number(bits.bits_error, '.3f')}</small>"
        )
    return facts


def _evaluation(records: Sequence[Record], path: Path) -> str:
    title = "<h2>Evaluation</h2>"
    if not records:
        return title + missing("Nothing has been evaluated yet.", f"markovbridge evaluate {path}")
    groups: dict[tuple, list[Record]] = {}
    for r in records:
        key = (r.n, r.n_reference, r.split, r.weights, r.sampler, r.evaluations, r.seed)
        groups.setdefault((*key, r.given, r.guidance, r.floor_method), []).append(r)
    intro = (
        "<p>Samples against data; lower is better, but for correlations and slopes, which are 1 "
        "at best. The <em>floor</em> is what real data score against real data: a value means "
        "something beside it only.</p>"
    )
    return title + intro + "".join(_record_table(group) for group in groups.values())


def _record_table(group: Sequence[Record]) -> str:
    first = group[0]
    halves = any(r.half_split is not None for r in group)
    columns = ["", "value", "floor", *(["half split"] if halves else []), "value / floor"]
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = []
    for r in group:
        hashed = f", {r.extractor_weights}" if r.extractor_weights else ""
        reason = f"; undefined: {r.undefined}" if r.undefined else ""
        measured = r.extractor + hashed + reason
        error = "" if r.error is None else f" <small>± {number(r.error, '.2g')}</small>"
        value = f"{number(r.value)}{error}"
        cells = [f'<td class="value">{value}</td>', f"<td>{number(r.floor)}</td>"]
        if halves:
            cells.append(f"<td>{'' if r.half_split is None else number(r.half_split)}</td>")
        ratio = ""
        if r.value is not None and r.floor and lower_is_better(r):
            ratio = f"{r.value / r.floor:#.2g}×"
        cells.append(f"<td>{ratio}</td>")
        rows.append(
            f'<tr><th scope="row">{escape(r.metric)}'
            f"<small>{escape(measured)}</small></th>{''.join(cells)}</tr>"
        )
    weights = "EMA" if first.weights == "ema" else first.weights
    caption = (
        f"{samples_of(first)} ({weights} weights, {at_a_glance(first.sampler)}, "
        f"{first.evaluations:g} evaluations, seed {first.seed}) against "
        f"{first.n_reference:,} real items, split “{first.split}”."
    )
    note = f"Floor: {first.floor_method}."
    if halves:
        note += (
            " A bootstrap plays a perfect model of these very items, fresh data would score more; "
            "the half split, one half of the real data against the other, overestimates. "
            "A perfect model lies between the two."
        )
    else:
        note += " This overestimates a little: that reference is the smaller one."
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="note" style="margin-top:12px">{escape(note)}</p>'
    )


def _column(run: Run, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of a logged quantity."""
    pairs = [
        (e["step"], e[key]) for e in run.history if e.get(key) is not None and np.isfinite(e[key])
    ]
    steps, values = np.array(pairs, dtype=float).reshape(-1, 2).T
    return steps, values


def _loss(run: Run) -> str:
    title = "<h2>Loss</h2>"
    steps, values = _column(run, "loss")
    held_steps, held = _column(run, "validation_loss")
    if not len(values):
        return title + missing(
            "No step has been logged yet.", f"markovbridge train {run.path} --resume true"
        )
    smooth = running_mean(values, max(1, len(values) // 25))
    series = [
        Series("training, as logged", steps, values, "faint"),
        Series("training, running mean", steps, smooth, "main"),
    ]
    if len(held):
        series.append(Series("held out, EMA weights", held_steps, held, "second"))
    # The first steps are far off and would flatten the rest: the axis shows what follows.
    settled = smooth[steps >= steps[0] + 0.03 * (steps[-1] - steps[0])]
    shown = np.concatenate([settled, held[1:] if len(held) > 1 else held])
    chart = line_chart(
        series,
        x_label="training step",
        y_label="loss",
        description=f"Line chart: training loss over {steps[-1]:,.0f} steps, from "
        f"{values[0]:.4g} to {smooth[-1]:.4g}",
        y_range=(float(shown.min()), float(shown.max())),
    )
    return title + chart + _log(run)


def _log(run: Run) -> str:
    """The log, without its middle if it is long."""
    lines = run.log
    if not lines:
        return ""
    if len(lines) > 40:
        lines = [*lines[:20], f"... {len(lines) - 40:,} lines ...", *lines[-20:]]
    return f"<details><summary>The log</summary>{command(lines)}</details>"


def _model(run: Run) -> str:
    model = run.model
    rows = {
        part: f"<code>{escape(describe(model[part]))}</code>"
        for part in ("process", "coupling", "head", "objective", "network")
        if model.get(part) is not None
    }
    if not model:
        rows["model"] = "No model has been saved yet."
    if run.training is None:
        rows["data"] = escape(f"could not be loaded here: {run.training_problem}")
    else:
        rows["data"] = escape(
            f"{run.training.name}, split “{run.training.split}”: {run.training.source}; "
            f"licence: {run.training.licence}"
        )
    if run.notes:
        rows["data, note"] = escape("; ".join(run.notes))
    speeds = _column(run, "samples_per_s")[1]
    if len(speeds):
        rows["training speed"] = f"{number(round(float(np.median(speeds))))} samples per second"
    meta = run.samples_meta
    if meta.get("seconds") and run.samples is not None:
        each = 1000 * meta["seconds"] / len(run.samples)
        rows["sampling speed"] = (
            f"{number(each)} ms per sample ({len(run.samples):,} in {duration(meta['seconds'])})"
        )
    return "<h2>Model and data</h2>" + keys_table(rows)


def _reproduce(run: Run) -> str:
    path, meta = run.path, run.samples_meta
    given = {f"condition.{name}": value for name, value in (meta.get("condition") or {}).items()}
    values = {key: meta.get(key) for key in ("n", "steps", "grid", "seed", "weights", "block")}
    values |= given | {"guidance": meta.get("guidance") if given else None}
    options = "".join(
        f" --{key} {shlex.quote('null' if value is None else str(value))}"
        for key, value in values.items()
        if key in given or (value is not None and value != USUAL.get(key))
    )
    lines = [
        f"markovbridge train {path} --output {path}-again",
        f"markovbridge sample {path}-again{options}",
        f"markovbridge evaluate {path}-again",
        f"markovbridge report {path}-again",
    ]
    versions = ", ".join(
        [f"{p} {version(p)}" for p in ("markovbridge", "torch", "numpy")]
        + [f"Python {platform.python_version()}", platform.machine()]
    )
    config = yaml.dump(run.config, Dumper=PlainDumper, sort_keys=False, allow_unicode=True)
    return (
        "<h2>How to reproduce</h2><p>Batches, noise and samples are functions of the seeds in the "
        f'configuration.</p>{command(lines)}<p class="note" style="margin-top:12px">This page was '
        f"written with {escape(versions)}.</p><details><summary>The full configuration</summary>"
        f"{command(config.splitlines())}</details>"
    )


# What the page shows in turn, and the file of the run that it is of.
SECTIONS: tuple[tuple[Callable[[Run], str], str], ...] = (
    (samples_section, "samples.npz"),
    (path_section, "path.npz"),
    (lambda run: _evaluation(run.records, run.path), "evaluation.json"),
    (likelihood_section, "likelihood.json"),
    (restoration_section, "restored.npz"),
    (calibration_section, "calibration.json"),
    (neighbours_section, "samples.npz"),
    (diagnostics_section, "diagnostics.json"),
    (_loss, "metrics.jsonl"),
    (grids_section, "samples"),
    (_model, "model/config.json"),
    (_reproduce, "config.yaml"),
)
