"""The reverse process: matrices, generator and ratios against each other and Bayes."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import expm

from markovbridge import PureDeath, exact, processes
from markovbridge.couplings import Noised
from markovbridge.exact import Reverse
from markovbridge.laws import Categorical
from markovbridge.processes import FiniteChain
from problems_chains import CHAINS, UNBOUNDED, data_law, elapsed, joint_law, speed, trap

S, T, U = 0.25, 0.6, 0.85
NAMES = list(CHAINS)


def reverse_of(name):
    process, rates, states = CHAINS[name]
    return Reverse(process, data_law(states)), rates


@pytest.mark.parametrize("name", NAMES)
def test_matrices_are_bayes_and_compose(name):
    reverse, rates = reverse_of(name)
    data = np.zeros(len(rates))
    data[: len(reverse.data)] = reverse.data.numpy()
    before = data @ expm(rates * elapsed(S, 1.0))
    after = data @ expm(rates * elapsed(T, 1.0))
    expected = (
        after * expm(rates * elapsed(S, T)).T / np.where(before > 0, before, np.inf)[:, None]
    )
    assert_allclose(reverse.marginal(S).numpy(), before, atol=1e-12)
    assert_allclose(reverse.matrix(S, T).numpy(), expected, atol=1e-12)
    for s in (0.0, S):
        torch.testing.assert_close(
            reverse.matrix(s, T) @ reverse.matrix(T, U), reverse.matrix(s, U), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("name", NAMES)
def test_generator_is_rates_times_score_ratios(name):
    reverse, rates = reverse_of(name)
    ratios = reverse.ratios(T)
    law = reverse.marginal(T)
    torch.testing.assert_close(
        ratios[law > 0] * law[law > 0, None], law.expand(int((law > 0).sum()), -1)
    )
    expected = rates.T * ratios.nan_to_num(0.0).numpy() * speed(T)
    np.fill_diagonal(expected, 0)
    expected -= np.diag(expected.sum(1))
    assert_allclose(reverse.generator(T).numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_generator_is_the_derivative_of_the_matrix(name):
    reverse, _ = reverse_of(name)
    s, h = T - 0.05, 1e-3
    slope = sum(
        weight * (reverse.matrix(s, T + k * h) - reverse.matrix(s, T - k * h)) / (60 * h)
        for k, weight in ((1, 45), (2, -9), (3, 1))  # sixth order: errors below 1e-9
    )
    expected = reverse.matrix(s, T) @ reverse.generator(T)
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-9)


def test_backward_equation_of_the_marginals():
    reverse, _ = reverse_of("random")
    h = 1e-5
    slope = (reverse.marginal(T + h) - reverse.marginal(T - h)) / (2 * h)
    torch.testing.assert_close(
        reverse.marginal(T) @ reverse.generator(T), slope, rtol=0, atol=1e-8
    )


def test_pure_death_has_the_published_reverse_rate():
    process, data = PureDeath(maximum=5), data_law(6)
    reverse = Reverse(process, data)
    law, n = reverse.marginal(T), torch.arange(5, dtype=torch.float64)
    births = reverse.generator(T).diagonal(1)
    expected = (n + 1) * law[1:] / law[:-1] * speed(T)
    torch.testing.assert_close(births, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["birth-death", "birth"])
def test_unbounded_processes_in_a_window(name):
    reverse = Reverse(UNBOUNDED[name], data_law(6), size=40)
    torch.testing.assert_close(
        reverse.matrix(S, T)[:12] @ reverse.matrix(T, U),
        reverse.matrix(S, U)[:12],
        rtol=0,
        atol=1e-9,
    )
    law = reverse.marginal(T)
    h = 1e-4
    slope = (reverse.marginal(T + h) - reverse.marginal(T - h)) / (2 * h)
    torch.testing.assert_close(law @ reverse.generator(T), slope, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="above `size`"):
        Reverse(UNBOUNDED[name], data_law(6), size=7).marginal(0.1)
    with pytest.raises(ValueError, match="combinations"):
        Reverse(UNBOUNDED[name], torch.ones(6, 6, 6), size=40)


@pytest.mark.parametrize("name", ["random", "masked", "ehrenfest"])
def test_two_sites(name):
    process, rates, states = CHAINS[name]
    size = min(states, 4)
    reverse = Reverse(process, joint_law(size))
    n = process.size
    both = np.kron(expm(rates * elapsed(S, T)), expm(rates * elapsed(S, T)))
    assert_allclose(reverse.transition(T, S).numpy(), both, atol=1e-12)
    generator = np.kron(rates, np.eye(n)) + np.kron(np.eye(n), rates)
    ratios = reverse.ratios(T).nan_to_num(0.0).numpy()
    expected = generator.T * ratios * speed(T)
    np.fill_diagonal(expected, 0)
    expected -= np.diag(expected.sum(1))
    assert_allclose(reverse.generator(T).numpy(), expected, rtol=1e-8, atol=1e-10)


def test_a_data_set_and_its_table_agree():
    process = processes.UniformChain(4)
    points = torch.tensor([[0, 1], [0, 1], [3, 2]])
    table = torch.zeros(4, 4)
    table[0, 1], table[3, 2] = 2, 1
    one, two = Reverse(process, exact.Empirical(process, points)), Reverse(process, table)
    torch.testing.assert_close(one.matrix(S, T), two.matrix(S, T))
    torch.testing.assert_close(one.generator(T), two.generator(T))


def sampled(process, data, times):
    """Law of the bridge sampler's samples with the exact law per site, as a table."""
    model = _Exact(process, Reverse(process, data))
    start = model.reverse.marginal(times[0]).reshape((process.size,) * data.ndim)
    return exact.output_law(model, times, states=process.size, sites=data.ndim, start=start)


class _Exact:
    """The exact law of x_1, each site on its own."""

    def __init__(self, process, reverse):
        self.process, self.reverse, self.coupling = process, reverse, Noised()

    def law(self, x, t, condition=None):
        table = self.reverse.matrix(t, 1.0)
        size, sites = self.process.size, x.shape[1]
        index = (x * size ** torch.arange(sites - 1, -1, -1)).sum(1)
        joint = table[index].reshape(len(x), *[size] * sites)
        marginals = [
            joint.movedim(1 + i, 1).reshape(len(x), size, -1).sum(2) for i in range(sites)
        ]
        return Categorical(torch.stack(marginals, 1).log())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("start", [0.0, 0.35])
def test_a_sampler_with_the_exact_posterior_gives_the_data(name, start):
    process, _, states = CHAINS[name]
    data = torch.zeros(process.size, dtype=torch.float64)
    data[:states] = data_law(states)
    for steps in (1, 4):
        times = np.linspace(start, 1, steps + 1).tolist()
        torch.testing.assert_close(sampled(process, data, times), data, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["ring", "masked", "gaussian"])
def test_with_two_sites_the_error_falls_as_the_step(name):
    process, _, states = CHAINS[name]
    size = process.size
    data = torch.zeros(size, size, dtype=torch.float64)
    data[:states, :states] = joint_law(states)
    for start in (0.0, 0.35):
        errors = []
        for steps in (5, 10, 20):
            times = np.linspace(start, 1, steps + 1).tolist()
            errors.append(0.5 * float((sampled(process, data, times) - data).abs().sum()))
        order = np.log2(errors[0] / errors[1]), np.log2(errors[1] / errors[2])
        assert order[1] == pytest.approx(1, abs=0.15), (errors, order)


def test_reverse_of_a_trap_gives_no_row_to_what_never_happens():
    reverse = Reverse(FiniteChain(trap(4)), torch.tensor([0.0, 0.0, 0.0, 1.0]))
    matrix = reverse.matrix(S, T)
    assert float(matrix[:3].abs().sum()) == 0
    torch.testing.assert_close(matrix[3], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64))
    assert bool(reverse.ratios(T)[:3].isnan().all())
