"""`benchmarks/quality.py`: numbers of steps, and what it says where a rival is not installed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import environments  # noqa: E402
import quality  # noqa: E402
from markovbridge import Bridge, HandOver, ProbabilityFlow, Trapezoidal  # noqa: E402

PLANS = HandOver(then=Trapezoidal(), plans=((1.0,), (0.5, 1.0), (0.3, 0.5)))


@pytest.mark.parametrize(
    ("sampler", "evaluations", "steps", "taken"),
    [
        (Bridge(), 5, 5, 5),
        (Trapezoidal(), 5, 2, 4),
        (ProbabilityFlow(), 2, 1, 1),  # Heun's method, the last step Euler's
        (ProbabilityFlow(), 20, 10, 19),
        (PLANS, 1, 1, 1),
        (PLANS, 2, 2, 2),
        (PLANS, 3, 2, 2),
        (PLANS, 4, 3, 4),  # two joint draws, one leap of two evaluations
        (PLANS, 7, 4, 6),
    ],
)
def test_steps_are_the_most_that_evaluations_allow(sampler, evaluations, steps, taken):
    assert quality.most_steps(sampler, evaluations) == (steps, taken)


def test_what_is_not_installed_is_left_out_with_a_sentence(tmp_path):
    reason = environments.absent("flow_matching", tmp_path / "none", quality.PINS)
    assert reason is not None and "--install makes it, with torch==" in reason
    python = environments.python_of(tmp_path)
    python.parent.mkdir()
    python.touch()
    assert environments.absent("flow_matching", tmp_path, quality.PINS) is None
