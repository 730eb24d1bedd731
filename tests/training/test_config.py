import math

import pytest

from markovbridge.training import TrainingConfig


def test_constant_rate_warms_up_linearly_and_stays():
    config = TrainingConfig(learning_rate=0.8, warmup=4, steps=10)
    assert [config.rate(k) for k in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    assert TrainingConfig(learning_rate=0.8, warmup=0).rate(0) == 0.8


def test_cosine_rate_falls_from_the_peak_to_zero():
    config = TrainingConfig(learning_rate=2.0, warmup=2, steps=10, decay="cosine")
    assert [config.rate(k) for k in (0, 1, 2)] == pytest.approx([1.0, 2.0, 2.0])
    assert config.rate(4) == pytest.approx(1 + math.sqrt(0.5))
    assert config.rate(6) == pytest.approx(1.0)
    assert config.rate(10) == pytest.approx(0.0)


def test_averaging_forgets_the_start_and_reaches_its_decay():
    config = TrainingConfig(ema=0.99)
    assert config.averaging(1) == pytest.approx(2 / 11)
    assert config.averaging(889) == pytest.approx(890 / 899)
    assert config.averaging(891) == 0.99


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 10.0),
        ("batch_size", True),
        ("accumulation", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("warmup", -1),
        ("decay", "linear"),
        ("weight_decay", -0.1),
        ("clip", 0.0),
        ("ema", 1.0),
        ("precision", "fp16"),
        ("seed", -1),
        ("log_every", 0),
        ("validate_every", -1),
        ("keep", 0),
        ("samples", 0),
        ("sample_steps", 0),
        ("threads", 0),
    ],
)
def test_bad_values_are_named(name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be .*not {value!r}"):
        TrainingConfig(**{name: value})


def test_short_runs_warm_up_for_a_tenth():
    for steps, warmup in ((10_000, 100), (1000, 100), (999, 99), (50, 5), (9, 0), (1, 0)):
        assert TrainingConfig(steps=steps).warmup == warmup
        assert TrainingConfig(steps=steps, decay="cosine").warmup == warmup
        assert TrainingConfig(steps=steps, warmup=0).warmup == 0
    assert TrainingConfig(steps=50, warmup=40).warmup == 40  # as asked for
    assert TrainingConfig(steps=9, learning_rate=0.5).rate(0) == 0.5


def test_cosine_needs_steps_after_the_warmup():
    with pytest.raises(ValueError, match="warmup is 10 of 10 steps"):
        TrainingConfig(steps=10, warmup=10, decay="cosine")
