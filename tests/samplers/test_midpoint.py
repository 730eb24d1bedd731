"""Second-order steps of diffusions, against exact moments."""

from dataclasses import dataclass, field

import pytest
import torch

from markovbridge import (
    VP,
    Brownian,
    Independent,
    LinearDiffusion,
    Noised,
    PureDeath,
    Transport,
    exact,
)
from markovbridge.covariances import Isotropic
from markovbridge.laws import Delta
from markovbridge.processes.schedules import CosineSchedule, LinearSchedule
from markovbridge.samplers import Midpoint


@dataclass(frozen=True)
class Scripted(Isotropic):
    """Draw k is 1 in the rows 2 k and 2 k + 1, and 0 in all others: a step is affine in it."""

    made: list = field(default_factory=list)

    def sample(self, like, *, generator=None):
        self.made.append(None)
        return (torch.arange(len(like)) // 2 == len(self.made)).to(like).unsqueeze(1)


def moments(process, coupling, steps, variance):
    """Mean and variance of the samples of N(2, variance), with a perfect network: exact."""
    mean, spread = torch.tensor([2.0]).double(), torch.tensor([[variance]]).double()
    law = exact.Gaussian.coupled(process, coupling, mean, spread)
    ends, m, v = torch.tensor([[0.0], [1.0]] * 3).double(), 0.0, 1.0
    grid = process.schedule.grid(steps).tolist()
    for t, s in zip(grid, grid[1:], strict=False):
        noisy = LinearDiffusion(process.sde, Scripted(), process.schedule, process.direction)
        model = Transport(
            noisy, lambda x, t, c: Delta(law(x, t).mean), shape=(1,), coupling=coupling
        )
        still, first, second = Midpoint().step(model, ends, t, s).reshape(3, 2).tolist()
        slope, offset = still[1] - still[0], still[0]
        noise = (first[0] - still[0]) ** 2 + (second[0] - still[0]) ** 2
        m, v = slope * m + offset, slope**2 * v + noise
    return m, v


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()])
@pytest.mark.parametrize("variance", [0.25, 2.25])
def test_second_order_in_the_law(schedule, variance):
    process = LinearDiffusion(Brownian(), schedule=schedule)
    errors = []
    for steps in (8, 16, 32):
        mean, found = moments(process, Independent(), steps, variance)
        assert mean == pytest.approx(2, abs=1e-9)
        errors.append(abs(found - variance))
    assert errors[0] < 0.02 * variance
    assert errors[0] > 3.5 * errors[1] > 3.5**2 * errors[2]


def test_second_order_of_other_dynamics():
    process = LinearDiffusion(VP(5.0, 5.0), direction="noising", schedule=CosineSchedule())
    errors = []
    for steps in (16, 32, 64):
        _, found = moments(process, Independent(), steps, 0.25)
        errors.append(abs(found - 0.25))
    assert errors[0] < 0.02
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_one_step_draws_a_certain_end_exactly():
    # From one point to another there is nothing to learn: the bridge itself.
    process = LinearDiffusion(Brownian())
    model = Transport(process, lambda x, t, c: Delta(torch.full_like(x, 3.0)), shape=(2,))
    x = model.sample(4, steps=1, sampler=Midpoint())
    torch.testing.assert_close(x, torch.full((4, 2), 3.0))
    assert Midpoint().evaluations(7) == 14


def test_refuses_jumps():
    counts = PureDeath()
    model = Transport(counts, exact.Poisson(counts, 2.0), shape=(1,), coupling=Noised())
    with pytest.raises(TypeError, match="Midpoint simulates a diffusion, not PureDeath"):
        model.sample(1, steps=1, sampler=Midpoint())
