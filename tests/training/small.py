"""A training problem of milliseconds, shared by these tests."""

import torch

from markovbridge import MeanHead, PureDeath, Transport
from markovbridge.doors.randomness import derive, generator
from markovbridge.networks import MLP
from markovbridge.training import TrainingConfig

SHAPE = (1, 4, 4)


def counts(n=40, key="data"):
    """(n, 1, 4, 4) uint8 in 0..7."""
    return torch.randint(0, 8, (n, *SHAPE), generator=generator("cpu", key), dtype=torch.uint8)


def transport(**kwargs):
    """An untrained model with dropout, the same every time."""
    own = {"width": 16, "depth": 1, "dropout": 0.2} | kwargs
    process, head = PureDeath(maximum=7), MeanHead()
    with torch.random.fork_rng():
        torch.manual_seed(derive("small"))
        network = MLP(SHAPE, 1, head.outputs(process), **own)
    moments = {"mean": 3.5, "variance": 5.25}
    return Transport(process, network, head, shape=SHAPE, base=None, **moments)


def config(**kwargs):
    own = {"steps": 6, "batch_size": 8, "learning_rate": 1e-2, "warmup": 3, "checkpoint_every": 2}
    return TrainingConfig(**(own | kwargs))


def weights(trainer):
    """Everything that was learned, as one dictionary."""
    return {
        f"{file}/{name}": value.clone()
        for file, group in trainer.learner.tensors().items()
        for name, value in group.items()
    }


def assert_same(one, other):
    """Bit equality of what `weights` gave."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
