"""What the steps of samplers do to a Gaussian, exactly: no draws.

Under a law of x_1 whose mean is affine in x_t a step is x -> M x + B z + b, z being all the
normal numbers that it asks for. M and B are read off by handing out numbers of our own.
"""

import torch

EVENT_ERROR = "a step asks for numbers of another shape"


class Handed:
    """Stands in for torch.randn: zeros, but for one draw, whose rows are unit vectors."""

    def __init__(self, draw=None, scale=1.0):
        self.draw, self.asked, self.scale = draw, 0, scale

    def __call__(self, *shape, dtype=None, device=None, generator=None):
        shape = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
        z = torch.zeros(shape, dtype=torch.float64)
        if self.asked == self.draw:
            flat = z.reshape(len(z), -1)
            assert len(flat) == flat.shape[1] + 1, EVENT_ERROR
            flat[1:] = self.scale * torch.eye(flat.shape[1], dtype=torch.float64)
        self.asked += 1
        return z


def affine(step, event, monkeypatch):
    """M (d, d), the noise B Bᵀ (d, d) and b (d,) of x -> step(x), for states (d + 1, *event)."""
    size = int(torch.tensor(event).prod())
    states = torch.cat([torch.zeros(1, size), torch.eye(size)]).double()
    handed = Handed()
    monkeypatch.setattr(torch, "randn", handed)
    moved = step(states.reshape(-1, *event)).reshape(size + 1, size)
    shift, matrix = moved[0], (moved[1:] - moved[0]).T
    noise = torch.zeros(size, size, dtype=torch.float64)
    for draw in range(handed.asked):
        monkeypatch.setattr(torch, "randn", Handed(draw))
        made = step(torch.zeros(size + 1, *event, dtype=torch.float64)).reshape(size + 1, size)
        root = (made[1:] - made[0]).T
        noise = noise + root @ root.T
    monkeypatch.undo()
    return matrix, noise, shift


def covariance_after(sampler, model, times, start, event, monkeypatch):
    """The covariance after a walk over these times, from that of the start."""
    found = start
    for t, s in zip(times[:-1], times[1:], strict=True):
        matrix, noise, _ = affine(lambda x: sampler.step(model, x, t, s), event, monkeypatch)  # noqa: B023
        found = matrix @ found @ matrix.T + noise
    return found
