"""What `quality.py` printed, kept over calls in one file, and drawn from it.

    python benchmarks/quality_kept.py scores.json quality.png
    python benchmarks/quality_kept.py scores.json quality.png --printed ours.txt others.txt

The file is JSON: what the samples were compared with, its floors, and for each row and number of
evaluations the energy distance, the Fréchet distance and the seconds a sample. What is found anew
takes the place of what was there. `--printed` adds what calls without `--scores` wrote.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from markovbridge.storage.captions import wrapped
from markovbridge.storage.documents import read_json
from markovbridge.storage.files import write_json

INCHES = (12.0, 4.8)
COLOURS = 10  # of a cycle of matplotlib
MARKERS = "osD^v"
PANELS = ("energy distance to the data", "Fréchet distance of features")
HEADER = re.compile(
    r"(?P<data>[\w-]+), (?P<samples>\d+) samples against (?P<against>\d+), \w+; energy / "
    r"Fréchet distance \((?P<features>[\w-]+)\) / seconds a sample; real data, \d+ against \d+: "
    r"(?P<halves>\S+) / (?P<frechet>\S+); energy of as many new data: (?P<energy>\S+)"
)
POINT = re.compile(r"  +([\d.]+): +(\S+) / +(\S+) / (\S+?)(?:, (\S+) evaluations)?")


@dataclass(frozen=True)
class Floors:
    """What real data score.

    Attributes:
        energy: Energy distance that as many new data have on average.
        frechet: Fréchet distance of as many data to the others.
    """

    energy: float
    frechet: float


@dataclass(frozen=True)
class Kept:
    """Scores of rows, and what they are of.

    Attributes:
        data: Which data.
        samples: How many samples each row drew.
        against: How many data they were compared with.
        features: What made the features of the Fréchet distance.
        floors: What real data score.
        rows: For each row and number of evaluations energy distance, Fréchet distance, seconds.
        path: Where they are kept; None is nowhere.
    """

    data: str
    samples: int
    against: int
    features: str
    floors: Floors
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    path: Path | None = None

    def add(self, name: str, evaluations: float, scores: tuple[float, float, float]) -> None:
        """Write a point down, beside what the file has by now.

        Raises:
            ValueError: If the file is of other data, samples or features.
        """
        there = self if self.path is None else self.united()
        for row, points in there.rows.items():
            self.rows.setdefault(row, {}).update(points)
        self.rows.setdefault(name, {})[f"{evaluations:g}"] = list(scores)
        if self.path is not None:
            write_json(self.path, {k: v for k, v in asdict(self).items() if k != "path"})

    def united(self) -> Kept:
        """What the file has, which must be of the same; ours where there is none."""
        if self.path is None or not self.path.exists():
            return self
        there = read_kept(self.path)
        for name in ("data", "samples", "against", "features"):
            own, other = getattr(self, name), getattr(there, name)
            if own != other:
                raise ValueError(f"{self.path} has {name} {other}, not {own}: name another file")
        return there


def read_kept(path: Path) -> Kept:
    """What a file keeps.

    Raises:
        ValueError: If it is no such file.
    """
    found = read_json(path, "`quality.py --scores` writes such files")
    names = {one.name for one in fields(Kept)} - {"path"}
    if missing := names - set(found):
        raise ValueError(f"{path} has no {', '.join(sorted(missing))}: `quality.py` writes them")
    own = {name: found[name] for name in names}
    return Kept(**own | {"floors": Floors(**found["floors"])}, path=path)


def add_printed(text: str, path: Path) -> None:
    """Add what a call of `quality.py` printed to a file.

    Raises:
        ValueError: If there is no line in it of what was compared.
    """
    kept, name = None, ""
    for line in text.splitlines():
        if header := HEADER.match(line):
            of = header.groupdict()
            floors = Floors(float(of["energy"]), float(of["frechet"]))
            sizes = int(of["samples"]), int(of["against"])
            kept = Kept(of["data"], *sizes, of["features"], floors, path=path)
        elif point := POINT.fullmatch(line):
            if kept is None:
                raise ValueError("a point comes before the line that says what is compared")
            steps, energy, frechet, seconds, taken = point.groups()
            evaluations = float(taken or steps)
            kept.add(name, evaluations, (float(energy), float(frechet), float(seconds)))
        else:
            name = line.removesuffix(", by tolerance in nats")
    if kept is None:
        raise ValueError("no line says what is compared: pass what `quality.py` printed, whole")


def draw(kept: Kept, path: Path) -> None:
    """Energy and Fréchet distance over evaluations, all logarithmic, with their floors."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=INCHES, layout="constrained")
    caption = (
        f"{kept.data}: {kept.samples:,} samples of each row against {kept.against:,} of the data, "
        f"features of {kept.features}; networks of one size. Dotted: real data"
    )
    figure.suptitle(wrapped(caption, INCHES[0]), fontsize="small")
    panels = figure.subplots(1, 2)
    for number, (name, points) in enumerate(kept.rows.items()):
        look = {
            "color": f"C{number % COLOURS}",
            "marker": MARKERS[number // COLOURS % len(MARKERS)],
            "linestyle": "--" if name.startswith("published") else "-",
        }
        counts = sorted(points, key=float)
        for place, panel in enumerate(panels):
            values = [points[count][place] for count in counts]
            panel.plot([float(n) for n in counts], values, markersize=4, label=name, **look)
    floors = kept.floors.energy, kept.floors.frechet
    for panel, label, floor in zip(panels, PANELS, floors, strict=True):
        panel.axhline(floor, color="grey", linewidth=0.8, linestyle=":", label="as many real data")
        panel.set(xscale="log", yscale="log", ylabel=label)
        panel.set_xlabel("network evaluations a sample")
        panel.xaxis.set_major_formatter(ScalarFormatter())
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path, help="the file, which `quality.py --scores` writes")
    parser.add_argument("figure", type=Path, help="the picture to write")
    parser.add_argument("--printed", type=Path, nargs="*", default=[], help="add these first")
    arguments = parser.parse_args()
    for printed in arguments.printed:
        add_printed(printed.read_text(), arguments.scores)
    draw(read_kept(arguments.scores), arguments.figure)


if __name__ == "__main__":
    main()
