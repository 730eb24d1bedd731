r"""Conditional simulation by trained networks: a field of 32 x 32 sites given about 10 of them.

    python benchmarks/trained_fields.py --seeds 0 1 2
    python benchmarks/trained_fields.py --seeds 0 1 2 --field log-gaussian

A Gaussian Matérn field on a torus (length 6, smoothness 3/2), whose law given known sites is that
of kriging (`exact.GaussianField` at t = 0). `fields.py` draws it by walks with the exact guess
E[x_1 | x_t, known sites]. Here a Fourier neural operator learns the guess, trained with `masking`,
under Brownian bridges from a Gaussian source, with noise that is white or of the covariance of the
field, all else alike. What it corrects are moments of sites, no law of the field.

With `--field log-gaussian` the data are the field of `refined_fields.py`, no Gaussian one, whose
moments given known sites are in closed form too. The network then corrects a law that is near,
that of the Gaussian field with the covariance of the logarithm (`base=exact.GaussianField`). "law
alone" are walks with that law and no network.

Printed are mean and range over seeds of networks, at 20 evaluations of `Midpoint`, Adams' flow and
`StochasticAdams` and 19 of Heun's flow, each averaged over the same fields: root mean squares over
unknown sites of the error of the mean, in deviations of kriging, and of the relative error of the
deviation, both by draws; what as many exact draws have by chance; and of the Gaussian field
"guess", how far E[x_1 | x_t, known sites] of the network is from the exact one at x_t of the
process, root mean square in deviations of the field. "law alone" are there walks with the exact
guess. Models and figures are kept under --output, so that a second call goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb
from fields import FROM_NOISE, SAMPLERS, Problem, errors, imputed, line
from markovbridge import exact
from markovbridge.covariances import Covariance
from markovbridge.samplers.known_sites import Masking
from quality import most_steps
from refined_fields import FIELD, LOG, NOISES, SIDE, model_of, of_log, trained

KNOWN, FIELDS, DRAWS = 10, 4, 128
SHOWN = Masking(low=0.005, high=0.015, none=0.1)  # 5 to 15 of 1,024 sites, on average
LOSSES = {"kl": mb.PathKL(damping=1.0), "mse": mb.EndMSE()}
TIMES = (0.05, 0.25, 0.5, 0.75, 0.95)


class LogProblem(Problem):
    """A log-Gaussian field, what is known of it, and what is so of the rest."""

    def __init__(self, side: int, known: int, seed: int, field: Covariance = FIELD) -> None:
        super().__init__(side, known, seed, field)
        mean, variance = self.mean, (LOG * self.deviation) ** 2
        self.truth = of_log(self.truth)
        self.mean = of_log(mean + variance / (2 * LOG))
        level = (LOG * mean - LOG**2 / 2 + variance / 2).exp()
        self.deviation = level * (variance.expm1() / math.expm1(LOG**2)).sqrt()


@dataclass(frozen=True)
class Data:
    """A kind of field.

    Attributes:
        problem: What is asked of it.
        of: Its values, from those of the Gaussian field.
        corrected: Whether a network corrects the law of the Gaussian field.
    """

    problem: type[Problem]
    of: Callable[[Tensor], Tensor]
    corrected: bool

    def loss(self, model: mb.Transport, generator: torch.Generator) -> Tensor:
        """Of 16 new fields."""
        field = FIELD.sample(torch.zeros(16, 1, SIDE, SIDE), generator=generator)
        return model.loss(self.of(field), generator=generator).mean()


DATA = {
    "gaussian": Data(Problem, lambda field: field, corrected=False),
    "log-gaussian": Data(LogProblem, of_log, corrected=True),
}


def alone(noise: str) -> mb.Transport:
    """The law of the Gaussian field in place of a network."""
    process = mb.LinearDiffusion(mb.Brownian(0.5), NOISES[noise])
    law = exact.GaussianField(process, FIELD, coupling=FROM_NOISE)
    return mb.Transport(process, law, shape=(1, SIDE, SIDE))


def guess(model: mb.Transport, best: mb.Transport, problem: Problem) -> float:
    """How far the network's guess is from the exact one, root mean square over times."""
    generator = torch.Generator().manual_seed(7)
    given, total = mb.Given(observed=problem.observed(16)), 0.0
    x1 = imputed(best, problem, 16, 7, steps=1, sampler=mb.Bridge()).reshape(16, 1, SIDE, SIDE)
    x0 = model.coupling.start(model.process, x1, generator=generator)
    with torch.no_grad():
        for t in TIMES:
            x_t = model.process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)
            apart = model.law(x_t, t, given).mean - best.law(x_t, t, given).mean
            total += float(apart.double().square().mean()) / len(TIMES)
    return total**0.5


def measured(model: mb.Transport, law: mb.Transport, data: Data) -> dict[str, list[float]]:
    """Errors of mean and deviation by each sampler, and of the guess, averaged over fields."""
    found: dict[str, list[Tensor]] = defaultdict(list)
    for k in range(FIELDS):
        problem = data.problem(SIDE, KNOWN, k, FIELD)
        for word, sampler in SAMPLERS.items():
            steps, _ = most_steps(sampler, 20)
            drawn = imputed(model, problem, DRAWS, k, steps=steps, sampler=sampler)
            found[word].append(torch.tensor(errors(problem, drawn)))
        if model is not law and not data.corrected:
            found["guess"].append(torch.tensor([guess(model, law, problem)]))
    return {word: torch.stack(rows).mean(0).tolist() for word, rows in found.items()}


def by_chance(data: Data) -> tuple[float, float]:
    """Errors of as many exact draws."""
    law, found = alone("white"), []
    for k in range(FIELDS):
        field, problem = (kind(SIDE, KNOWN, k, FIELD) for kind in (Problem, data.problem))
        drawn = imputed(law, field, DRAWS, k, steps=1, sampler=mb.Bridge())
        found.append(torch.tensor(errors(problem, data.of(drawn))))
    mean, deviation = torch.stack(found).mean(0).tolist()
    return mean, deviation


def kept(file: Path) -> bool:
    """Whether there are figures of all samplers."""
    return file.is_file() and SAMPLERS.keys() <= json.loads(file.read_text()).keys()


def run(arguments: argparse.Namespace, noise: str, seed: int) -> dict[str, list[float]]:
    name = f"{arguments.field} {noise} {seed} {arguments.loss} {arguments.steps}"
    folder, data = arguments.output / name, DATA[arguments.field]
    file, law = folder.with_name(folder.name + ".json"), alone(noise)
    if not kept(file):
        if not folder.is_dir():
            start = time.process_time()
            options = {"masking": SHOWN, "objective": LOSSES[arguments.loss]}
            options |= {"base": law.network} if data.corrected else {}
            model = model_of(NOISES[noise], seed, depth=3, **options)
            trained(model, arguments.steps, seed, data.loss).save_pretrained(folder)
            took = time.process_time() - start
            print(f"{noise}, seed {seed}: {took:.0f} s of training", flush=True)
        model = mb.Transport.from_pretrained(folder)
        file.write_text(json.dumps(measured(model, law, data)))
    return json.loads(file.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--field", choices=list(DATA), default="gaussian")
    parser.add_argument("--noises", nargs="+", choices=list(NOISES), default=list(NOISES))
    parser.add_argument("--steps", type=int, default=800, help="of 16 new fields")
    parser.add_argument("--loss", choices=list(LOSSES), default="kl", help="PathKL or EndMSE")
    parser.add_argument("--output", type=Path, default=Path("runs/trained-fields"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    data = DATA[arguments.field]
    line(f"{DRAWS} exact draws", [by_chance(data)])
    for noise in arguments.noises:
        rows = [run(arguments, noise, seed) for seed in arguments.seeds]
        for word in rows[0]:
            line(f"{noise}, {word}", [tuple(row[word]) for row in rows])
        file = arguments.output / f"{arguments.field} {noise}, law alone.json"
        if not kept(file):
            law = alone(noise)
            file.write_text(json.dumps(measured(law, law, data)))
        for word, found in json.loads(file.read_text()).items():
            line(f"{noise}, {word}, law alone", [tuple(found)])


if __name__ == "__main__":
    main()
