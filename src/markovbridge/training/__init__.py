"""Training: one loop, on one process or many, that can be stopped and continued exactly.

>>> import torch, markovbridge as mb
>>> from markovbridge.networks import MLP
>>> from markovbridge.training import Trainer, TrainingConfig
>>> x = torch.randint(0, 5, (64, 6))
>>> parts = mb.PureDeath(maximum=4), MLP((6,), 1, 1, width=16, depth=1), mb.MeanHead()
>>> transport = mb.Transport(*parts, shape=(6,))
>>> trainer = Trainer(transport, x, TrainingConfig(steps=4))  # directory="runs/mine" keeps it
>>> for state in trainer:  # to look at every step; or trainer.run(), which gives the model
...     last = state.step
>>> last
4
"""

from markovbridge.training.config import TrainingConfig
from markovbridge.training.examples import Examples
from markovbridge.training.parallel import accelerator
from markovbridge.training.progress import TrainingState
from markovbridge.training.trainer import Trainer

__all__ = ["Examples", "Trainer", "TrainingConfig", "TrainingState", "accelerator"]
