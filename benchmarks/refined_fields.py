r"""One model of a field on 32 x 32 sites, sampled on 32, 64 and 128: which noise keeps it alike?

    python benchmarks/refined_fields.py --seeds 0 1 2
    python benchmarks/refined_fields.py --figure docs/images/refined-fields.png  # from runs kept

The data are a log-Gaussian field of unit variance, y = (exp(s g - s²/2) - 1)/(exp(s²) - 1)^½, g a
Matérn field on a torus (length 6 of 32 sites, smoothness 3/2). Its covariance is known on every
grid, cov(y, y') = (exp(s² cov(g, g')) - 1)/(exp(s²) - 1), and so is the variance of its waves. A
Fourier neural operator is trained on 32 x 32, under Brownian bridges from a Gaussian source, with
noise that is white or of the covariance of g, all else alike. It is sampled on finer grids of the
same domain by `Transport.refined`, its weights as they are. "white, by wave" is white noise whose
variance grows with the number of sites, so that each wave has the noise of before.

Printed are mean and range over seeds, at 20 evaluations of `Midpoint`: the variance in the octaves
of waves that 32 sites hold, by waves in the domain, over the exact one; mean; skewness of sites;
and the energy distance to new data at the 32 x 32 sites that all grids share. "apart" is how far
samples of a finer grid are from those of 32 x 32 at shared sites, root mean square in deviations
of the data, by the flow with 19 evaluations from one source. "exact" are as many draws of the
data. Models and figures are kept under --output, so that a second call goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge import couplings
from markovbridge.covariances import Covariance, Fourier, Isotropic, Matern, Torus
from markovbridge.evaluation import metrics
from markovbridge.networks import FourierOperator
from markovbridge.storage.captions import wrapped
from trained_runs import averaged

SIDE = 32
LOG = 0.5  # s, the deviation of the logarithm
FIELD = Torus(Matern(variance=1.0, length=6.0, smoothness=1.5))
NOISES: dict[str, Covariance] = {"white": Isotropic(1.0), "of the field": FIELD}
BY_WAVE = "white, by wave"
FACTORS = {1: 256, 2: 128, 4: 48}  # and how many samples
OCTAVES = (1, 2, 4, 8, 16)  # waves in the domain
FROM_NOISE = mb.Independent(couplings.Gaussian(correlated=True))
EVENT = (1, SIDE, SIDE)


def of_log(g: Tensor) -> Tensor:
    """The log-Gaussian field of a Gaussian one."""
    return ((LOG * g - LOG**2 / 2).exp() - 1) / math.sqrt(math.expm1(LOG**2))


def data(n: int, factor: int, generator: torch.Generator) -> Tensor:
    """Fields (n, 1, side, side)."""
    like = torch.zeros(n, 1, factor * SIDE, factor * SIDE)
    return of_log(FIELD.refined(factor, 2).sample(like, generator=generator))


def octaves(factor: int) -> Fourier:
    """The waves of a grid, in bands: the mean, octaves, and those beyond 32 sites."""
    sites = factor * SIDE
    return Fourier(edges=tuple((k - 0.5) / sites for k in OCTAVES))


def known(factor: int) -> Tensor:
    """The exact variance of the waves in each band."""
    unit = torch.zeros(1, 1, factor * SIDE, factor * SIDE, dtype=torch.float64)
    unit[..., 0, 0] = 1
    covariance = (FIELD.refined(factor, 2) @ unit)[0]
    covariance = torch.expm1(LOG**2 * covariance) / math.expm1(LOG**2)
    return octaves(factor).average(torch.fft.fft2(covariance).real)


def batch_loss(model: mb.Transport, generator: torch.Generator) -> Tensor:
    return model.loss(data(16, 1, generator), generator=generator).mean()


def trained(model: mb.Transport, steps: int, seed: int, loss=batch_loss) -> mb.Transport:
    """Train a model whose network averages its weights, on new data at each step."""
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, steps, pct_start=0.1)
    return averaged(model, lambda noise: loss(model, noise), rate, steps, seed, decay=0.99)


def model_of(noise: Covariance, seed: int, depth: int = 2, **options) -> mb.Transport:
    """A model to be trained."""
    torch.manual_seed(seed)
    process, head = mb.LinearDiffusion(mb.Brownian(0.5), noise), mb.EndpointHead("residual")
    told = {word: options.get(word) for word in ("base", "masking")}
    seen = mb.transport.features(process, FROM_NOISE, **told)
    network = FourierOperator(EVENT, seen, head.outputs(process), 16, depth, waves=12)
    return mb.Transport(
        process,
        network,
        head,
        shape=EVENT,
        mean=0.0,
        variance=1.0,
        coupling=FROM_NOISE,
        **{"objective": mb.PathKL(damping=1.0), **options},
    )


def finer(model: mb.Transport, factor: int, by_wave: bool) -> mb.Transport:
    """The model on the finer grid, with white noise by site or by wave."""
    made = model.refined(factor)
    if by_wave:
        assert isinstance(made.process, mb.LinearDiffusion)
        made.process = replace(made.process, covariance=Isotropic(float(factor**2)))
    return made


def told(x: Tensor, factor: int, seed: int) -> dict[str, float]:
    """What samples are like."""
    x = x.double()
    bands = octaves(factor).power(x) / known(factor)
    found = {
        f"waves {low}-{high - 1}": float(bands[k + 1])
        for k, (low, high) in enumerate(zip(OCTAVES, OCTAVES[1:], strict=False))
    }
    found["mean"] = float(x.mean())
    found["skewness"] = float(((x - x.mean()) ** 3).mean() / x.var() ** 1.5)
    new = data(512, 1, torch.Generator().manual_seed(1000 + seed)).double()
    found["energy"] = metrics.energy_distance(x[..., ::factor, ::factor], new)
    return found


def sources(model: mb.Transport, finest: int, n: int, seed: int) -> Tensor:
    """Source states on the finest grid, to be taken at every so many sites on the others."""
    like = torch.zeros(n, 1, finest * SIDE, finest * SIDE)
    fine = model.refined(finest)
    generator = torch.Generator().manual_seed(seed)
    return fine.coupling.start(fine.process, like, generator=generator)


def flown(
    model: mb.Transport, factors: list[int], n: int, seed: int, by_wave: bool = False
) -> dict[int, Tensor]:
    """Samples of the flow on several grids, from one source."""
    start, found = sources(model, max(factors), n, seed), {}
    for factor in factors:
        step = max(factors) // factor
        x0 = start[..., ::step, ::step] * (factor if by_wave else 1)
        options = {"steps": 10, "sampler": mb.ProbabilityFlow(), "block": 16}
        found[factor] = finer(model, factor, by_wave).translate(x0, **options)
    return found


def measured(model: mb.Transport, seed: int, by_wave: bool) -> dict[str, dict[str, float]]:
    found, factors = {}, [f for f in FACTORS if f > 1 or not by_wave]
    same = flown(model, list(FACTORS), 16, seed, by_wave)
    for factor in factors:
        made = finer(model, factor, by_wave)
        generator = torch.Generator().manual_seed(100 + seed)
        options = {"steps": 10, "sampler": mb.Midpoint(), "block": 16}
        drawn = made.sample(FACTORS[factor], generator=generator, **options)
        found[str(factor)] = told(drawn, factor, seed)
        apart = same[factor][..., ::factor, ::factor] - same[1]
        found[str(factor)]["apart"] = float(apart.double().square().mean().sqrt())
    return found


def model_file(folder: Path, noise: str, seed: int, steps: int) -> Path:
    return folder / f"{noise} {seed} {steps}"


def run(arguments: argparse.Namespace, noise: str, seed: int) -> mb.Transport:
    """The model of a noise and a seed, trained if it is not kept."""
    folder = model_file(arguments.output, noise, seed, arguments.steps)
    if not folder.is_dir():
        start = time.process_time()
        model = trained(model_of(NOISES[noise], seed), arguments.steps, seed)
        print(f"{noise}, seed {seed}: {time.process_time() - start:.0f} s of training", flush=True)
        model.save_pretrained(folder)
    return mb.Transport.from_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--noises", nargs="+", choices=list(NOISES), default=list(NOISES))
    parser.add_argument("--steps", type=int, default=1500, help="of 16 new fields")
    parser.add_argument("--output", type=Path, default=Path("runs/refined-fields"))
    parser.add_argument("--figure", type=Path, help="draw samples of the first seed, and stop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.figure is not None:
        draw(arguments)
        return
    rows: dict[tuple[int, str], list[dict[str, float]]] = defaultdict(list)
    for seed in arguments.seeds:
        for factor, n in FACTORS.items():
            fields = data(n, factor, torch.Generator().manual_seed(500 + seed))
            rows[factor, "exact"].append(told(fields, factor, seed))
        for noise in arguments.noises:
            model = run(arguments, noise, seed)
            for name in (noise, BY_WAVE) if noise == "white" else (noise,):
                file = model_file(arguments.output, name, seed, arguments.steps)
                file = file.with_name(file.name + ".json")
                if not file.is_file():
                    file.write_text(json.dumps(measured(model, seed, name == BY_WAVE)))
                for factor, found in json.loads(file.read_text()).items():
                    rows[int(factor), name].append(found)
    for (factor, name), found in sorted(rows.items()):
        print(f"{factor}x, {name}")
        for word in found[0]:
            values = [each[word] for each in found]
            average = sum(values) / len(values)
            print(f"    {word:12s} {average:8.3f}  ({min(values):.3f}, {max(values):.3f})")


def draw(arguments: argparse.Namespace) -> None:
    """One sample of each model by the flow, on three grids, from one source."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(arguments.noises),
        len(FACTORS),
        figsize=(6.6, 4.9),
        layout="constrained",
        squeeze=False,
    )
    for noise, line in zip(arguments.noises, axes, strict=True):
        model = run(arguments, noise, arguments.seeds[0])
        found = flown(model, list(FACTORS), 1, 3)
        for ax, (factor, x) in zip(line, found.items(), strict=True):
            ax.imshow(x[0, 0], vmin=-1.6, vmax=3.2, cmap="viridis", interpolation="nearest")
            name = "white noise" if noise == "white" else f"noise {noise}"
            ax.set_title(f"{name}, {factor * SIDE} x {factor * SIDE}", fontsize="small")
            ax.set(xticks=[], yticks=[])
    caption = (
        f"Log-Gaussian field: models trained on {SIDE} x {SIDE}, sampled on finer grids of the "
        f"same domain. Flow, 19 evaluations, one source for each row, seed {arguments.seeds[0]}"
    )
    figure.suptitle(wrapped(caption, 6.6), fontsize="small")
    figure.savefig(arguments.figure, dpi=90)


if __name__ == "__main__":
    main()
