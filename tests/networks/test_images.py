"""What `Images` gives a module, and what its weights remember."""

import pytest
import torch
from torch import nn

from markovbridge import MeanHead, PureDeath, Transport
from markovbridge.networks import Images
from markovbridge.training import Trainer, TrainingConfig


class Given(nn.Module):
    """A module that notes what it is given beside images."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(1, 1, 1)

    def note(self, x, **given):
        self.given = {name for name, value in given.items() if isinstance(value, torch.Tensor)}
        return self.mix(x)


class Flagged(Given):
    def forward(self, x, t, return_features=False):
        return self.note(x, t=t, return_features=return_features)


class Told(Given):
    def forward(self, x, timestep=None, class_labels=None, return_dict=True):
        return self.note(x, timestep=timestep, class_labels=class_labels, return_dict=return_dict)


class Required(Given):
    def forward(self, x, when, what):
        return self.note(x, when=when, what=what)


class Still(Given):
    def forward(self, x, scale=1.0):
        return self.note(x, scale=scale)


def test_arguments_with_a_default_are_given_what_they_are_called():
    x, t, told = torch.zeros(2, 1, 1, 4, 4), torch.rand(2), torch.rand(2, 3)
    for kind, names in ((Told, {"timestep", "class_labels"}), (Required, {"when", "what"})):
        network = Images(kind())
        network(x, t, told)
        assert network.module.given == names
    for kind, names in ((Flagged, {"t"}), (Still, set())):
        network = Images(kind())
        network(x, t)
        assert network.module.given == names
        with pytest.raises(ValueError, match=f"{kind.__name__} takes no condition; let its forw"):
            network(x, t, told)


def transport(times):
    return Transport(PureDeath(7), Images(Told(), times), MeanHead(), shape=(1, 4, 4))


def test_weights_remember_what_times_were_multiplied_by(tmp_path):
    transport(1000.0).save_pretrained(tmp_path / "model")
    again = Images(Told(), 1000)
    Transport.from_pretrained(tmp_path / "model", network=again)
    other = "times of Images is 1, and these weights are of times 1000; make it with times=1000"
    with pytest.raises(ValueError, match=other):
        Transport.from_pretrained(tmp_path / "model", network=Images(Told()))
    options = {"directory": tmp_path / "run", "config": TrainingConfig(steps=2, batch_size=4)}
    x = torch.randint(0, 8, (8, 1, 4, 4), dtype=torch.uint8)
    Trainer(transport(1000), x, **options).run()
    with pytest.raises(ValueError, match=other):
        Trainer(transport(1), x, resume=True, **options)
    half = Images(Told(), 0.3).to(torch.bfloat16)
    half.load_state_dict(Images(Told(), 0.3).to(torch.bfloat16).state_dict())
