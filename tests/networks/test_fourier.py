"""The Fourier operator: one set of weights on every grid, and what is exact of that."""

import math

import pytest
import torch

from markovbridge.doors.randomness import generator
from markovbridge.networks import FourierOperator
from markovbridge.networks.fourier import SpectralConvolution

SIZES = {1: (16,), 2: (16, 12), 3: (8, 6, 8)}


def network(axes=2, depth=1, waves=4, features=2, outputs=1, channels=1, **own):
    with torch.random.fork_rng():
        torch.manual_seed(axes + depth)
        shape = (channels, *SIZES[axes])
        made = FourierOperator(shape, features, outputs, 6, depth, waves, **own)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return made.double().eval()


def fields(rows, sizes, longest, factor=1):
    """Band-limited fields (rows, *sizes) with waves up to `longest` along each axis, by sums.

    The same fields for each factor, on `factor` times as many sites.
    """
    g = generator("cpu", "fields", rows)
    made = torch.zeros(rows, *(factor * n for n in sizes), dtype=torch.float64)
    places = torch.meshgrid(
        *(torch.arange(factor * n, dtype=torch.float64) / (factor * n) for n in sizes),
        indexing="ij",
    )
    for _ in range(12):
        waves = [int(torch.randint(-longest, longest + 1, (), generator=g)) for _ in sizes]
        phase = 2 * math.pi * torch.rand(rows, generator=g, dtype=torch.float64)
        angle = sum(2 * math.pi * k * s for k, s in zip(waves, places, strict=True))
        made += (angle + phase.reshape(-1, *[1] * len(sizes))).cos()
    return made


def asked(made, x, rows=2):
    times = torch.linspace(0.1, 0.9, rows, dtype=torch.float64)
    features = x.reshape(rows, made.features, made.shape[0], *x.shape[1:])
    return made(features, times).detach()


def every(x, factor, axes):
    for axis in range(-axes, 0):
        x = x[(..., slice(None, None, factor), *[slice(None)] * (-axis - 1))]
    return x


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_integral_is_the_sum_over_waves_that_it_is_defined_as(axes):
    sizes = SIZES[axes]
    torch.manual_seed(0)
    layer = SpectralConvolution(2, 3, axes).double()
    h = torch.randn(1, 2, *sizes, dtype=torch.float64)
    weight = torch.view_as_complex(layer.weight.detach())
    places = [torch.arange(n, dtype=torch.float64) / n for n in sizes]
    expected = torch.zeros(2, *sizes, dtype=torch.complex128)
    ranges = [range(-2, 3)] * (axes - 1) + [range(3)]
    for k in torch.cartesian_prod(*(torch.tensor(list(r)) for r in ranges)).reshape(-1, axes):
        angle = torch.zeros(sizes, dtype=torch.float64)
        for a in range(axes):
            angle = angle + 2 * math.pi * int(k[a]) * places[a].reshape(-1, *[1] * (axes - 1 - a))
        wave = torch.polar(torch.ones_like(angle), angle)
        coefficient = (h[0] * wave.conj()).flatten(1).mean(1)
        index = [int(k[a]) + (2 if a < axes - 1 else 0) for a in range(axes)]
        out = coefficient @ weight[tuple(index)]
        expected += out.reshape(-1, *[1] * axes) * wave * (1 if k[-1] == 0 else 2)
    found = layer(h.flatten(2), sizes).detach()
    torch.testing.assert_close(found[0].unflatten(1, sizes), expected.real)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("factor", [2, 3])
def test_one_block_gives_the_same_on_a_finer_grid(axes, factor):
    made, sizes = network(axes), SIZES[axes]
    longest = (min(sizes) - 1) // 2  # waves that no block mixes are among them
    coarse = asked(made, fields(4, sizes, longest))
    fine = asked(made, fields(4, sizes, longest, factor))
    assert coarse.abs().max() > 0.1
    torch.testing.assert_close(every(fine, factor, axes), coarse)


def test_deeper_networks_differ_by_what_silu_aliases_only():
    made = network(depth=3)

    def apart(sites, longest):
        coarse = asked(made, fields(4, (sites, sites), longest))
        fine = asked(made, fields(4, (sites, sites), longest, 2))
        return float((every(fine, 2, 2) - coarse).abs().max() / coarse.abs().max())

    # Slow fields agree to rounding; of the same fields the difference falls as grids get finer.
    assert apart(64, 1) < 1e-10
    assert 1e-2 > apart(16, 4) > 10 * apart(32, 4) > 0


def test_waves_that_a_grid_lacks_are_left_out():
    made = network(waves=9)
    out = asked(made, torch.randn(4, 6, 5, dtype=torch.float64))
    assert out.shape == (2, 1, 1, 6, 5)
    assert out.isfinite().all()


def test_it_commutes_with_shifts_of_the_torus():
    made = network(depth=2, channels=2)
    x = torch.randn(8, 16, 12, dtype=torch.float64)
    moved = asked(made, x.roll((3, 5), (1, 2)))
    torch.testing.assert_close(moved, asked(made, x).roll((3, 5), (3, 4)), atol=1e-5, rtol=1e-5)


def test_every_site_has_a_say_in_every_other():
    made = network(waves=12)
    x = torch.zeros(4, 16, 12, dtype=torch.float64)
    moved = x.clone()
    moved[:, 8, 6] += 5
    change = (asked(made, moved) - asked(made, x)).abs()
    assert (change > 1e-5).double().mean() > 0.95


def test_transforms_are_float32_under_autocast():
    made = network(depth=2).float()
    x, t = torch.randn(2, 2, 1, 16, 12), torch.rand(2)
    plain = made(x, t).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = made(x, t)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), plain, atol=0.05 * float(plain.abs().max()), rtol=0)


def test_events_without_space_are_refused():
    for shape in ((5,), (1, 2, 2, 2, 2)):
        with pytest.raises(ValueError, match="axes of space"):
            FourierOperator(shape, 1, 1)
