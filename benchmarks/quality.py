r"""How good at how many evaluations: every sampler on the same network.

    python benchmarks/quality.py --data digits --figure quality.png
    python benchmarks/quality.py --data fashion-mnist --steps 1600 --samples 1000 \
        --extractor mobilenet:weights.pt
    python benchmarks/quality.py --scores scores.json --figure quality.png --only
    python benchmarks/quality.py --data fashion-mnist --beside --install --bf16 --steps 1600 \
        --samples 1000 --extractor mobilenet:weights.pt --likelihood 0 --tolerances

Trains the recipe (or takes the run that is there), and beside it, with the same network and
budget, the published method: its loss on its grid of times. Then draws samples by every sampler
at every number of network evaluations, and prints for each the energy distance in raw values,
the Fréchet distance of features, and the seconds a sample took here, with floors: what two
halves of the data score, and the energy that as many new data would have; and the bound in nats on
some of the data.

Rows. "published" is a logit-spaced grid of survival, walked by thinning the expected count
rounded to the nearest integer ("nearest") or by Poisson leaps ("leap"). "cosine" is the grid of
the schedule, "equal error" the one that trained models bring with them, which is the default
together with "trapezoidal". With `--table` the network gives the same mean and a table around it
(`CentredHead`), trained by `PathKL(damping=1) + 0.001 * EndNLL()`, and the second-order bridge
draws from the table.

With `--beside` other methods stand beside ours, each with a network of the same size and the same
budget of images: joint draws that hand over to leaps (`JointHead`), leaps alone of that network,
bridges of a diffusion, and flow matching of reals and of categories by Meta's library, which runs
in an environment of its own (`quality_outside.py`): where it is not installed it is left out, with
a sentence, and `--install` installs it. Words that the script does not know go to all recipes.

With `--scores FILE` all that is printed is kept in a file as well, beside what earlier calls put
there, and `--figure` draws the whole of it; `--only` without a name runs nothing, and draws.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import environments
import markovbridge as mb
from markovbridge.cli.models import conditioned
from markovbridge.data import IDX, Digits
from markovbridge.evaluation.metrics import extractor_of
from markovbridge.samplers import Adaptive, Sampler, SecondOrderBridge, grids
from quality_kept import Floors, Kept, draw, read_kept
from quality_scores import Against
from trained_runs import trained

DATA = {"digits": Digits(), "fashion-mnist": IDX(name="fashion-mnist")}
EVALUATIONS = (5, 10, 20, 50, 100, 250, 1000)
BESIDE = (2, 4, 6, 10, 20, 50, 100)
HERE = Path(__file__).parent
PINS = ("torch==2.13.0", f"{HERE.parent}[images]", "flow_matching==1.0.10")
OUTSIDE = ("continuous", "discrete")
BLOCK = 256
MEANS = ["--head", "markovbridge.MeanHead"]  # leaps alone, without the cost of joint draws
CHANGES = {
    "ours": MEANS,
    "published": (
        [*MEANS, "--process.schedule", "markovbridge.LogisticSchedule"]
        + ["--process.schedule.t_end", "15"]
        + ["--process.schedule.exact_ends", "false"]
        + ["--objective", "markovbridge.FiniteTime", "--statistics", "all"]
    ),
    "table": (
        ["--head", "markovbridge.CentredHead", "--objective", "markovbridge.transport.Sum"]
        + ["--objective.terms"]
        + [
            '[{"class_path": "markovbridge.PathKL", "init_args": {"damping": 1.0}}, '
            '{"class_path": "markovbridge.EndNLL"}]'
        ]
        + ["--objective.weights", "[1.0, 0.001]"]
    ),
    "joint": ["--head", "markovbridge.JointHead", "--head.share", "0.25"],
    "bridge": [],
}


@dataclass(frozen=True)
class Row:
    """One way to draw samples.

    Attributes:
        model: Which model, one of `CHANGES`.
        name: What to call it.
        sampler: How to step; None as the model itself does.
        grid: The grid of so many steps, of a model.
        kernel: What the mean head draws; None for the head of the model.
    """

    model: str
    name: str
    sampler: Sampler | None
    grid: Callable[[mb.Transport, int], int | Tensor]
    kernel: str | None = "poisson"


def published_grid(model: mb.Transport, steps: int) -> Tensor:
    """Logit-spaced survival, its ends moved to 0 and 1."""
    return grids.like(model.process, mb.LogisticSchedule(15), steps)


def cosine_grid(model: mb.Transport, steps: int) -> Tensor:
    """Even steps of the cosine schedule."""
    return grids.like(model.process, mb.CosineSchedule(), steps)


def default_grid(model: mb.Transport, steps: int) -> int:
    """What a number of steps stands for."""
    return steps


ROWS = (
    Row("published", "published loss and grid, nearest", mb.Bridge(), published_grid, "nearest"),
    Row("published", "published loss and grid, leap", mb.Bridge(), published_grid),
    Row("ours", "published grid, nearest", mb.Bridge(), published_grid, "nearest"),
    Row("ours", "published grid, leap", mb.Bridge(), published_grid),
    Row("ours", "cosine, leap", mb.Bridge(), cosine_grid),
    Row("ours", "equal error, leap", mb.Bridge(), default_grid),
    Row("ours", "cosine, trapezoidal", mb.Trapezoidal(), cosine_grid),
    Row("ours", "equal error, trapezoidal", mb.Trapezoidal(), default_grid),
)
TABLES = (
    Row("table", "table, equal error, trapezoidal", mb.Trapezoidal(), default_grid, None),
    Row("table", "table, equal error, bridge", mb.Bridge(), default_grid, None),
    Row("table", "table, equal error, second order", SecondOrderBridge(), default_grid, None),
    Row("table", "table, cosine, second order", SecondOrderBridge(), cosine_grid, None),
)


def leaps(theta: float, power: float = 1.0) -> mb.HandOver:
    """Leaps of an inner time and a grid, of a model that draws jointly as well."""
    return mb.HandOver(0.0, mb.Trapezoidal(theta, powers=(power,)))


OTHERS = (
    Row("joint", "joint draws, then leaps", None, default_grid, None),
    *(
        Row("joint", f"leaps alone, theta {theta}", leaps(theta), default_grid, None)
        for theta in (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
    ),
    *(
        Row("joint", f"leaps alone, power {power}", leaps(0.25, power), default_grid, None)
        for power in (0.75, 0.5)
    ),
    Row("joint", "published grid, leap", mb.HandOver(0.0, mb.Bridge()), published_grid, None),
    Row("bridge", "bridges of a diffusion, flow", mb.ProbabilityFlow(), default_grid, None),
)


def budget(arguments: argparse.Namespace) -> list[str]:
    """What all recipes are told."""
    words = list(arguments.words)
    words += ["--trainer.batch_size", "128"] if arguments.data == "digits" else []
    words += ["--trainer.precision", "bf16"] if arguments.bf16 else []
    words += [] if arguments.steps is None else ["--trainer.steps", str(arguments.steps)]
    return words


def folder_of(name: str, arguments: argparse.Namespace) -> Path:
    """Where a model is kept."""
    return arguments.output / f"{arguments.data}-{name}-{arguments.steps or 'whole'}"


def model_of(name: str, arguments: argparse.Namespace) -> mb.Transport:
    """The model of a recipe, or of a twin of it."""
    if name in ("ours", "joint") and arguments.run is not None:
        return mb.Transport.from_pretrained(arguments.run)
    recipe = arguments.data + ("-bridge" if name == "bridge" else "")
    words = [*CHANGES[name], *budget(arguments)]
    return mb.Transport.from_pretrained(trained(folder_of(name, arguments), recipe, *words))


def own_sampler(model: mb.Transport) -> Sampler:
    """The sampler that a model walks with if it is not told one."""
    assert model.head is not None
    return model.sampler or model.head.sampler(model.process)


def classes(model: mb.Transport, n: int) -> Tensor | None:
    """What n samples are told, (n, C): each class in turn, where a model is told one."""
    each_in_turn = {"label": "*"} if model.covariates else None
    return conditioned(model, each_in_turn, 1.0, n)[1]


def asked(name: str, arguments: argparse.Namespace) -> bool:
    """Whether a row is among those that `--only` leaves."""
    return arguments.only is None or any(part in name for part in arguments.only)


def most_steps(sampler: Sampler, evaluations: int) -> tuple[int, int]:
    """The most steps with so many evaluations, one at least, and how many they take."""
    steps = 1
    while (next_one := sampler.evaluations(steps + 1)) is not None and next_one <= evaluations:
        steps += 1
    taken = sampler.evaluations(steps)
    assert taken is not None
    return steps, taken


def outside(name: str, arguments: argparse.Namespace) -> list[dict]:
    """What flow matching has drawn, a fact a row: solver, evaluations, seconds and file."""
    folder = folder_of(name, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    task = {
        "recipe": arguments.data,
        "words": budget(arguments),
        "evaluations": arguments.evaluations,
        "samples": arguments.samples,
        "block": min(BLOCK, arguments.samples),
    }
    (folder / "task.json").write_text(json.dumps(task))
    python = environments.python_of(arguments.environment)
    subprocess.run([python, HERE / "quality_outside.py", name, folder], check=True)
    facts = json.loads((folder / f"{name}.json").read_text())
    return [fact | {"file": folder / fact["file"]} for fact in facts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(DATA), default="digits")
    parser.add_argument("--steps", type=int, help="of training; the recipe's own if not given")
    parser.add_argument("--evaluations", type=int, nargs="+", help="of the network, a sample")
    parser.add_argument("--most", type=int, default=1000, help="except on the published grid")
    parser.add_argument("--tolerances", type=float, nargs="*", default=[10.0, 3.0, 1.0])
    parser.add_argument("--samples", type=int, default=1797)
    parser.add_argument("--against", type=int, help="real data; twice the samples if not given")
    parser.add_argument("--only", nargs="*", help="rows whose names contain one of these")
    parser.add_argument("--table", action="store_true", help="a model with tables, on its own")
    parser.add_argument("--beside", action="store_true", help="other methods, on their own")
    parser.add_argument("--bf16", action="store_true", help="networks in bfloat16, in all they do")
    parser.add_argument("--install", action="store_true", help="install flow_matching if absent")
    parser.add_argument("--environment", type=Path, default=HERE.parent / ".venv-flow-matching")
    parser.add_argument("--extractor", default="pixels", help="pixels or mobilenet:PATH")
    parser.add_argument("--likelihood", type=int, default=100, help="data points of the bound")
    parser.add_argument("--output", type=Path, default=Path("runs/quality"))
    parser.add_argument("--run", type=Path, help="take this run as ours, or joint")
    parser.add_argument("--scores", type=Path, help="keep all scores here, beside those there")
    parser.add_argument("--figure", type=Path, help="write a plot of both distances here")
    arguments, arguments.words = parser.parse_known_args()
    if arguments.only == []:
        if arguments.scores is None or arguments.figure is None:
            parser.error("--only without a name draws: it needs --scores and --figure")
        return draw(read_kept(arguments.scores), arguments.figure)
    if arguments.evaluations is None:
        arguments.evaluations = BESIDE if arguments.beside else EVALUATIONS
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = DATA[arguments.data].load("all" if arguments.data == "digits" else "test")
    seen = extractor_of(arguments.extractor, maximum=data.maximum or 255)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    real = data.x[order[: arguments.against or max(2 * arguments.samples, 2000)]]
    scores = Against(real, seen)
    half = min(arguments.samples, len(real) // 2)
    parts = len(real[:half]), len(real[half:])
    floor = scores.floor(half)
    # Two independent sets of n and N have m (1/n + 1/N) on average, m the mean distance of two.
    pair = floor[0] / sum(1 / part for part in parts)
    new = pair * (1 / arguments.samples + 1 / len(real))
    features = arguments.extractor.split(":")[0]
    say(
        f"{arguments.data}, {arguments.samples} samples against {len(real)}, {device}; energy / "
        f"Fréchet distance ({features}) / seconds a sample; real data, "
        f"{parts[0]} against {parts[1]}: {floor[0]:.3g} / {floor[1]:.3g}; energy of as many new "
        f"data: {new:.3g}"
    )
    kept = Kept(
        data=arguments.data,
        samples=arguments.samples,
        against=len(real),
        features=features,
        floors=Floors(new, floor[1]),
        path=arguments.scores,
    )
    kept.united()  # complains of another file before anything is trained
    models = {}
    rows = [
        row
        for row in (OTHERS if arguments.beside else TABLES if arguments.table else ROWS)
        if asked(row.name, arguments)
    ]
    for name in sorted({row.model for row in rows}):
        model = models[name] = model_of(name, arguments).to(device)
        model.autocast = torch.bfloat16 if arguments.bf16 else None
        if model.error_curve is None:
            model.error_curve = grids.measure(model, real[:128].long().to(device))
        # As published, data can start outside of the source, and the bound is infinite.
        if arguments.likelihood and name != "published":
            bound = model.log_likelihood(
                real[: arguments.likelihood].long().to(device),
                generator=torch.Generator(device).manual_seed(0),
            )
            error = float(bound.nats.std()) / len(bound.nats) ** 0.5
            say(f"{name}: {-float(bound.nats.mean()):.2f} nats ({error:.2f})")

    def drawn(row: Row, steps: int, sampler: Sampler) -> tuple[float, float, float]:
        model = models[row.model]
        if row.kernel is not None:
            model.head = mb.MeanHead(kernel=row.kernel)  # has no weights
        began = time.perf_counter()
        samples = model.sample(
            arguments.samples,
            steps=row.grid(model, steps),
            sampler=sampler,
            condition=classes(model, arguments.samples),
            generator=torch.Generator(device).manual_seed(0),
            block=min(BLOCK, arguments.samples),
        )
        seconds = (time.perf_counter() - began) / arguments.samples
        return *scores(samples.cpu().to(data.x.dtype)), seconds

    for row in rows:
        say(row.name)
        most = max(arguments.evaluations) if "published" in row.name else arguments.most
        sampler = row.sampler or own_sampler(models[row.model])
        for count in (n for n in arguments.evaluations if n <= most):
            steps, taken = most_steps(sampler, count)
            found = drawn(row, steps, sampler)
            kept.add(row.name, taken, found)
            say(f"  {taken:5d}: {told(found)}")
    others = [n for n in OUTSIDE if arguments.beside and asked(f"flow matching, {n}", arguments)]
    for name in others:
        pins, folder = PINS, arguments.environment
        if arguments.install and environments.absent("flow_matching", folder, pins):
            environments.install(folder, pins)
        if reason := environments.absent("flow_matching", folder, pins):
            say(reason)
            break
        before = ""
        for fact in outside(name, arguments):
            title = f"flow matching, {name}, {fact['solver']}"
            if title != before:
                say(before := title)
            x = torch.from_numpy(np.load(fact["file"])).to(data.x.dtype)
            found = (*scores(x), fact["seconds"])
            kept.add(title, fact["evaluations"], found)
            say(f"  {fact['evaluations']:5d}: {told(found)}")
    if arguments.tolerances and "ours" in models:
        say("adaptive, by tolerance in nats")
        for tolerance in arguments.tolerances:
            calls: list[int] = []
            hook = models["ours"].network.register_forward_hook(
                lambda *_, calls=calls: calls.append(1)
            )
            found = drawn(ROWS[-1], 1, Adaptive(tolerance))
            hook.remove()
            count = len(calls) / -(-arguments.samples // min(BLOCK, arguments.samples))
            kept.add("adaptive", count, found)
            say(f"  {tolerance:5g}: {told(found)}, {count:.1f} evaluations")
    if arguments.figure is not None:
        draw(kept, arguments.figure)


def told(found: tuple[float, float, float]) -> str:
    """Energy distance, Fréchet distance, seconds a sample."""
    return f"{found[0]:8.3f} / {found[1]:8.4g} / {found[2]:.4f}"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
