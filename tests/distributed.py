"""What test_distributed.py does in two processes."""

import sys
from pathlib import Path

import torch

from markovbridge.training import Trainer

sys.path.insert(0, str(Path(__file__).with_name("training")))

import small  # noqa: E402


def train(directory, steps, **kwargs):
    config = small.config(
        steps=steps, accumulation=2, log_every=3, validate_every=3, sample_every=3, sample_steps=2
    )
    trainer = Trainer(
        small.transport(),
        small.counts(),
        config,
        validation=small.counts(20, "validation"),
        directory=directory,
        **kwargs,
    )
    trainer.run()
    return trainer


def main(rank, directory):
    whole = train(directory / "whole", 6)
    world = whole.accelerator.num_processes
    assert rank == whole.accelerator.process_index
    train(directory / "cut", 4)
    again = train(directory / "cut", 6, resume=True)
    small.assert_same(small.weights(again), small.weights(whole))
    found = {
        "weights": small.weights(whole),
        "held_out": torch.tensor(whole.validate(), dtype=torch.float64),
    }
    torch.save(found | {"world": torch.tensor(world)}, directory / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()
