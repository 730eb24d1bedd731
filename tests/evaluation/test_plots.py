"""What the artists of pictures hold, against matrix exponentials and closed forms."""

import math
import sys

import numpy as np
import pytest
import torch

import markovbridge as mb
from markovbridge import simulated as sim
from markovbridge.couplings import Noised
from markovbridge.evaluation.plots import plot_marginals, plot_paths, plot_rates, plot_values
from markovbridge.exact import Empirical, Gaussian, Reverse
from problems_simulated import Known, exact, ring

pytest.importorskip("matplotlib")

RATES = torch.tensor([[-3.0, 2.0, 1.0], [0.5, -1.5, 1.0], [2.0, 4.0, -6.0]]).double()
CHAIN = mb.FiniteChain(RATES)
LAW = torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64)
POINTS = torch.tensor([[0, 2, 1], [1, 2, 0], [2, 2, 2], [0, 2, 1]])
TIMES = (0.0, 0.2, 0.35, 0.8, 1.0)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def survival(t):
    return math.sin(math.pi * t / 2) ** 2 if t else 1e-40  # of the cosine schedule


def exactly(law, times=TIMES):
    """f_t by matrix exponentials, (times, states)."""
    return torch.stack([law @ torch.matrix_exp(-math.log(survival(t)) * RATES) for t in times])


def drawn(ax):
    """The numbers of an image, (times, states)."""
    (image,) = ax.collections
    return torch.tensor(image.get_array().filled(math.nan)).mT.double()


def exact_model():
    return mb.Transport(CHAIN, Empirical(CHAIN, POINTS), shape=(3,))


def test_the_schedule_of_these_tests():
    for t in TIMES[1:]:
        assert float(CHAIN.schedule.survival(t)) == pytest.approx(survival(t))


def test_marginals_of_a_law_on_states():
    ax = plot_marginals(Reverse(CHAIN, LAW), times=TIMES)
    torch.testing.assert_close(drawn(ax), exactly(LAW), atol=1e-9, rtol=1e-9)
    assert ax.get_xlim() == (0, 1) and ax.get_xlabel() == "t"
    assert ax.figure.axes[1].get_ylabel() == "probability"


@pytest.mark.parametrize("site", [0, 1, -1])
def test_marginals_of_a_process_and_data(site):
    shares = torch.bincount(POINTS[:, site], minlength=3).double() / 4
    found = drawn(plot_marginals(CHAIN, POINTS, times=TIMES, site=site))
    torch.testing.assert_close(found, exactly(shares), atol=1e-9, rtol=1e-9)


def test_marginals_of_sampled_paths():
    ax = plot_marginals(exact_model(), times=TIMES, site=0, n=1500, generator=rng())
    shares = torch.tensor([0.5, 0.25, 0.25]).double()
    # 3 steps are few: the sites are drawn together, so each of them is exact.
    torch.testing.assert_close(drawn(ax), exactly(shares), atol=0.04, rtol=0)
    torch.testing.assert_close(drawn(ax)[-1], shares, atol=0.03, rtol=0)


def test_marginals_of_a_simulated_reverse():
    known = Known.of(ring(), {(1, 1, 0, 0): 1.0})
    model = exact(known)
    ax = plot_marginals(model, times=TIMES, site=1, n=250, generator=rng())
    one = known.states[:, 1].double()
    expected = torch.stack([known.marginal(t) @ one for t in TIMES])
    torch.testing.assert_close(drawn(ax)[:, 1], expected, atol=0.1, rtol=0)


def test_marginals_of_counts_are_those_of_thinning():
    process, x = mb.PureDeath(), torch.tensor([[6], [2]])
    ax = plot_marginals(process, x, times=TIMES)
    (image,) = ax.collections
    low = round(float(ax.get_ylim()[0]) + 0.5)
    assert low == 0 and image.get_array().shape == (7, 5)
    found = drawn(ax)
    for row, t in zip(found, TIMES, strict=True):
        p = float(process.schedule.survival(t))
        law = [
            sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for n in (6, 2) if k <= n) / 2
            for k in range(7)
        ]
        assert row.tolist() == pytest.approx(law, abs=1e-6)


def test_marginals_of_states_are_shares_of_the_values_that_occur():
    x = torch.tensor([[-2, -2, 1, -2], [0, 0, 0, 0]]).unsqueeze(-1)
    ax = plot_marginals(x)
    assert drawn(ax).tolist() == [[0.75, 0, 0, 0.25], [0, 0, 1, 0]]
    assert ax.get_ylim() == (-2.5, 1.5)


def test_marginals_of_large_counts_and_of_reals_are_quantiles():
    counts = torch.arange(2000).reshape(1, -1, 1).expand(2, -1, 1)
    ax = plot_marginals(counts)
    assert ax.lines[0].get_ydata() == pytest.approx([999.5, 999.5])
    process, data = mb.LinearDiffusion(mb.VP(), direction="noising"), torch.full((4, 2), 3.0)
    ax = plot_marginals(process, data, times=TIMES, site=1, n=20_000, generator=rng())
    half = ax.collections[1].get_paths()[0].vertices
    for t, middle in zip(TIMES, ax.lines[0].get_ydata(), strict=True):
        law = process.transition(data[:1], 1.0, t)
        mean, spread = float(law.mean[0, 0]), float(law.variance[0, 0]) ** 0.5
        assert middle == pytest.approx(mean, abs=0.05)
        high = half[np.isclose(half[:, 0], t), 1].max()
        assert high == pytest.approx(mean + 0.6745 * spread, abs=0.05)


def test_rates_are_those_of_the_reverse_generator():
    model = mb.Transport(CHAIN, Empirical(CHAIN, POINTS[:, :1]), shape=(1,))
    reverse = Reverse(CHAIN, Empirical(CHAIN, POINTS[:, :1]))
    times, value = TIMES[1:-1], torch.arange(3).double()
    known = [reverse.generator(t) for t in times]
    leaving, change = (drawn(plot_rates(model, w, times=times)) for w in ("leaving", "change"))
    torch.testing.assert_close(leaving, torch.stack([-g.diagonal() for g in known]))
    torch.testing.assert_close(change, torch.stack([g @ value for g in known]))


def test_rates_of_a_simulated_reverse_by_site():
    known = Known.of(ring(), {(1, 1, 0, 0): 0.5, (1, 0, 1, 0): 0.5})
    model = exact(known)
    at, times = torch.tensor([1, 0, 0, 1]), (0.3, 0.6)
    ax = plot_rates(model, "leaving", (1,), times=times, site=0, at=at)
    (index,) = (known.states == at).all(1).nonzero().flatten().tolist()
    matrix, moved = known.matrix().clone().fill_diagonal_(0), known.states[:, 0] != 1
    for t, found in zip(times, drawn(ax)[:, 0], strict=True):
        law = known.marginal(t)
        rates = matrix[:, index] * law / law[index]
        torch.testing.assert_close(found, rates[moved].sum(), rtol=1e-5, atol=0)
    ax = plot_rates(model, "change", (1,), times=times, site=0, at=at)
    torch.testing.assert_close(drawn(ax)[:, 0], -found.new_tensor(leavings(known, index, times)))


def leavings(known, index, times):
    matrix, moved = known.matrix().clone().fill_diagonal_(0), known.states[:, 0] != 1
    laws = [known.marginal(t) for t in times]
    return [float((matrix[:, index] * law / law[index])[moved].sum()) for law in laws]


def test_drift_and_score_of_a_gaussian():
    process, mean = mb.LinearDiffusion(mb.VP(), direction="noising"), torch.tensor([2.0]).double()
    law = Gaussian.coupled(process, Noised(), mean, torch.tensor([[0.25]]).double())
    model = mb.Transport(process, law, shape=(1,))
    x, times = torch.tensor([-1.0, 0.5, 2.0]), (0.2, 0.6)
    ax = plot_rates(model, "score", x.tolist(), times=times)
    for row, t in zip(drawn(ax), times, strict=True):
        noised = process.transition(mean.float().reshape(1, 1), 1.0, t)
        gain = float(noised.mean) / 2
        variance = float(noised.variance) + gain**2 * 0.25
        torch.testing.assert_close(row, -(x.double() - 2 * gain) / variance, rtol=1e-4, atol=1e-4)
    ax = plot_rates(model, "drift", x.tolist(), times=times)
    expected = torch.stack([model.drift(x.unsqueeze(1), t)[:, 0] for t in times])
    torch.testing.assert_close(drawn(ax), expected.double(), rtol=1e-5, atol=1e-5)


def test_colours_end_where_nearly_all_numbers_do():
    ax = plot_rates(exact_model(), times=TIMES[1:-1], site=0, at=POINTS[0])
    (image,) = ax.collections
    values = drawn(ax)
    assert image.get_clim() == (0, pytest.approx(float(values.quantile(0.98))))
    assert float(values.max()) > image.get_clim()[1]


def test_paths_of_jumps_are_steps_from_time_to_time():
    model = exact_model()
    ax = plot_paths(model, times=TIMES, site=2, n=3, generator=rng(), color="k")
    frames = model.frames(3, TIMES, generator=rng())
    assert len(ax.lines) == 3
    for k, line in enumerate(ax.lines):
        assert line.get_drawstyle() == "steps-post" and line.get_color() == "k"
        assert line.get_ydata().tolist() == frames[:, k, 2].tolist()
        assert line.get_xdata().tolist() == list(TIMES)
    down = plot_paths(frames.flip(0), times=TIMES[::-1], site=2).lines[0]
    assert down.get_drawstyle() == "steps-pre" and down.get_xdata().tolist() == list(TIMES)
    assert down.get_ydata().tolist() == frames[:, 0, 2].tolist()
    reals = plot_paths(torch.randn(5, 2, 1), times=TIMES).lines[0]
    assert reals.get_drawstyle() == "default"


def test_a_simulated_path_jumps_when_it_does():
    dynamics, x = ring(pace=4.0), torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0]])
    ends = torch.tensor([[0.0, 1.0]]).expand(2, 2)
    path = sim.walk(dynamics, x, ends, generator=rng())
    often = torch.linspace(0, 1, 97).double().expand(2, -1)
    seen = sim.walk(dynamics, x, often, generator=rng())  # the same path, looked at more often
    ax = plot_paths(path, site=1)
    assert len(path.rows) > 4
    for row, line in enumerate(ax.lines):
        when, value = (torch.tensor(v) for v in line.get_data())
        assert line.get_drawstyle() == "steps-pre"
        assert set(path.when[path.rows == row].tolist()) <= set(when.tolist())
        held = value[torch.searchsorted(when, often[row])]  # of the next time at or above
        assert held.tolist() == seen.states[row, :, 1].tolist()


def test_images_are_in_order_of_time_and_leave_gaps_blank():
    values = torch.tensor([[1.0, math.nan], [3.0, 4.0], [5.0, math.inf]])
    ax = plot_values(values, (1.0, 0.5, 0.0), (-1, 1), label="it", cmap="Greys")
    torch.testing.assert_close(
        drawn(ax),
        values.flip(0).double().nan_to_num(posinf=math.nan, nan=math.nan),
        equal_nan=True,
    )
    assert ax.figure.axes[1].get_ylabel() == "it"
    assert ax.get_xlim() == (0, 1) and ax.get_ylim() == (-2, 2)
    assert plot_values(values, ax=ax) is ax
    assert plot_values(values[:, :1], states=(3,)).get_ylim() == (2.5, 3.5)


def test_what_cannot_be_drawn_is_refused():
    model, diffusion = exact_model(), mb.LinearDiffusion()
    reals = mb.Transport(diffusion, Empirical(diffusion, torch.randn(4, 1)), shape=(1,))
    with pytest.raises(ValueError, match="FiniteChain came without them"):
        plot_marginals(CHAIN)
    with pytest.raises(ValueError, match="Transport came with them"):
        plot_marginals(model, POINTS)
    with pytest.raises(ValueError, match=r"events have shape \(3,\): say which number"):
        plot_paths(model)
    with pytest.raises(ValueError, match=r"no site 3 in events of shape \(3,\)"):
        plot_marginals(model, site=3)
    with pytest.raises(ValueError, match=r"no site \(0, 0\) in events"):
        plot_marginals(model, site=(0, 0))
    with pytest.raises(ValueError, match="there are 2 times for states at 3 times"):
        plot_paths(torch.zeros(3, 1, 1), times=(0.0, 1.0))
    with pytest.raises(TypeError, match="FiniteChain has no drift, as it is no diffusion"):
        plot_rates(model, "drift", site=0, at=POINTS[0])
    with pytest.raises(TypeError, match="LinearDiffusion has no rates, as it does not jump"):
        plot_rates(reals, states=(0.0, 1.0))
    with pytest.raises(ValueError, match="which states to look at is not known"):
        plot_rates(reals, "drift")
    with pytest.raises(ValueError, match=r"`at` is missing: the other sites of the event \(3,\)"):
        plot_rates(model, site=0)
    with pytest.raises(ValueError, match=r"must be one event \(3,\), not \(4, 3\)"):
        plot_rates(model, site=0, at=POINTS)
    with pytest.raises(TypeError, match="ax must be .*Axes"):
        plot_values(torch.ones(2, 2), ax=3)
    with pytest.raises(TypeError, match="of must be .* Walking"):
        plot_paths(CHAIN)


def test_a_model_without_such_rates_says_what_it_has():
    known = Known.of(ring(), {(1, 1, 0, 0): 1.0})
    model = exact(known)
    with pytest.raises(TypeError, match="ReverseRates has no `score` to draw: it has leaving and"):
        plot_rates(model, "score", (0, 1), site=0)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"drawing needs matplotlib.*pip install matplotlib"
    ):
        plot_values(torch.ones(2, 2))
