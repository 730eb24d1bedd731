"""A head that a model is made with can be called: what does not fit is refused before."""

from itertools import product

import pytest
import torch

import markovbridge as mb
from grid.worlds import INTEGERS
from markovbridge import heads
from markovbridge.processes import GammaProcess, Setting

HEADS = [
    mb.MeanHead(),
    mb.MeanHead(bounded=True),
    mb.NegativeBinomialHead(),
    heads.CategoricalHead(),
    heads.LogisticMixtureHead(),
    heads.CentredHead(),
    heads.TwoMeansHead(),
    heads.GammaHead(),
    heads.JointHead(),
    heads.JointHead(given_noise=heads.CategoricalHead(), rule="log"),
    *(mb.EndpointHead(predicts) for predicts in ("end", "residual", "drift", "noise", "score")),
]
PROCESSES = [process for made in INTEGERS.values() for process, _, _ in made()]
PROCESSES += [
    GammaProcess(3.0),
    mb.LinearDiffusion(mb.Brownian(0.8)),
    mb.LinearDiffusion(mb.VP(), direction="noising"),
]


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_what_passes_the_check_can_be_called(head):
    passed = 0
    for process, coupling in product(PROCESSES, (mb.Noised(), mb.Independent())):
        try:
            head.check(process, coupling)
        except (TypeError, ValueError) as error:
            assert len(str(error)) > 30
            continue
        passed += 1
        setting = Setting(process, coupling, torch.ones(2), torch.ones(2))
        x = process.source(torch.zeros(3, 2, dtype=process.dtype)).sample()
        raw = torch.zeros(3, head.outputs(process), 2)
        law = head(setting, raw, x, torch.full((3,), 0.5))
        assert bool(torch.isfinite(law.mean).all()), process
    assert passed


def test_every_head_is_here():
    kinds = {kind for kind in vars(heads).values() if isinstance(kind, type)}
    kinds = {kind for kind in kinds if issubclass(kind, heads.Head)} - {heads.Head}
    assert kinds == {type(head) for head in HEADS}
