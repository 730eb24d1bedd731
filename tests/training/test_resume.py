"""A run that was cut off and continued is the run that was not."""

import json
import logging
import shutil

import pytest
import torch

from markovbridge.training import Examples, Trainer, TrainingConfig
from markovbridge.training.resume import difference


def start(small, directory, resume=True, **kwargs):
    own = {"log_every": 3, "checkpoint_every": 1, "keep": 10}
    return Trainer(
        small.transport(),
        small.counts(),
        small.config(**(own | kwargs)),
        directory=directory,
        resume=resume,
    )


def losses(directory):
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["grad_norm"]) for row in rows]


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """An uninterrupted run of 6 steps with a checkpoint of each."""
    directory = tmp_path_factory.mktemp("whole")
    trainer = start(small, directory, resume=False)
    trainer.run()
    return directory, small.weights(trainer)


@pytest.mark.parametrize("step", range(7))
def test_continuing_from_any_step_gives_the_same_bits(small, whole, tmp_path, step):
    directory, weights = whole
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    for later in range(step + 1, 7):
        shutil.rmtree(tmp_path / "checkpoints" / f"step-{later:08d}")
    torch.manual_seed(step)  # what torch's own generator holds must not matter
    trainer = start(small, tmp_path)
    assert trainer.step == step
    trainer.run()
    small.assert_same(small.weights(trainer), weights)
    assert losses(tmp_path) == losses(directory)


def test_numbers_newer_than_the_checkpoint_and_a_line_cut_short_are_dropped(
    small, whole, tmp_path
):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    metrics = tmp_path / "metrics.jsonl"
    kept = metrics.read_text()
    metrics.write_text(kept + '{"step": 9, "loss": 1.0, "grad_norm": 1.0}\n{"step": 5, "lo')
    start(small, tmp_path)
    assert metrics.read_text() == kept


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(small, whole, tmp_path, caplog):
    directory, weights = whole
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    for step in (5, 6):
        file = tmp_path / "checkpoints" / f"step-{step:08d}" / "ema.safetensors"
        file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        trainer = start(small, tmp_path)
    assert trainer.step == 4
    for number, step in enumerate(("step-00000006", "step-00000005")):
        message = caplog.records[number].message
        assert f"{step} is damaged (ema.safetensors has 100 bytes instead of" in message
        assert message.endswith("Using step-00000004 instead.")
        assert message in (tmp_path / "log.txt").read_text()
    trainer.run()
    small.assert_same(small.weights(trainer), weights)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert start(small, tmp_path).step == 6
    assert caplog.records == []


def test_nothing_is_trained_if_no_checkpoint_is_intact(small, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    for state in (tmp_path / "checkpoints").glob("*/state.json"):
        state.unlink()
    with pytest.raises(ValueError, match="No checkpoint in .* is intact"):
        start(small, tmp_path)


def test_a_run_is_not_overwritten_by_accident(small, whole, tmp_path):
    with pytest.raises(FileExistsError, match="continue it with resume=True"):
        start(small, whole[0], resume=False)
    assert start(small, tmp_path / "new", resume=True).step == 0


def test_what_leaves_the_weights_alone_may_change(small, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    trainer = start(small, tmp_path, log_every=1, keep=2, checkpoint_every=4, steps=8)
    trainer.run()
    longer = start(small, None, resume=False, steps=8)
    longer.run()
    small.assert_same(small.weights(trainer), small.weights(longer))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 4),
        ("seed", 1),
        ("learning_rate", 2e-2),
        ("warmup", 2),
        ("decay", "cosine"),
        ("weight_decay", 0.1),
        ("clip", None),
        ("ema", 0.5),
        ("accumulation", 2),
        ("precision", "bf16"),
    ],
)
def test_another_configuration_is_refused_by_name(small, whole, name, value):
    with pytest.raises(ValueError, match=f"training.{name} is {value!r}, but the run"):
        start(small, whole[0], **{name: value})


def test_fewer_steps_and_a_longer_cosine_of_a_run_on_its_way_are_refused(small, whole, tmp_path):
    with pytest.raises(ValueError, match="training.steps is 4, but .* at step 6 already"):
        start(small, whole[0], steps=4)
    for _, state in zip(range(3), start(small, tmp_path, decay="cosine"), strict=False):
        assert state.step < 4
    with pytest.raises(ValueError, match="steps is 8, but .* has 6 and is at step 3; let it end"):
        start(small, tmp_path, decay="cosine", steps=8)


def test_a_run_that_has_ended_is_given_more_steps(small, tmp_path, caplog):
    own = {"decay": "cosine"}
    start(small, tmp_path, **own).run()
    with caplog.at_level(logging.WARNING):
        more = start(small, tmp_path, steps=9, **own)
    (record,) = caplog.records
    assert record.message.startswith("9 steps instead of the 6 that the run was planned for")
    # What was done stays, and the rest is what a run of so many steps does from there.
    expected = start(small, None, resume=False, **own)
    expected.run()
    expected.config = expected.learner.config = small.config(steps=9, **own)
    rates = [state.learning_rate for state in expected]
    assert (
        [state.learning_rate for state in more]
        == rates
        == [small.config(steps=9, **own).rate(k) for k in (6, 7, 8)]
    )
    small.assert_same(small.weights(more), small.weights(expected))
    caplog.clear()
    with caplog.at_level(logging.WARNING):  # it is a run of 9 steps now
        assert start(small, tmp_path, steps=9, **own).step == 9
    assert not caplog.records


def test_another_model_or_other_data_are_refused_by_name(small, whole):
    def trainer(transport, data):
        config: TrainingConfig = small.config()
        return Trainer(transport, data, config, directory=whole[0], resume=True)

    with pytest.raises(ValueError, match="model.network.init_args.width is 8, but .* has 16"):
        trainer(small.transport(width=8), small.counts())
    with pytest.raises(ValueError, match="data.hash is"):
        trainer(small.transport(), small.counts(key="other"))
    with pytest.raises(ValueError, match="data.condition is"):
        x = small.counts()
        trainer(small.transport(), Examples(x, condition=torch.zeros(len(x), 1)))


def test_more_steps_keep_a_warm_up_that_nobody_asked_for(small, tmp_path, caplog):
    own = {"batch_size": 4, "log_every": 5, "checkpoint_every": 0}

    def trainer(steps, **more):
        config = TrainingConfig(steps=steps, **own, **more)
        options = {"directory": tmp_path / "run", "resume": True}
        return Trainer(small.transport(), small.counts(), config, **options)

    trainer(20).run()
    with caplog.at_level(logging.WARNING, logger="markovbridge.training"):
        longer = trainer(40)
    assert longer.config.warmup == longer.learner.config.warmup == 2
    assert "the warm-up stays at 2 steps, those of a run of 20, so the result" in caplog.text
    with pytest.raises(ValueError, match=r"training\.warmup is 3, but the run to continue has 2"):
        trainer(40, warmup=3)
    longer.run()
    whole = Trainer(small.transport(), small.counts(), TrainingConfig(steps=40, **own, warmup=2))
    whole.run()
    small.assert_same(small.weights(longer), small.weights(whole))


def test_a_state_is_not_too_old_for_options_that_came_later():
    def state(**options):
        part = {"class_path": "markovbridge.Trapezoidal", "init_args": options}
        return {"model": {"sampler": part}}

    before, now = state(theta=0.25), state(theta=0.25, thetas=[], powers=[])
    assert difference(before, now, set()) is None
    assert difference(before, state(theta=0.25, thetas=[0.3], powers=[]), set()) is not None
