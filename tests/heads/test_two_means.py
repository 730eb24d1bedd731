"""Heads under chains and two-sided processes: first guesses, ends of time, refusals."""

import pytest
import torch

from markovbridge import (
    CategoricalHead,
    LogisticMixtureHead,
    Noised,
    PathKL,
    Transport,
    TwoMeansHead,
)
from markovbridge.laws import SiteLaw
from markovbridge.networks import MLP
from markovbridge.processes import BirthDeath, DiscreteTimeChain, PureDeath, RandomWalk, Setting
from markovbridge.transport.objectives import EndNLL
from problems_chains import CHAINS, UNBOUNDED

TIMES = torch.tensor([0.0, 1e-6, 0.3, 0.7, 1 - 2**-24, 1.0])


def states_at(process, y, t):
    generator = torch.manual_seed(0)
    x0 = process.noised(y).sample(generator=generator)
    return process.bridge(x0, y, 0.0, t, 1.0).sample(generator=generator)


@pytest.mark.parametrize("name", list(UNBOUNDED))
@pytest.mark.parametrize("size", [0.0, 30.0, -30.0])
def test_two_means_are_finite_from_end_to_end(name, size):
    process, head = UNBOUNDED[name], TwoMeansHead()
    t = TIMES.repeat(50)
    y = torch.randint(0, 6, (len(t), 4), generator=torch.manual_seed(1))
    x = states_at(process, y, t)
    raw = torch.full((len(t), 2, 4), size, requires_grad=True)
    mean, variance = torch.tensor(2.5), torch.tensor(3.0)
    law = head(Setting(process, Noised(), mean, variance), raw, x, t)
    inner = (t > 0) & (t < 1)
    loss = process.divergence(law, x, y, t)[inner].sum()
    loss.backward()
    assert bool(torch.isfinite(loss)) and bool(torch.isfinite(raw.grad).all())
    draws = law.sample(generator=torch.manual_seed(2))
    assert bool((draws >= 0).all()) or name == "walk"


def test_zero_output_is_what_the_mean_of_the_data_says():
    process = BirthDeath(immigration=4.0)
    x, t = torch.tensor([[3, 8]]), torch.tensor([0.5])
    setting = Setting(process, Noised(), torch.tensor(2.0), torch.tensor(1.0))
    law = TwoMeansHead()(setting, torch.zeros(1, 2, 2), x, t)
    # At survival 1/2: one unit in two has died, and two immigrants stand beside one survivor.
    torch.testing.assert_close(law.log_up.exp(), torch.tensor([[1.0, 1.0]]))
    torch.testing.assert_close(law.log_down.exp(), torch.tensor([[2.0, 16 / 3]]))


def test_two_means_need_a_process_of_steps():
    with pytest.raises(TypeError, match="not for PureDeath"):
        TwoMeansHead().outputs(PureDeath())


@pytest.mark.parametrize("name", [*CHAINS, *UNBOUNDED])
@pytest.mark.parametrize("head", [CategoricalHead(), LogisticMixtureHead(2)])
def test_tables_are_laws_from_end_to_end(name, head):
    process = CHAINS[name][0] if name in CHAINS else UNBOUNDED[name]
    y = torch.randint(0, process.states, (len(TIMES), 3), generator=torch.manual_seed(1))
    x = states_at(process, y, TIMES)
    raw = torch.randn(len(TIMES), head.outputs(process), 3, generator=torch.manual_seed(3))
    setting = Setting(process, Noised(), torch.tensor(2.0), torch.tensor(2.0))
    law = head(setting, raw, x, TIMES)
    assert isinstance(law, SiteLaw)
    each = [law.site_log_prob(torch.full_like(y, v)).exp() for v in range(process.states)]
    torch.testing.assert_close(torch.stack(each).sum(0), torch.ones(len(TIMES), 3))
    # At the data x_t says all there is to say.
    assert bool((law.site_log_prob(y)[-1] > -1e-3).all())


@pytest.mark.parametrize(
    ("process", "head"),
    [
        (CHAINS["random"][0], CategoricalHead()),
        (CHAINS["gaussian"][0], LogisticMixtureHead(2)),
        (DiscreteTimeChain(torch.full((4, 5, 5), 0.2)), CategoricalHead()),
        (RandomWalk(rate=2.0, centre=2), TwoMeansHead()),
    ],
)
def test_a_transport_learns_and_comes_back_from_disk(process, head, tmp_path):
    shape = (3,)
    network = MLP(shape, process.features, head.outputs(process), width=32, depth=1)
    objective = PathKL(damping=1.0) + (
        EndNLL() if not isinstance(head, TwoMeansHead) else PathKL()
    )
    model = Transport(
        process, network, head, shape=shape, mean=2.0, variance=1.0, objective=objective
    )
    data = torch.tensor([[0, 2, 4], [4, 2, 0]]).repeat(32, 1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for step in range(30):
        loss = model.loss(data, generator=torch.manual_seed(step)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    model.save_pretrained(tmp_path / "model")
    again = Transport.from_pretrained(tmp_path / "model")
    one = model.sample(4, steps=5, generator=torch.manual_seed(7))
    torch.testing.assert_close(again.sample(4, steps=5, generator=torch.manual_seed(7)), one)
