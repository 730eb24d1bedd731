"""Training: one loop, on one process or many, that can be stopped and continued exactly."""

from markovbridge.training.config import TrainingConfig
from markovbridge.training.examples import Examples
from markovbridge.training.parallel import accelerator
from markovbridge.training.progress import TrainingState
from markovbridge.training.trainer import Trainer

__all__ = ["Examples", "Trainer", "TrainingConfig", "TrainingState", "accelerator"]
