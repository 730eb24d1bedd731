"""`markovbridge calibrate`: do draws of what was hidden hold what they say, and intervals that do.

RUN/calibration.json    {"calibrations": [...], "model": hash of the weights}: what was found of
                        imputed entries and of thinned counts, as `evaluation.calibration` has it

`CountModel.load(RUN)` corrects the intervals of such draws of the model's own head by it. From
Python the same is
`CountModel.calibrate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from markovbridge.cli import console
from markovbridge.cli.drawing import Drawing, cost
from markovbridge.cli.models import conditioned, hashed
from markovbridge.cli.posterior import Input, Posterior
from markovbridge.cli.results import figures_of, foreign
from markovbridge.cli.verb import Measures
from markovbridge.counts import CountModel, Facts
from markovbridge.counts.fitted import walk
from markovbridge.counts.measuring import OBSERVED
from markovbridge.evaluation.calibration import (
    NAME,
    Calibration,
    added,
    calibrate,
    check_hidden,
    content_of,
    is_calibration,
    parts_of,
    read,
    walk_of,
)
from markovbridge.evaluation.restoration import LEVELS, Restoration, least_draws, shown, thin
from markovbridge.storage.config import short, to_config
from markovbridge.storage.errors import UsageError
from markovbridge.storage.files import to_json
from markovbridge.storage.parts import arguments
from markovbridge.training.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Calibrate(Posterior, Measures):
    """Check intervals of a run against rows whose truth is known, and correct them.

    RUN is a folder that `markovbridge train` wrote, of counts by pure death. Entries of rows that
    the model has not seen are hidden and imputed or, with --survival, their counts are thinned
    and restored. Printed are how often central intervals hold the truth, as they come and as they
    are corrected, and whether ranks of the truth among the draws are uniform. The correction is
    kept in RUN/calibration.json; `CountModel.load` reads it, and its intervals of such draws then
    hold the truth as often as they say, whatever the model. What was found of other draws stays
    there. If the command is interrupted, give it again: it goes on where it was. Several processes
    share the work as for `sample`.

      markovbridge calibrate RUN
      markovbridge calibrate RUN --survival 0.5

    Attributes:
        survival: Thin counts to this share of their units, in (0, 1), and restore them.
        observed: Without it, the share of entries that is shown, in [0, 1); the others are
            imputed.
        levels: Of the intervals.
        draws: Draws for each row; intervals of 90 percent take 19 at least.
        n: The first so many rows. Without it, all of an input, and 256 of the run's own data, or
            as many as there are.
        input: A file of rows of full depth that the model has not seen, as of `restore`.
        split: The part of the run's own data to take.
        sampler: How to step. Without it, a run of a table steps as `CountModel` does, whose draws
            are then corrected, and any other run as for `sample`.
        seed: Seed of what is hidden, and of the draws.
        output: A folder for calibration.json, if not that of the run.
    """

    EXAMPLE = "runs/cells"
    OWN: ClassVar[int] = 256

    survival: float | None = None
    observed: float = OBSERVED
    levels: Sequence[float] = LEVELS

    def __post_init__(self) -> None:
        for level in self.levels:
            if not 0 < level < 1:
                raise UsageError(f"a level is {level}; it must lie in (0, 1), such as 0.9")
            if self.draws < (least := least_draws(level)):
                raise UsageError(
                    f"draws is {self.draws}; intervals of {level:.3g} take at least {least}"
                )
        if self.survival is not None and not 0 < self.survival < 1:
            raise UsageError(f"survival is {self.survival}; it must lie in (0, 1)")
        if not 0 <= self.observed < 1:
            raise UsageError(f"observed is {self.observed}; it must lie in [0, 1)")
        if self.guidance != 1:
            raise UsageError(f"guidance is {self.guidance}; calibrate looks at the model as it is")
        if self.output is None and self.weights != "ema":
            raise UsageError(
                f"weights is {self.weights}, and RUN/calibration.json is of the averaged ones: "
                "give --output a folder of its own"
            )
        super().__post_init__()

    def run(self) -> None:
        path = Path(self.opened().path)
        if self.sampler is None and RunFolder(path).record("count_model").is_file():
            params = Facts.read(path, arguments(CountModel)).params
            dataclasses.replace(self, **walk(CountModel(**params).tolerance)).run()
            return
        with self.drawing(NAME) as drawing:
            process = drawing.transport.process
            if not process.thins:
                raise UsageError(
                    f"calibrate is for counts, a model of PureDeath, and {drawing.run} has "
                    f"{type(process).__name__}"
                )
            own = short(drawing.run.model_configuration()["head"])
            other = own if self.head is None else short(to_config(self.head))
            if other != own:
                console.note(
                    f"these are intervals of --head {other}; those of "
                    f"`CountModel`, whose head is {own}, are not corrected by them"
                )
            file = self._file(drawing)
            if file.is_file() and not is_calibration(file):
                raise foreign(file, "choose another --output")
            self._calibrate(drawing, self.given(drawing))

    def _file(self, drawing: Drawing) -> Path:
        place = drawing.results
        name = NAME if place.name == NAME else figures_of(place.name, NAME)
        return place.folder.record(name)

    def _calibrate(self, drawing: Drawing, given: Input) -> None:
        """Make the blocks of this process; measure them all in the first."""
        transport, draws, n = drawing.transport, self.draws, len(given.x)
        x = transport.check(given.x, given.told)
        rows = {"columns": given.known, "what": given.told}
        facts, told = conditioned(transport, self.condition, self.guidance, n, **rows)
        facts |= {"input": given.told, "hash": hashed(x), "rows": n, "draws": draws}
        facts |= {"survival": self.survival, "observed": self.observed}
        each = torch.arange(n).repeat_interleave(draws)
        options: dict[str, Any] = {"condition": None if told is None else told[each]}
        hidden = torch.ones_like(x, dtype=torch.bool)
        kind: dict[str, Any]
        if self.survival is not None:
            seen = thin(x, self.survival, self.seed)
            t = transport.process.observed_time(self.survival)
            draw = partial(transport.restore_block, x=seen[each], t=t, **options)
            least, kind = seen, {"task": "restore", "share": self.survival}
        else:
            hidden = ~shown(x, self.observed, self.seed)
            known = ~hidden[each]
            draw = partial(transport.impute_block, x=x[each], observed=known, **options)
            least = torch.zeros((), dtype=x.dtype)
            kind = {"task": "impute", "share": self.observed}
        check_hidden(hidden, self.levels)
        found = self.drawn(drawing, draw, n * draws, "draws", facts)
        if found is None:
            return
        made = Restoration.of_rows(torch.from_numpy(found.samples).to(x.dtype), draws)
        sampler = transport.default_sampler() if self.sampler is None else self.sampler
        one = calibrate(
            dataclasses.replace(made, least=least),
            x,
            hidden,
            transport.mean.cpu().expand(transport.shape),
            **kind,
            walk=walk_of(sampler, self.steps),
            rows_of=given.told,
            parts=parts_of(transport),
            levels=tuple(self.levels),
            seed=self.seed,
        )
        self._wrote(drawing, one, cost(found.meta), found.meta["model"])
        found.blocks.clear()

    def _wrote(self, drawing: Drawing, one: Calibration, cost: str, model: str) -> None:
        folder, file = drawing.results.folder, self._file(drawing)
        content = content_of(added(read(folder, model, file.stem), one), model)
        text = (
            f"{one.entries:,} entries of {one.rows:,} rows of {drawing.run}, {one.rows_of}: {cost}"
        )
        self.wrote(folder, file.stem, content, f"{text}\n{_table(one)}")
        if self.json:
            console.say(to_json(content, indent=2))


def _table(one: Calibration) -> str:
    """Levels as columns, and what is found of each."""
    rows = [("", *(f"{m.plain.level:.3g}" for m in one.coverage))]
    rows.append(("ranks", *(_share(m.plain.randomised, m.plain.error) for m in one.coverage)))
    rows.append(("intervals", *(f"{m.plain.conservative:.1%}" for m in one.coverage)))
    rows.append(("corrected", *(_share(m.corrected, m.error) for m in one.coverage)))
    rows.append(("their length", *(f"{m.plain.width:.3g}, {m.width:.3g}" for m in one.coverage)))
    return (
        f"{console.table(rows)}\n  ranks: how often the truth is among the central draws, ties at "
        "random; a right model\n  has the share named, and uniform ranks: "
        f"p = {one.uniform:.2g} that these are. Intervals of counts,\n  ends included, hold more "
        "than that; corrected ones hold that much at least, whatever the model."
    )


def _share(value: float, error: float) -> str:
    return f"{value:.1%} ± {error:.1%}"
