"""The examples of categories: an exact law of text, and a process of one's own."""

import math
import runpy
from pathlib import Path

import torch

import markovbridge as mb

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_masked_text(example):
    found, floor = example("masked_text", looks=(2, 8), n=800)
    for errors in found.values():
        assert 0.8 * floor < errors[1] < 0.7 * errors[0]
    # Steps of second order are better, though twice as long.
    assert found["noise", "two looks"][1] < 0.85 * found["noise", "one look a step"][1]


def test_the_posterior_of_a_markov_chain_is_that_of_enumeration():
    names = runpy.run_path(str(EXAMPLES / "masked_text.py"))
    process = mb.UniformChain(names["SIZE"])
    law = names["MarkovText"](process)
    size, length = names["SIZE"], names["LENGTH"]
    x = torch.randint(size, (2, length), generator=torch.Generator().manual_seed(0))
    found = law(x, torch.full((2,), 0.6)).log_probs.exp()
    # The same by messages in log space, along the chain and back.
    seen = process.evidence(x, torch.full((2,), 0.6)).double()
    first, following = names["language"]()
    down = [first.log() + seen[:, 0]]
    for k in range(1, x.shape[1]):
        step = (down[-1].unsqueeze(2) + following.log()).logsumexp(1)
        down.append(step + seen[:, k])
    up = [torch.zeros_like(down[0])]
    for k in range(x.shape[1] - 1, 0, -1):
        up.insert(0, (following.log() + (up[0] + seen[:, k]).unsqueeze(1)).logsumexp(2))
    expected = (torch.stack(down, 1) + torch.stack(up, 1)).log_softmax(2).exp()
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)


def test_own_process(example, capsys):
    report, made, right, nats, error = example("own_process", steps=120, samples=200, looks=64)
    assert "rates" in report.checked
    assert made.shape == (200, 4, 4) and set(made.unique().tolist()) == {0, 1}
    assert right > 0.1  # by chance 0.0005
    assert -math.log(30) - 3 < nats < -math.log(30) + 4 * error
    assert "no model beats -3.40" in capsys.readouterr().out
