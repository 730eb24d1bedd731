"""Which bound a joint law in discrete time has, with and without steps."""

import numpy as np
import torch

from likelihoods import check, generator
from markovbridge import Transport, exact
from markovbridge.processes import DiscreteTimeChain


def test_discrete_time_says_which_bound_a_joint_law_has():
    """By enumeration of two dependent sites and two steps: sites on their own, or together."""
    steps, kept = 2, 0.4
    one = kept * np.eye(2) + (1 - kept) / 2
    process = DiscreteTimeChain(np.stack([one, np.full((2, 2), 0.5)]))
    data = np.array([[0.45, 0.05], [0.1, 0.4]])
    states = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    law = exact.Empirical(process, states, torch.from_numpy(data.flatten()))
    transport = Transport(process, law, shape=(2,))
    # At t = 0 everything is forgotten, at t = 1/2 each site is kept or redrawn: the model goes
    # to the middle by the marginal there, of both sites or of each, and then to the end.
    middle = np.kron(one, one).T @ data.flatten()
    apart = np.outer(*(middle.reshape(2, 2).sum(1 - axis) for axis in (0, 1))).flatten()
    pair = np.kron(one, one) * data.reshape(4, 1)  # p(x_1, x_1/2)
    posterior = (pair / pair.sum(0)).reshape(2, 2, 4)
    product = np.einsum("im,jm->ijm", posterior.sum(1), posterior.sum(0)).reshape(4, 4)
    path = np.kron(one, one)
    alone = [
        -(path[y] * np.log(path[y] / apart)).sum() + (path[y] * np.log(product[y])).sum()
        for y in range(4)
    ]
    check(
        transport.log_likelihood(states, draws=4000, generator=generator(), block=2**14),
        torch.tensor(alone),
        0.05,
    )
    together = transport.log_likelihood(
        states, draws=4000, steps=steps, generator=generator(), block=2**14
    )
    check(together, torch.from_numpy(data.flatten()).log(), 0.05)
    assert data.flatten() @ alone < data.flatten() @ np.log(data.flatten()) - 0.05
