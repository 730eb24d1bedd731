"""The loop against one written out by hand, and what happens beside it."""

import json
import logging
import math
import os
import signal
import threading

import pytest
import torch
from torch import nn

from markovbridge import FiniteTime, Instantaneous, MeanHead, PathKL, PureDeath, Transport
from markovbridge.doors.randomness import derive, generator
from markovbridge.exact import Empirical
from markovbridge.training import Examples, Trainer
from markovbridge.training.examples import Batches


def losses(transport, x, seed, step, rank, micro):
    """Losses of one micro-batch as the trainer's documentation says they are drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(derive("dropout", seed, step, rank, micro))
        noise = generator("cpu", "noise", seed, step, rank, micro)
        return transport.loss(x.long(), generator=noise)


@pytest.mark.parametrize(("accumulation", "clip"), [(1, None), (2, 0.5)])
def test_steps_are_those_of_a_loop_written_by_hand(small, accumulation, clip):
    x, config = small.counts(), small.config(accumulation=accumulation, clip=clip, seed=4)
    trained = small.transport()
    trainer = Trainer(trained, x, config)

    by_hand = small.transport().train()
    parameters = list(by_hand.parameters())
    optimizer = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    average = [p.detach().clone() for p in parameters]
    batches = Batches(len(x), config.batch_size, config.seed)
    for step, state in enumerate(trainer):
        optimizer.param_groups[0]["lr"] = config.rate(step)
        optimizer.zero_grad()
        parts = x[batches[step]].chunk(accumulation)
        total = sum(
            losses(by_hand, part, 4, step, 0, micro).mean() / accumulation
            for micro, part in enumerate(parts)
        )
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip)
        optimizer.step()
        now = [p.detach().clone() for p in parameters]
        decay = min(config.ema, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * p for a, p in zip(average, now, strict=True)]
        assert state.step == step + 1
        assert state.learning_rate == config.rate(step)
        torch.testing.assert_close(state.loss, total.detach())
        torch.testing.assert_close(state.grad_norm, norm)
        torch.testing.assert_close(list(trained.parameters()), parameters)
        torch.testing.assert_close(list(trainer.averaged.parameters()), average)
    assert trainer.step == config.steps


def test_training_lowers_the_held_out_loss(small):
    flat = small.counts(72)[:, :, :1, :1].expand(-1, *small.SHAPE).contiguous()  # one level each
    config = small.config(steps=60, batch_size=16, learning_rate=3e-3)
    trainer = Trainer(small.transport(dropout=0.0), flat[:40], config, validation=flat[40:])
    before = trainer.validate()
    model = trainer.run()
    assert trainer.validate() < 0.8 * before
    assert model is trainer.averaged
    assert not model.training


def test_held_out_loss_uses_averaged_weights_without_dropout_and_the_same_noise(small):
    held_out = small.counts(20, "validation")
    trainer = Trainer(small.transport(), small.counts(), small.config(), validation=held_out)
    trainer.run()
    trainer.transport.train()  # dropout on there must not matter
    assert trainer.validate() == trainer.validate()
    total = 0.0
    for number, block in enumerate(held_out.split(8)):
        noise = generator("cpu", "validation", 0, number)
        total += trainer.averaged.loss(block.long(), generator=noise).double().sum().item()
    assert trainer.validate() == pytest.approx(total / 20, rel=1e-12)


def test_torchs_own_generators_are_neither_read_nor_moved(small):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        trainer = Trainer(small.transport(), small.counts(), small.config())
        trainer.run()
        assert torch.equal(torch.get_rng_state(), before)
        results.append(small.weights(trainer))
    small.assert_same(*results)


def test_the_seed_matters(small):
    one, other = (Trainer(small.transport(), small.counts(), small.config(seed=s)) for s in (1, 2))
    one.run(), other.run()
    pairs = zip(one.averaged.parameters(), other.averaged.parameters(), strict=True)
    assert any(not torch.equal(p, q) for p, q in pairs)


def test_a_loop_may_be_left_and_entered_again(small):
    left = Trainer(small.transport(), small.counts(), small.config())
    for state in left:
        if state.step == 2:
            break
    assert left.step == 2
    assert [state.step for state in left] == [3, 4, 5, 6]
    through = Trainer(small.transport(), small.counts(), small.config())
    through.run()
    small.assert_same(small.weights(left), small.weights(through))
    assert list(left) == []


class Plain(nn.Module):
    """A user's network: no configuration, weights tied, condition used."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(16, 16)
        self.two = nn.Linear(16, 16)
        self.two.weight = self.one.weight
        self.seen = []

    def forward(self, features, t, condition):
        self.seen.append(condition)
        hidden = self.one(features.flatten(1)).tanh() + t[:, None]
        return self.two(hidden).reshape(features.shape)


def test_any_network_and_conditions_and_sources(small, monkeypatch):
    network = Plain()
    transport = Transport(PureDeath(maximum=7), network, MeanHead(), shape=small.SHAPE)
    x = small.counts()
    condition = torch.arange(len(x)).float()[:, None]
    source = torch.zeros_like(x)
    sources = []
    monkeypatch.setattr(
        PureDeath,
        "bridge",
        lambda self, x, y, s, t, u, real=PureDeath.bridge: (
            sources.append(x) or real(self, x, y, s, t, u)
        ),
    )
    config = small.config(seed=9)
    list(Trainer(transport, Examples(x, condition=condition, source=source), config))
    batches = Batches(len(x), config.batch_size, 9)
    for step, (seen, used) in enumerate(zip(network.seen, sources, strict=True)):
        assert seen[:, 0].tolist() == batches[step].tolist()
        assert used.dtype == torch.int64 and used.shape == (8, *small.SHAPE)


def test_tied_weights_survive_a_checkpoint(small, tmp_path):
    def trainer(steps, **kwargs):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            transport = Transport(PureDeath(maximum=7), Plain(), MeanHead(), shape=small.SHAPE)
        monkey = transport  # tied weights cannot be published by safetensors: not the point here
        monkey.save_pretrained = lambda *args, **kwargs: None
        return Trainer(transport, small.counts(), small.config(steps=steps), **kwargs)

    trainer(3, directory=tmp_path).run()
    resumed = trainer(6, directory=tmp_path, resume=True)
    assert resumed.transport.network.two.weight is resumed.transport.network.one.weight
    resumed.run()
    through = trainer(6)
    through.run()
    small.assert_same(small.weights(resumed), small.weights(through))


def test_bf16_runs_the_network_in_bfloat16_and_keeps_weights_in_float32(small):
    seen = []
    trainer = Trainer(small.transport(), small.counts(), small.config(precision="bf16"))
    output = trainer.transport.network.output
    output.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    full = Trainer(small.transport(), small.counts(), small.config())
    trainer.run(), full.run()
    assert set(seen) == {torch.bfloat16}
    for p, q in zip(trainer.averaged.parameters(), full.averaged.parameters(), strict=True):
        assert p.dtype == torch.float32
        torch.testing.assert_close(p, q, atol=0.05, rtol=0.1)


def test_threads_are_set_for_the_loop_only(small):
    before = torch.get_num_threads()
    trainer = Trainer(small.transport(), small.counts(), small.config(threads=before + 1))
    assert {torch.get_num_threads() for _ in trainer} == {before + 1}
    assert torch.get_num_threads() == before


def poisoned(small, **kwargs):
    """A trainer whose network answers NaN from the fourth step on."""
    transport = small.transport(dropout=0.0)
    calls = []

    def poison(module, args, out):
        if not module.training:  # of the averaged model, which is measured besides
            return None
        calls.append(1)
        return out * math.nan if len(calls) >= 4 else None

    transport.network.register_forward_hook(poison)
    return Trainer(transport, small.counts(), small.config(), **kwargs)


def test_divergence_names_the_step_and_corrupts_nothing(small, tmp_path):
    trainer, kept = poisoned(small, directory=tmp_path), {}
    with pytest.raises(FloatingPointError, match="diverged at step 4: loss nan"):
        for state in trainer:
            if state.step == 3:
                kept = small.weights(trainer)
    small.assert_same(small.weights(trainer), kept)
    resumed = Trainer(
        small.transport(dropout=0.0),
        small.counts(),
        small.config(),
        directory=tmp_path,
        resume=True,
    )
    assert resumed.step == 2
    assert all(bool(p.isfinite().all()) for p in resumed.averaged.parameters())


def test_metrics_and_log_tell_the_run(small, tmp_path):
    x = small.counts()
    config = small.config(steps=7, log_every=3, validate_every=5)
    states = list(Trainer(small.transport(), x, config, validation=x, directory=tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], "loss" in row) for row in rows] == [
        (3, True),
        (5, False),
        (6, True),
        (7, True),
        (7, False),
    ]
    assert set(rows[0]) == {"step", "loss", "lr", "grad_norm", "samples_per_s", "elapsed_s"}
    assert rows[1].keys() == {"step", "validation_loss"}
    mean = sum(float(state.loss) for state in states[3:6]) / 3
    assert rows[2]["loss"] == pytest.approx(mean, rel=1e-6)
    assert rows[2]["lr"] == states[5].learning_rate
    assert rows[3]["loss"] == pytest.approx(float(states[6].loss), rel=1e-6)
    log = (tmp_path / "log.txt").read_text()
    assert "on 1 process (cpu" in log
    assert "step 6/7: loss" in log and "samples/s, 0:00:00 left" in log
    assert "step 5: held-out loss" in log


def test_the_model_is_published_with_its_card(small, tmp_path):
    x = small.counts()
    trainer = Trainer(
        small.transport(),
        x,
        small.config(validate_every=6),
        validation=x,
        directory=tmp_path,
        card={"data": "dice"},
    )
    trainer.run()
    model = Transport.from_pretrained(tmp_path / "model")
    for p, q in zip(model.parameters(), trainer.averaged.parameters(), strict=True):
        assert torch.equal(p, q)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| data | dice |" in card
    assert "| training steps | 6 of 8 samples |" in card
    assert "| held-out loss |" in card


def test_grids_are_drawn_on_the_way(small, tmp_path):
    config = small.config(sample_every=4, samples=5, sample_steps=2)
    Trainer(small.transport(), small.counts(), config, directory=tmp_path).run()
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["step-00000004.png", "step-00000006.png"]


def test_what_is_no_image_is_not_drawn(small, tmp_path):
    transport = Transport(PureDeath(), nn.Conv1d(1, 1, 1), MeanHead(), shape=(3,))
    transport.network.forward = lambda f, t, c, conv=transport.network: conv.weight.sum() * f
    transport.save_pretrained = lambda *args, **kwargs: None
    trainer = Trainer(
        transport,
        small.counts()[:, 0, 0, :3],
        small.config(sample_every=3),
        directory=tmp_path,
    )
    trainer._draw()
    assert not (tmp_path / "samples").exists()
    assert "(3,) is not an image" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_good_order(small, tmp_path, number, caplog):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    trainer = Trainer(small.transport(), small.counts(), small.config(), directory=tmp_path)
    with pytest.raises(SystemExit) as left, caplog.at_level(logging.WARNING):
        for state in trainer:
            if state.step == 3:
                os.kill(os.getpid(), number)
    assert left.value.code == 128 + number
    assert trainer.step == 4
    assert "stopped after step 4 of 6" in caplog.text and "resume" in caplog.text
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    again = Trainer(
        small.transport(), small.counts(), small.config(), directory=tmp_path, resume=True
    )
    assert again.step == 4
    again.run()
    through = Trainer(small.transport(), small.counts(), small.config())
    through.run()
    small.assert_same(small.weights(again), small.weights(through))


def test_without_a_folder_a_signal_acts_at_once(small):
    trainer = Trainer(small.transport(), small.counts(), small.config())
    # Shells start jobs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in trainer:
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_loop_may_run_in_another_thread(small, tmp_path):
    trainer = Trainer(small.transport(), small.counts(), small.config(), directory=tmp_path)
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join()
    assert trainer.step == 6


def test_what_does_not_fit_is_named(small):
    x = small.counts()
    with pytest.raises(ValueError, match=r"samples of shape \(4, 4\).*carries \(1, 4, 4\)"):
        Trainer(small.transport(), x[:, 0], small.config())
    with pytest.raises(ValueError, match="validation has samples of shape"):
        Trainer(small.transport(), x, small.config(), validation=x[:, 0])
    with pytest.raises(ValueError, match="there is no validation data"):
        Trainer(small.transport(), x, small.config(validate_every=1))
    with pytest.raises(ValueError, match="no validation data"):
        Trainer(small.transport(), x, small.config()).validate()
    with pytest.raises(ValueError, match="resume needs the directory"):
        Trainer(small.transport(), x, small.config(), resume=True)
    with pytest.raises(ValueError, match="nowhere to save"):
        Trainer(small.transport(), x, small.config()).save()
    with pytest.raises(ValueError, match="batch_size is 8, which 1 process"):
        Trainer(small.transport(), x, small.config(accumulation=3))
    process = PureDeath(maximum=7)
    exact = Transport(process, Empirical(process, x.long()), shape=small.SHAPE)
    with pytest.raises(ValueError, match="no weights to train"):
        Trainer(exact, x, small.config())


def test_a_trained_model_knows_its_errors(small, tmp_path):
    def trained(directory=None):
        x, config = small.counts(), small.config(steps=3)
        return Trainer(small.transport(), x, config, directory=directory).run()

    alone, saved = trained(), trained(tmp_path)
    loaded = Transport.from_pretrained(tmp_path / "model")
    assert alone.error_curve == saved.error_curve == loaded.error_curve
    errors = alone.error_curve.errors
    assert errors[-1] == 0 and errors[0] > errors[-2] > 0


def test_a_loss_that_may_be_negative_says_so(small, caplog):
    caplog.set_level(logging.INFO, logger="markovbridge")
    published = Instantaneous(steps=10)
    said = {}
    for name, objective in {
        "published": published,
        "exact": FiniteTime(steps=10, weight="exact"),
        "sum": PathKL(damping=1.0) + 0.1 * published,
        "ours": PathKL(damping=1.0),
    }.items():
        caplog.clear()
        transport = small.transport()
        transport.objective = objective
        Trainer(transport, small.counts(), small.config(steps=1, warmup=0)).run()
        said[name] = "the loss may be negative" in caplog.text
    assert said == {"published": True, "exact": True, "sum": True, "ours": False}
    # And it is: at the true end of 9 units still to come, of a law that is sure of them.
    process, x, x1 = PureDeath(), torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), 9)
    t = torch.tensor([0.5])
    loss = published(process, Empirical(process, x1)(x, t), x, x1, t)
    gained = process.schedule.survival(torch.tensor([0.5, 0.6], dtype=torch.float64))
    weight = 10 * gained[0] * (gained[1] / gained[0]).log()
    assert float(loss) == pytest.approx(float(weight) * (9 - 9 * math.log(9)), rel=1e-4)
    assert float(loss) < 0
