"""A run to which every verb was applied, for files of it that somebody changed."""

import os

import numpy as np

from markovbridge.cli import main

TINY = ["--network.width", "4", "--network.depth", "1", "--trainer.threads", "1"]
TINY += ["--trainer.warmup", "1", "--trainer.batch_size", "4", "--trainer.checkpoint_every", "1"]
TINY += ["--trainer.sample_steps", "2"]
TINY += ["--trainer.validate_every", "1", "--trainer.steps", "2"]
FEW = ["--steps", "2", "--threads", "1"]
CALLS = {
    "sample": ["--n", "4", *FEW],
    "translate": ["--input", "rows.npy", *FEW],
    "restore": ["--survival", "0.3", "--n", "1", "--draws", "19", *FEW],
    "impute": ["--observed", "top", "--n", "1", "--draws", "19", "--rounds", "1", *FEW],
    "evaluate": ["--n", "4", "--likelihood", "2", "--looks", "2"],
    "diagnose": ["--n", "2", "--pieces", "2"],
    "calibrate": ["--n", "2", "--draws", "3", "--levels", "[0.5]", *FEW],
    "inspect": ["--points", "2", "--states", "1", "--times", "1"],
    "report": [],
    "train": ["--resume", "true"],
}


def every_verb(places):
    """A run to which every verb was applied."""
    run = places / "trained"
    os.chdir(places)
    np.save(places / "rows.npy", np.zeros((3, 1, 8, 8), dtype=np.int64))
    assert main(["train", "digits", "--output", str(run), *TINY]) == 0
    for verb, options in CALLS.items():
        assert main([verb, str(run), *options]) == 0, verb
    return run
