"""Small transports of random weights, and a network that remembers what it was given."""

import torch
from torch import nn

from markovbridge import (
    MeanHead,
    PureDeath,
    Transport,
)
from markovbridge.doors.randomness import generator
from markovbridge.networks import MLP

SHAPE = (1, 2, 3)


def random_weights(network, key="weights"):
    g = generator("cpu", key)
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=g))
    return network


def transport(head=None, maximum=9, **kwargs):
    """An untrained model with weights that are not zero, and dropout."""
    head = MeanHead() if head is None else head
    process = PureDeath(maximum)
    network = MLP(SHAPE, 1, head.outputs(process), width=16, depth=1, dropout=0.3)
    parts = {"mean": 3.0, "variance": 5.0} | kwargs
    return Transport(process, random_weights(network), head, shape=SHAPE, **parts)


def data(n, maximum=9, key="data"):
    g = generator("cpu", key)
    return torch.randint(0, maximum + 1, (n, *SHAPE), generator=g, dtype=torch.uint8)


class Watching(nn.Module):
    """A user's network: it writes down what it is given, and answers with zeros."""

    def __init__(self, outputs=1):
        super().__init__()
        self.outputs, self.calls = outputs, []
        self.weight = nn.Parameter(torch.zeros(3))
        self.part = nn.Dropout(0.5)

    def forward(self, features, t, condition=None):
        self.calls.append((features, t, condition, self.training, self.part.training))
        return features.new_zeros(len(features), self.outputs, *features.shape[2:])


def watching(**kwargs):
    return Transport(PureDeath(9), Watching(), MeanHead(), shape=SHAPE, mean=3.0, **kwargs)
