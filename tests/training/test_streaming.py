"""Training from a file is training from memory, with rows in another order."""

import pytest
import torch

from markovbridge import MeanHead, NegativeBinomialHead, PureDeath, Transport, statistics
from markovbridge.data import BackedRows, CountTable, Digits, write_table
from markovbridge.data.rows import dense, parts
from markovbridge.networks import MLP
from markovbridge.training import Examples, Trainer, TrainingConfig
from markovbridge.training.examples import Batches


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The digits as a table: 1,797 counts of 64 pixels, with their class."""
    digits = Digits().load("all")
    path = tmp_path_factory.mktemp("tables") / "digits.h5ad"
    write_table(path, digits.x.flatten(1), columns={"digit": digits.labels.numpy()})
    return path


def source(path, backed, **fields):
    return CountTable(path, backed=backed, covariates=("digit",), categorical=("digit",), **fields)


def trainer(path, directory=None, *, resume=False):
    data = source(path, backed=True).load("train")
    assert isinstance(data.x, BackedRows)
    mean, variance = statistics(data.x)
    process, head = PureDeath(maximum=None), NegativeBinomialHead()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLP((64,), 1, head.outputs(process), width=16, depth=1, condition=10)
    transport = Transport(process, network, head, shape=(64,), mean=mean, variance=variance)
    return Trainer(
        transport,
        Examples(data.x, condition=data.condition),
        TrainingConfig(steps=6, batch_size=32, warmup=2, checkpoint_every=3),
        directory=directory,
        resume=resume,
    )


def test_statistics_are_those_of_the_tensor(path):
    file, memory = (source(path, backed).load("train") for backed in (True, False))
    for per in ("site", "all"):
        for one, other in zip(
            statistics(file.x, per), statistics(memory.x.int(), per), strict=True
        ):
            assert torch.equal(one, other)
    process = PureDeath()
    checked = (process.check(rows) for rows in parts(file.x))
    assert torch.equal(statistics(checked)[0], statistics(memory.x)[0])
    with pytest.raises(ValueError, match="at least 2 samples, not 0"):
        statistics(iter(()))


def test_every_sample_comes_with_its_own_condition(path):
    data = source(path, backed=True).load("train")
    examples = Examples(data.x, condition=data.condition)
    memory = source(path, backed=False).load("train")
    for index in (Batches(len(data), 32, 0, data.x.chunk)[k] for k in (0, 50)):
        rows = examples.rows(index, torch.device("cpu"))
        assert torch.equal(rows["x1"], memory.x[index].long())
        assert torch.equal(rows["condition"], memory.condition[index])


def test_a_run_from_a_file_resumes_to_the_bit(path, tmp_path, small):
    whole = trainer(path)
    whole.run()
    cut = trainer(path, tmp_path)
    for state in cut:
        if state.step == 4:
            break
    resumed = trainer(path, tmp_path, resume=True)
    assert resumed.step == 3
    resumed.run()
    small.assert_same(small.weights(resumed), small.weights(whole))


def test_another_file_is_another_run(path, tmp_path):
    trainer(path, tmp_path).save()
    other = tmp_path / "other.h5ad"
    x = dense(source(path, backed=False).load("all").x)
    x[:, 5] += 1
    digits = CountTable(path, covariates=("digit",), categorical=("digit",)).read()
    write_table(other, x, columns=dict(digits.columns))
    with pytest.raises(ValueError, match="data.hash is"):
        trainer(other, tmp_path, resume=True)


def test_a_mean_head_trains_from_a_file_too(path):
    data = source(path, backed=True).load("validation")
    process, head = PureDeath(maximum=16), MeanHead()
    network = MLP((64,), 1, head.outputs(process), width=16, depth=1)
    transport = Transport(process, network, head, shape=(64,), mean=5.0, variance=30.0)
    config = TrainingConfig(steps=40, batch_size=32, warmup=2, learning_rate=1e-2)
    losses = [float(state.loss) for state in Trainer(transport, data.x, config)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
