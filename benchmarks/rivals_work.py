"""What a method of `rivals.py` is given, what it answers, and what that cost: files in a folder.

Imports NumPy alone, since the environment of the rivals has no markovbridge.

`task.npz` holds counts of rows, int32: `train`, `validation` and `test`; `kept_validation` and
`kept_test`, their counts thinned; `hidden_validation` and `hidden_test`, which entries must not be
looked at; and, of a table with classes, `classes_train` and so on, int64. `options.json` holds
numbers. A method writes `METHOD.npz` with what it can of

- `samples` (m, d), and `sample_classes` (m,) that were asked for; `encoded` (m, d), rows decoded
  from what training rows were encoded to;
- `lost` (n, d), expected counts that thinning took from test rows, and `lost_draws` (D, n, d);
- `imputed` (n, d), expected counts, of which the hidden entries matter, and `imputed_draws`;
- `lost_validation` and `imputed_validation`, of a method that predicts 0 where something may be:
  by these rows it is seen how much of the average row to mix in;
- `nats` (r,): -log p of the first test rows, or a bound above it;

and `METHOD.json` with seconds and peak memory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

PARTS = "validation", "test"
DRAWS = 19  # of each entry: the fewest for intervals of 90 %


@dataclass
class Task:
    """Tables and numbers of a run, and the clock of the method that works on them.

    Attributes:
        tables: Arrays by name, see the head of this module.
        options: `survival`, `samples`, `rows` and `looks` for nats, `seed`, and of the command
            line what is for single methods.
        spent: Seconds of the processor and of the clock for each stage so far.
    """

    tables: Mapping[str, np.ndarray]
    options: Mapping[str, Any]
    spent: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tables[name]

    @property
    def classed(self) -> bool:
        """Whether rows have classes."""
        return "classes_train" in self.tables

    def classes(self, part: str) -> np.ndarray:
        """Classes of the rows of a part, (n,) int64; 0 where the table has none."""
        if self.classed:
            return self.tables[f"classes_{part}"]
        return np.zeros(len(self.tables[part]), np.int64)

    def wanted(self) -> np.ndarray:
        """Classes of the samples: drawn from those of the training rows."""
        rng = np.random.default_rng(self.options["seed"])
        return rng.choice(self.classes("train"), self.options["samples"])

    def query(self, kind: str) -> np.ndarray:
        """Rows of "kept" counts, or with the average row where "hidden": validation, then test."""
        if kind == "kept":
            return np.concatenate([self["kept_validation"], self["kept_test"]])
        rows, hidden = self.hidden()
        average, seen = self["train"].mean(0), np.where(hidden, 0, rows)
        depth = seen.sum(1) / np.maximum(np.where(hidden, 0, average).sum(1), 1e-12)
        return np.where(hidden, depth[:, None] * average, rows)

    def hidden(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts of validation and test rows, and which of them are hidden."""
        rows, hidden = ([self[f"{of}{p}"] for p in PARTS] for of in ("", "hidden_"))
        return np.concatenate(rows), np.concatenate(hidden)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside as `name`."""
        start = time.process_time(), time.perf_counter()
        yield
        ends = time.process_time(), time.perf_counter()
        self.spent[name] = ends[0] - start[0], ends[1] - start[1]


def from_shares(shares: np.ndarray, task: Task, kind: str) -> dict[str, np.ndarray]:
    """Answers of a method that says what share of a row's units each feature has.

    Args:
        shares: (n, d), of `task.query(kind)`, in any unit.
        task: The task.
        kind: "kept" or "hidden".
    """
    if kind == "kept":
        survival, name, seen = task.options["survival"], "lost", shares
        total = task.query(kind).sum(1, keepdims=True) * (1 - survival) / survival
    else:
        (rows, hidden), name = task.hidden(), "imputed"
        seen, total = np.where(hidden, 0, shares), np.where(hidden, 0, rows).sum(1, keepdims=True)
    found = shares * total / np.maximum(seen.sum(1, keepdims=True), 1e-12)
    first = len(task["validation"])
    return {f"{name}_validation": found[:first], name: found[first:]}


def peak() -> float:
    """The most memory that this process has held, MiB; NaN where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (line,) = (text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def read(folder: Path) -> Task:
    with np.load(folder / "task.npz") as file:
        tables = dict(file)
    return Task(tables, json.loads((folder / "options.json").read_text()))


def write(folder: Path, name: str, task: Task, answers: Mapping[str, np.ndarray]) -> None:
    np.savez_compressed(folder / f"{name}.npz", **answers)
    facts = {"seconds": task.spent, "peak_mib": peak(), "python": sys.version.split()[0]}
    (folder / f"{name}.json").write_text(json.dumps(facts))


def main(methods: Mapping[str, Callable[[Task], dict[str, np.ndarray]]]) -> None:
    """Run one method: `python FILE METHOD FOLDER`."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    task = read(folder)
    write(folder, name, task, methods[name](task))
