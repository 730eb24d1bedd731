"""Batches of no rows: everything about given states works and gives none; draws are refused."""

import pytest
import torch

from grid.worlds import INTEGERS
from markovbridge import Independent, LinearDiffusion, MinibatchOT, Transport, exact
from markovbridge.heads import CategoricalHead, EndpointHead, MeanHead, TwoMeansHead
from markovbridge.networks import MLP, Attention, FourierOperator
from markovbridge.processes import DiscreteProcess, DiscreteTimeChain, IntegerProcess, PureDeath

PROCESSES = [process for make in INTEGERS.values() for process, *_ in make()]
PROCESSES.append(LinearDiffusion())
NONE = torch.zeros(0)


def head_of(process):
    if isinstance(process, LinearDiffusion):
        return EndpointHead()
    if isinstance(process, IntegerProcess):
        return TwoMeansHead()
    return MeanHead() if isinstance(process, PureDeath) else CategoricalHead()


def transport(process, coupling=None, **more):
    head = head_of(process)
    network = MLP((2,), process.features, head.outputs(process), width=8, depth=1, **more)
    return Transport(process, network, head, shape=(2,), coupling=coupling)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
def test_processes_take_no_rows(process):
    x, t = torch.zeros(0, 2, dtype=process.dtype), torch.full((0,), 0.5)
    for law in (process.transition(x, NONE + 1, t), process.bridge(x, x, NONE, t, NONE + 1)):
        assert law.sample().shape == (0, 2)
        if not isinstance(process, LinearDiffusion):
            assert law.log_prob(x).shape == (0,)
    if isinstance(process, DiscreteProcess) and process.states is not None:
        assert process.evidence(x, t).shape == (0, 2, process.states)
    if not isinstance(process, LinearDiffusion | DiscreteTimeChain):
        assert process.rates(x, x, t).shape[:2] == (0, 2)
    # As many times as rows: a single time is no empty batch.
    assert process.transition(x, 1.0, 0.5).sample().shape == (0, 2)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
def test_a_loss_of_no_rows_is_no_loss(process):
    model = transport(process)
    x = torch.zeros(0, 2, dtype=process.dtype)
    loss = model.loss(x)
    assert loss.shape == (0,)
    loss.sum().backward()
    with pytest.raises(ValueError, match="n must be at least 1, not 0"):
        model.sample(0, steps=2)
    with pytest.raises(ValueError, match="x1 holds no data point: give at least one row"):
        model.log_likelihood(x)


def test_couplings_networks_and_joint_laws_take_no_rows():
    x, t = torch.zeros(0, 2), torch.full((0,), 0.5)
    for coupling in (Independent(), MinibatchOT(), Independent(torch.ones(4, 2))):
        model = transport(LinearDiffusion(), coupling, condition=1)
        assert model.loss(x, condition=torch.zeros(0, 1)).shape == (0,)
    assert Attention((2,), 1, 3, width=8, depth=1)(torch.zeros(0, 1, 2), t).shape == (0, 3, 2)
    operator = FourierOperator((1, 4), 1, 3, width=8, depth=1)
    assert operator(torch.zeros(0, 1, 1, 4), t).shape == (0, 3, 1, 4)
    process = PureDeath(4)
    law = exact.Empirical(process, torch.tensor([[1, 2], [3, 0]]))(x.long(), t)
    assert law.sample().shape == law.mean.shape == (0, 2)
    assert law.log_prob(x.long()).shape == process.divergence(law, x.long(), x.long(), t).shape
