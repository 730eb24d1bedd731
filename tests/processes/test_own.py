"""Processes from outside of the package: what they state is used, whatever their class."""

from abc import update_abstractmethods

import pytest
import torch

import markovbridge as mb
from markovbridge import exact, laws
from markovbridge.doors.randomness import generator
from markovbridge.networks import MLP
from markovbridge.processes import JumpProcess, Setting
from markovbridge.samplers import SecondOrderBridge

URN = mb.Ehrenfest(3)
DATA = torch.tensor([[0, 1], [1, 1], [3, 2], [2, 2], [1, 0], [3, 3]])
ASKED = (
    "transition bridge noised source divergence standardise check project evidence moves rates "
    "expected_rates bounds"
)


class Urn(JumpProcess):
    """Ehrenfest's urn, that is told by hand."""

    schedule, direction, additive = URN.schedule, "noising", True
    features, states = URN.features, URN.states


for name in ASKED.split():
    setattr(Urn, name, lambda self, *args, _name=name: getattr(URN, _name)(*args))
update_abstractmethods(Urn)


def model(process, data=DATA, sites=False):
    law = exact.Empirical(process, data)

    def marginals(x, t, condition=None):
        return law(x, t).sites(process.states)

    return mb.Transport(process, marginals if sites else law, shape=(2,))


@pytest.mark.parametrize(
    "sampler", [mb.Gillespie(), mb.TauLeaping(), SecondOrderBridge(), mb.Bridge()]
)
def test_samplers_ask_what_a_process_states(sampler):
    mine, ours = (
        model(process, sites=True).sample(
            64, steps=3, sampler=sampler, generator=generator("cpu", "own")
        )
        for process in (Urn(), URN)
    )
    assert torch.equal(mine, ours)


def test_any_jump_process_has_a_baseline_of_its_likelihood():
    mine, ours = (
        model(process).log_likelihood(DATA, draws=128, generator=generator("cpu", "own"))
        for process in (Urn(), URN)
    )
    torch.testing.assert_close(mine.nats, ours.nats)
    torch.testing.assert_close(mine.standard_error, ours.standard_error)


def test_a_start_that_tells_of_the_data_has_no_such_baseline():
    """A walk towards data from given starts: the histogram knows nothing of where it began."""
    process = mb.RandomWalk(2.0, centre=1, maximum=3)
    x0 = DATA + torch.tensor([1, -2])
    coupling = mb.Noised()
    assert process.baseline(coupling, DATA, None, 0.0) is not None
    assert process.baseline(coupling, DATA, x0, 0.0) is None
    urn = URN.baseline(coupling, DATA, x0, 0.0)
    assert urn is not None


RATES = torch.tensor([[-1.0, 0.7, 0.3], [0.2, -0.6, 0.4], [0.5, 0.8, -1.3]], dtype=torch.float64)
CHAIN = mb.FiniteChain(RATES, schedule=mb.LinearSchedule())
CHAIN_DATA = torch.tensor([[0, 1], [1, 1], [2, 2], [2, 2], [1, 0], [0, 0]])


class Own(JumpProcess):
    """A chain by five methods, its clock being -log t, as on `LinearSchedule`."""

    def _table(self, s, t):
        """P(x_t = w | x_s = v) for t <= s: (..., 3, 3)."""
        s, t = (torch.as_tensor(time, dtype=torch.float64) for time in (s, t))
        clock = torch.log(s.clamp_min(1e-300) / t.clamp_min(1e-300))
        return torch.linalg.matrix_exp(RATES * clock.clamp(0, 60)[..., None, None])

    def _rows(self, x, s, t):
        table = self._table(s, t)
        index = torch.arange(len(x)) if table.ndim > 2 else torch.zeros(len(x), dtype=torch.long)
        return table.reshape(-1, 3, 3)[index.reshape(-1, *[1] * (x.ndim - 1)), x]

    def transition(self, x, s, t):
        return laws.Categorical(self._rows(x, s, t).log())

    def bridge(self, x, y, s, t, u):
        columns = torch.stack([self._rows(torch.full_like(x, v), t, s) for v in range(3)], -2)
        back = columns.gather(-1, x[..., None, None].expand(*x.shape, 3, 1)).squeeze(-1)
        return laws.Categorical((self._rows(y, u, t) * back).log())

    def source(self, like):
        return laws.Categorical(self._table(1.0, 0.0)[0].log().expand(*like.shape, 3))

    def moves(self, x):
        return torch.arange(3).expand(*x.shape, 3)

    def rates(self, x, y, t):
        rows = self._rows(y, 1.0, t)
        inward = RATES.clamp_min(0).mT[x]
        t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, *[1] * x.ndim)
        return inward * rows / rows.gather(-1, x.unsqueeze(-1)) / t


OWN = Own()


def test_what_a_process_need_not_state_is_what_a_chain_states():
    x = torch.tensor([[0, 1], [2, 0], [1, 2]])
    y = torch.tensor([[1, 1], [0, 2], [2, 2]])
    t = torch.tensor([0.3, 0.55, 0.9], dtype=torch.float64)
    law = laws.Categorical(torch.randn(3, 2, 3, generator=generator("cpu", "own")).double())
    for ask in (
        lambda p: p.states,
        lambda p: p.features,
        lambda p: p.noised(x).log_prob(y),
        lambda p: p.transition(x, 1.0, t).log_prob(y),
        lambda p: p.bridge(x, y, 0.1, t, 1.0).log_prob(x),
        lambda p: p.evidence(x, t),
        lambda p: p.rates(x, y, t),
        lambda p: p.expected_rates(law, x, t),
        lambda p: p.divergence(law, x, y, t),
        lambda p: p.project(x + 2),
        lambda p: Setting(p, mb.Noised(), *torch.ones(2, 2)).standardise(x, t),
    ):
        torch.testing.assert_close(ask(OWN), ask(CHAIN), check_dtype=False)
    for bad, what in ((x - 1, "holds -1"), (x + 1.5, "holds 1.5"), (x + 1, "0 .. 2")):
        with pytest.raises(ValueError, match=what):
            OWN.check(bad)


def test_a_chain_by_five_methods_has_laws_samples_and_a_likelihood():
    models = {process: model(process, CHAIN_DATA) for process in (OWN, CHAIN)}
    x = CHAIN_DATA[:3]
    first, second = (made.law(x, 0.4).site_table(x, 3) for made in models.values())
    torch.testing.assert_close(first, second)
    for sampler in (mb.Bridge(), mb.TauLeaping(), SecondOrderBridge()):
        made = [
            model(process, CHAIN_DATA, sites=True).sample(
                64, steps=4, sampler=sampler, generator=generator("cpu", "own")
            )
            for process in models
        ]
        assert torch.equal(*made)
    mine, ours = (
        made.log_likelihood(CHAIN_DATA, draws=64, generator=generator("cpu", "own"))
        for made in models.values()
    )
    torch.testing.assert_close(mine.nats, ours.nats, atol=1e-6, rtol=0)
    mine, ours = (
        made.log_likelihood(CHAIN_DATA, draws=64, steps=3, generator=generator("cpu", "own"))
        for made in models.values()
    )
    torch.testing.assert_close(mine.nats, ours.nats, atol=1e-6, rtol=0)
    with pytest.raises(TypeError, match="Own states no bound of its rates"):
        models[OWN].sample(4, steps=2, sampler=mb.Gillespie())


def test_a_chain_by_five_methods_trains():
    torch.manual_seed(0)
    network = MLP((2,), OWN.features, 3, width=16, depth=1)
    mine = mb.Transport(OWN, network, mb.CategoricalHead(), shape=(2,))
    chain = mb.Transport(CHAIN, network, mb.CategoricalHead(), shape=(2,))
    mine_loss, loss = (
        model.loss(CHAIN_DATA, generator=generator("cpu", "own")) for model in (mine, chain)
    )
    torch.testing.assert_close(mine_loss, loss, check_dtype=False, rtol=1e-4, atol=1e-5)
    mine_loss.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)
