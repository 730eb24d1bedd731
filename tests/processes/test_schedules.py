"""Schedules against 60-digit arithmetic, where 1 - p and p(t) - p(s) cancel in float64."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch

from markovbridge import (
    CosineSchedule,
    LinearSchedule,
    LogisticSchedule,
    PureDeath,
    SurvivalSchedule,
)
from problems import SCHEDULES, squared

mp.mp.dps = 60

TIMES = [1e-12, 1e-8, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9, 1 - 1e-3, 1 - 2**-24, 1 - 1e-8, 1 - 1e-12]


def logistic(t):
    end = mp.exp(-15)
    return 1 / (1 + mp.exp(-mp.log((1 - end) / end) * (2 * t - 1)))


REFERENCE = {
    "linear": lambda t: t,
    "cosine": lambda t: mp.sin(mp.pi * t / 2) ** 2,
    "logistic": logistic,
    "published": logistic,
    "survival": lambda t: t**2,
}


@pytest.fixture(params=sorted(SCHEDULES))
def case(request):
    return SCHEDULES[request.param], REFERENCE[request.param]


def assert_close(found, expected, rtol=1e-13):
    expected = torch.tensor([float(e) for e in expected], dtype=torch.float64)
    torch.testing.assert_close(found.double(), expected, rtol=rtol, atol=0)


def test_survival_mortality_and_rate_are_right_to_all_digits(case):
    schedule, p = case
    t = torch.tensor(TIMES, dtype=torch.float64)
    exact = [mp.mpf(v) for v in TIMES]
    assert_close(schedule.survival(t), [p(v) for v in exact])
    assert_close(schedule.mortality(t), [1 - p(v) for v in exact])
    assert_close(schedule.rate(t), [mp.diff(p, v) for v in exact], rtol=1e-12)


def test_float32_times_lose_nothing_but_the_rounding_of_the_answer(case):
    schedule, p = case
    t = torch.tensor(TIMES, dtype=torch.float32)
    exact = [mp.mpf(v) for v in t.tolist()]
    keep = t < 1
    for found, answer in (
        (schedule.survival(t), [p(v) for v in exact]),
        (schedule.mortality(t), [1 - p(v) for v in exact]),
        (schedule.rate(t), [mp.diff(p, v) for v in exact]),
    ):
        assert found.dtype == torch.float32
        answer = torch.tensor([float(a) for a in answer], dtype=torch.float64)
        torch.testing.assert_close(found[keep].double(), answer[keep], rtol=1e-7, atol=0)


def test_increments_do_not_cancel(case):
    schedule, p = case
    pairs = [(a, b) for a in TIMES for b in TIMES if a < b]
    s, t = torch.tensor(pairs, dtype=torch.float64).T
    expected = [float(p(mp.mpf(b)) - p(mp.mpf(a))) for a, b in pairs]
    # The error is that of the survival or the mortality, whichever is the smaller.
    scale = np.array([float(min(p(mp.mpf(b)), 1 - p(mp.mpf(a)))) for a, b in pairs])
    error = np.abs(schedule.increment(s, t).numpy() - expected)
    assert (error <= 2e-15 * scale).all()
    assert float(schedule.increment(0.25, 0.25)) == 0


def test_the_ends(case):
    schedule, p = case
    assert float(schedule.survival(1.0)) == 1
    assert float(schedule.mortality(1.0)) == 0
    if schedule == SCHEDULES["published"]:
        assert float(schedule.survival(0.0)) == pytest.approx(math.exp(-15), rel=1e-12)
        assert float(schedule.mortality(0.0)) == pytest.approx(-math.expm1(-15), rel=1e-15)
    else:
        assert float(schedule.survival(0.0)) == 0
        assert float(schedule.mortality(0.0)) == 1
    everywhere = torch.linspace(0, 1, 1001)
    p, q = schedule.survival(everywhere), schedule.mortality(everywhere)
    assert bool((p[1:] >= p[:-1]).all()) and bool((q[1:] <= q[:-1]).all())
    torch.testing.assert_close(p + q, torch.ones_like(p))


def test_time_is_the_inverse(case):
    schedule, _ = case
    t = torch.tensor(TIMES[1:-1], dtype=torch.float64)
    found = schedule.time(schedule.survival(t), schedule.mortality(t))
    # Relative to the nearer end, which is what a step near it is made of.
    torch.testing.assert_close(found, t, rtol=1e-6, atol=1e-15)
    torch.testing.assert_close(1 - found, 1 - t, rtol=1e-6, atol=1e-15)
    ends = schedule.time(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
    assert ends.tolist() == pytest.approx([0, 1], abs=1e-15)
    assert float(ends.max()) <= 1


def test_the_logistic_is_the_published_grid():
    # p = exp(-τ) with the first and last of 1000 times symmetric in logit p.
    for t_end, first, share in ((15, 3.06e-7, 0.306), (10, 4.5e-5, 0.46)):
        schedule = LogisticSchedule(t_end, exact_ends=False)
        assert -math.log(float(schedule.survival(0.0))) == pytest.approx(t_end, rel=1e-12)
        assert float(schedule.mortality(1 - 1e-12)) == pytest.approx(first, rel=0.01)
        p = schedule.survival(torch.linspace(0, 1, 1000, dtype=torch.float64))
        inside = ((p > 0.01) & (p < 0.99)).double().mean()
        assert float(inside) == pytest.approx(share, abs=0.002)
        logit = (p[1:-1] / (1 - p[1:-1])).log()
        gaps = logit[1:] - logit[:-1]
        torch.testing.assert_close(gaps, gaps[0].expand_as(gaps), rtol=1e-6, atol=0)


def test_grid():
    grid = CosineSchedule().grid(4)
    assert grid.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert grid.dtype == torch.float64
    assert LinearSchedule().grid(2, start=0.5).tolist() == [0.5, 0.75, 1]
    with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
        CosineSchedule().grid(0)


def test_answers_have_the_shape_and_type_of_the_time(case):
    schedule, _ = case
    for method in (schedule.survival, schedule.mortality, schedule.rate):
        assert method(0.5).dtype == torch.float64
        assert method(0.5).shape == ()
        assert method(torch.rand(2, 3)).shape == (2, 3)
        assert method(torch.rand(2, 3)).dtype == torch.float32


@pytest.mark.parametrize("t", [-1e-9, 1.0001, float("nan"), float("inf")])
def test_times_outside_the_unit_interval_are_refused(t):
    for time in (t, torch.tensor([0.5, t])):
        with pytest.raises(
            ValueError, match=r"time .* is outside \[0, 1\]: 0 is the source|t must be finite"
        ):
            CosineSchedule().survival(time)


def test_integer_times_are_the_ends():
    assert CosineSchedule().at(torch.tensor([0, 1])).dtype == torch.float32
    assert CosineSchedule().survival(torch.tensor([0, 1])).tolist() == [0, 1]


def test_a_function_without_its_complement_is_right_to_float64():
    plain, full = SurvivalSchedule(squared), SCHEDULES["survival"]
    t = torch.tensor(TIMES, dtype=torch.float64)
    torch.testing.assert_close(plain.mortality(t), full.mortality(t), rtol=0, atol=3e-16)
    with torch.no_grad():
        torch.testing.assert_close(plain.rate(t), 2 * t, rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda t: 1 - t, "must increase, but does not at t = 0.000"),
        (lambda t: (2 * t).clamp_max(1), "must increase, but does not at t = 0.500"),
        (lambda t: t / 2, r"must run from p\(0\) >= 0 to p\(1\) = 1, not from 0.0 to 0.5"),
        (lambda t: 2 * t - 1, "not from -1.0 to 1.0"),
        (lambda t: t.log(), "one finite value per time"),
        (lambda t: t.sum(), "one finite value per time"),
    ],
)
def test_impossible_survival_functions_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        SurvivalSchedule(function)


@pytest.mark.parametrize("t_end", [0.0, 0.5, -1.0, float("nan")])
def test_the_logistic_needs_a_time_to_forget(t_end):
    with pytest.raises(ValueError, match="t_end must exceed log 2"):
        LogisticSchedule(t_end)


def test_the_cosine_has_constant_fisher_rao_speed():
    # The angle arcsin sqrt(p) moves at constant speed.
    t = np.linspace(0.01, 0.99, 50)
    angle = np.arcsin(np.sqrt(CosineSchedule().survival(torch.tensor(t)).numpy()))
    np.testing.assert_allclose(angle, t * np.pi / 2, rtol=1e-12)
    assert PureDeath().schedule == CosineSchedule()
