"""The error of the second-order samplers with a perfect network, exactly: no Monte Carlo.

On the two-pixel law of `sampler_error.py` a step is a sum over pairs of states, where it
began and where it looked again, so the law of the samples is a matrix computation.

    python benchmarks/second_order.py

prints total variation to the data by number of evaluations (two for each step, cosine grid)
and the order, the fall of log error over log evaluations, from each number to the next and
over the range (least squares). It fails if the default θ misses a bar. First-order rows, one
evaluation a step, are from `sampler_error.py`.
"""

import math
import sys
import time

import torch
from torch import Tensor

from markovbridge import PureDeath
from markovbridge.laws import Categorical
from markovbridge.processes.clock import cut
from markovbridge.samplers import SecondOrderBridge, Trapezoidal
from sampler_error import STATES, Posterior, data_law, error

EVALUATIONS = (4, 6, 10, 16, 20, 40)
THETAS = (0.25, 1 / 3, 0.4, 0.5)
LEAST = 1e-10  # probability of a pair of states that is still followed
PAIRS = 100_000  # followed at once
BARS = {"law": {4: 0.035, 6: 0.019, 10: 0.012}, "mean": {10: 0.060, 20: 0.025}}
ORDER = 1.7


def bridge_table(process: PureDeath, t: float, s: float) -> Tensor:
    """p(x_s | x_t, x_1) for all values: (x_t, x_1, x_s)."""
    value = torch.arange(STATES)
    x, y = (v.reshape(-1, 1) for v in torch.meshgrid(value, value, indexing="ij"))
    y = torch.maximum(x, y)  # ends below x do not occur
    law = process.bridge(x, y, t, s, 1.0)
    table = law.site_log_prob(value.expand(len(x), -1)).exp()
    return table.reshape(STATES, STATES, STATES).float()


def births(process: PureDeath, x: Tensor, mean: Tensor) -> Tensor:
    """The law of x + Poisson(mean), cut at the maximum: (..., STATES)."""
    value = torch.arange(STATES)
    number = (value - x.unsqueeze(-1)).double()
    mean = mean.double().unsqueeze(-1)
    log = torch.xlogy(number.clamp_min(0), mean) - mean - torch.lgamma(number.clamp_min(0) + 1)
    table = torch.where(number >= 0, log.exp(), 0.0)
    table[..., -1] += (1 - table.sum(-1)).clamp_min(0)
    return table.float()


class LawStep:
    """A step of `SecondOrderBridge` from t to s: where it looks, and the rest of it."""

    def __init__(self, process, posterior, sampler, t, s):
        self.process, self.posterior, self.sampler = process, posterior, sampler
        self.t, self.s = t, s
        self.middle = cut(process.schedule, "survival", t, s, sampler.theta).middle
        self.before = bridge_table(process, t, self.middle)
        self.after = bridge_table(process, self.middle, s)

    def _law(self, x: Tensor, t: float) -> Categorical:
        law = self.posterior(x, torch.tensor([t], dtype=torch.float64))
        return Categorical(law.logits.float())

    def look(self, x: Tensor) -> Tensor:
        table = self._law(x, self.t).log_probs.exp()
        return torch.einsum("niy,niyz->niz", table, self.before[x])

    def rest(self, x: Tensor, x_m: Tensor) -> Tensor:
        first, second = self._law(x, self.t), self._law(x_m, self.middle)
        times = self.t, self.middle, self.s
        rest = self.sampler.rest(self.process, first, second, x, x_m, times)
        end = rest.end.log_probs.exp().float()
        out = torch.empty_like(end)
        for v in x_m.unique():
            out[x_m == v] = end[x_m == v] @ self.after[v]
        return out


class MeanStep:
    """A step of `Trapezoidal`, likewise."""

    def __init__(self, process, posterior, sampler, t, s):
        self.process, self.posterior, self.sampler, self.t = process, posterior, sampler, t
        self.middle = cut(process.schedule, "survival", t, s, sampler.theta).middle
        survival, mortality = process.schedule.survival, process.schedule.mortality
        self.lengths = [
            float(process.schedule.increment(t, s)) * share
            for share in (sampler.theta, 1 - sampler.theta)
        ]
        assert float(survival(t)) < 1
        self.left = float(mortality(t)), float(mortality(self.middle))

    def _hazard(self, x: Tensor, t: float, left: float) -> Tensor:
        law = self.posterior(x, torch.tensor([t], dtype=torch.float64))
        return law.excess(x).clamp_min(0) / left

    def look(self, x: Tensor) -> Tensor:
        hazard = self._hazard(x, self.t, self.left[0])
        return births(self.process, x, hazard * self.lengths[0])

    def rest(self, x: Tensor, x_m: Tensor) -> Tensor:
        first = self._hazard(x, self.t, self.left[0])
        second = self._hazard(x_m, self.middle, self.left[1])
        hazard = self.sampler.extrapolate(first, second)
        return births(self.process, x_m, hazard * self.lengths[1])


def output_law(step_class, process, posterior, sampler, steps: int) -> Tensor:
    """The law of the samples, (STATES, STATES)."""
    every, grid = posterior.every, process.schedule.grid(steps).tolist()
    mass = torch.zeros(STATES**2, dtype=torch.float64)
    mass[0] = 1.0
    for t, s in zip(grid, grid[1:], strict=False):
        step = step_class(process, posterior, sampler, t, s)
        alive = (mass > LEAST).nonzero().squeeze(1)
        first, second = step.look(every[alive]).double().unbind(1)
        weight = mass[alive, None] * (first.unsqueeze(2) * second.unsqueeze(1)).flatten(1)
        row, column = (weight > LEAST).nonzero(as_tuple=True)
        weight, moved = weight[row, column], torch.zeros(STATES, STATES, dtype=torch.float64)
        for part in torch.arange(len(row)).split(PAIRS):
            kernel = step.rest(every[alive[row[part]]], every[column[part]]).double()
            moved += (kernel[:, 0] * weight[part, None]).T @ kernel[:, 1]
        mass = (moved / moved.sum()).flatten()
    return mass.reshape(STATES, STATES)


def slope(errors: dict[int, float]) -> float:
    """The order over a range: least squares of log error on log evaluations."""
    x = torch.tensor([math.log(n) for n in errors], dtype=torch.float64)
    y = torch.tensor([math.log(e) for e in errors.values()], dtype=torch.float64)
    return -float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def main() -> int:
    law, began, failed = data_law(), time.perf_counter(), []
    process = PureDeath(maximum=STATES - 1)
    posterior = Posterior(process, law)
    print("total variation to the data by evaluations; order since the last number in brackets")
    print(f"{'':12}{'theta':>6}" + "".join(f"{n:>15}" for n in EVALUATIONS) + f"{'order':>8}")
    for name, kernel in (("law, first", "law"), ("mean, first", "poisson")):
        cells = [f"{error(law, posterior, kernel, n):.5f}".rjust(15) for n in EVALUATIONS[:5]]
        print(f"{name:12}{'':6}" + "".join(cells), flush=True)
    for name, step_class, sampler_class in (
        ("law", LawStep, SecondOrderBridge),
        ("mean", MeanStep, Trapezoidal),
    ):
        for theta in THETAS:
            sampler, errors, cells = sampler_class(theta), {}, []
            for n in EVALUATIONS:
                found = output_law(step_class, process, posterior, sampler, n // 2)
                errors[n] = 0.5 * float((found - law).abs().sum())
                last = slope(dict(list(errors.items())[-2:])) if len(errors) > 1 else math.nan
                cells.append(f"{errors[n]:.5f} ({last:.2f})".rjust(15))
                posterior.kept.clear()  # tables of other times are not needed again
            # From the number on from which the bars ask for it: before, steps are too long.
            order = slope({n: e for n, e in errors.items() if n >= min(BARS[name])})
            print(f"{name:12}{theta:6.2f}" + "".join(cells) + f"{order:8.2f}", flush=True)
            if sampler == sampler_class():
                failed += [(name, n) for n, bar in BARS[name].items() if round(errors[n], 3) > bar]
                failed += [(name, "order")] * (order < ORDER)
    print(f"default theta misses {failed or 'no bar'}, {time.perf_counter() - began:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
