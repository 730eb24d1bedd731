"""Which weights a run ends with, and that interruption does not change them."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file
from scipy import sparse

from markovbridge.data.rows import dense
from markovbridge.data.sparse import SparseRows
from markovbridge.training import Examples, Trainer, TrainingConfig, accelerator, resume
from markovbridge.training.selection import Best, HeldOutLoss

STEPS = 24


def start(small, directory, **kwargs):
    """Eight images learned by heart, with others held out."""
    own = {"steps": STEPS, "learning_rate": 3e-2, "ema": 0.5, "validate_every": 3, "keep": 99}
    own |= {"select": "best", "checkpoint_every": 4, "log_every": 4}
    return Trainer(
        small.transport(width=64, dropout=0.0),
        small.counts(8),
        small.config(**(own | kwargs)),
        validation=small.counts(64, "validation"),
        directory=directory,
        resume=directory is not None,
    )


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """An uninterrupted run."""
    directory = tmp_path_factory.mktemp("best")
    trainer = start(small, directory)
    trainer.run()
    return directory, trainer


def rows(directory):
    found = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k[-2:] != "_s"} for row in found]


def best_of(directory, step=STEPS):
    folder = directory / "checkpoints" / f"step-{step:08d}"
    return json.loads((folder / "state.json").read_text())["state"]["best"], load_file(
        folder / "best.safetensors"
    )


def test_the_weights_of_the_lowest_held_out_loss_are_kept(small, whole):
    directory, trainer = whole
    losses = {r["step"]: r["validation_loss"] for r in rows(directory) if "validation_loss" in r}
    assert sorted(losses) == list(range(3, STEPS + 1, 3))
    step = min(losses, key=losses.__getitem__)
    assert 3 < step < STEPS  # it is learned by heart, but not at once
    assert (trainer.best.step, trainer.best.loss) == (step, losses[step])
    assert trainer.validation.loss(trainer.result) == losses[step]
    assert trainer.validate() == losses[STEPS] > losses[step]
    last = max((r for r in rows(directory) if "best_step" in r), key=lambda r: r["step"])
    assert (last["best_step"], last["best_loss"]) == (step, losses[step])
    assert f"keeping the weights of step {step}" in (directory / "log.txt").read_text()
    assert f"the lowest, at step {step}" in (directory / "model" / "README.md").read_text()
    # They are those that a run as long as that has at its end.
    short = start(small, None, select="last", steps=step)
    short.run()
    for p, q in zip(trainer.result.parameters(), short.averaged.parameters(), strict=True):
        assert torch.equal(p, q)
    saved = load_file(directory / "model" / "model.safetensors")
    for name, value in trainer.result.state_dict().items():
        assert torch.equal(saved[name], value), name
    assert trainer.result.error_curve == short.result.error_curve is not None


@pytest.mark.parametrize("step", range(0, STEPS, 4))
def test_continuing_from_any_checkpoint_keeps_the_same_weights(small, whole, tmp_path, step):
    directory, _ = whole
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    for later in range(step + 4, STEPS + 1, 4):
        shutil.rmtree(tmp_path / "checkpoints" / f"step-{later:08d}")
    trainer = start(small, tmp_path)
    assert trainer.step == step
    trainer.run()
    assert rows(tmp_path) == rows(directory)
    (facts, weights), (expected, whole_weights) = best_of(tmp_path), best_of(directory)
    assert facts == expected
    small.assert_same(weights, whole_weights)
    model = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert model == (directory / "model" / "model.safetensors").read_bytes()


def test_what_is_selected_by_is_part_of_the_run(small, whole, tmp_path):
    directory, trainer = whole
    for change, name in (
        ({"validate_every": 2}, "validate_every"),
        ({"select": "last"}, "select"),
    ):
        with pytest.raises(ValueError, match=f"training.{name} is .* but the run"):
            start(small, directory, **change)
    with pytest.raises(ValueError, match="held-out data.hash is"):
        Trainer(
            small.transport(width=64, dropout=0.0),
            small.counts(8),
            trainer.config,
            validation=small.counts(64, "others"),
            directory=directory,
            resume=True,
        )


def test_a_run_of_before_there_was_a_choice_goes_on(small):
    now = resume.describe(small.config(), small.transport(), Examples(small.counts()), None)
    before = {**now, "training": {k: v for k, v in now["training"].items() if k != "select"}}
    resume.check(before, now, 3)


def test_nothing_to_select_by_is_refused():
    with pytest.raises(ValueError, match="select is 'best', but validate_every is 0"):
        TrainingConfig(select="best")
    with pytest.raises(ValueError, match="select must be one of 'last', 'best', not 'worst'"):
        TrainingConfig(select="worst")


def test_a_loss_that_is_no_number_is_never_the_best(small):
    model = small.transport()
    best = Best(model)
    assert not best.offer(model, 3, math.nan) and best.step is None
    assert best.facts() == {"best_step": None, "best_loss": None}
    assert best.offer(model, 6, 1.5) and not best.offer(model, 9, 1.5)
    other = Best(model)
    other.load(best.model.state_dict(), json.loads(json.dumps(best.facts())))
    assert (other.step, other.loss) == (6, 1.5)


def test_of_many_rows_some_are_looked_at(small):
    x = torch.arange(10_000, dtype=torch.int32)[:, None]
    told = x.float()
    config = small.config(validate_every=2000)  # of 8 samples each: 4,000 cost a tenth
    held = HeldOutLoss(Examples(x, told), config, 8, accelerator())
    assert len(held.examples) == 4000
    assert int(held.examples.x[0]) == 0 and int(held.examples.x[-1]) == 9999
    assert torch.equal(held.examples.x.float(), held.examples.condition)
    assert HeldOutLoss(Examples(x[:3000]), config, 8, accelerator()).examples.x.shape == (3000, 1)
    table = Examples(SparseRows(sparse.csr_matrix(x.numpy())), told)
    held = HeldOutLoss(table, config, 8, accelerator())
    assert isinstance(held.examples.x, SparseRows) and len(held.examples) == 2048
    assert torch.equal(dense(held.examples.x).float(), held.examples.condition)
