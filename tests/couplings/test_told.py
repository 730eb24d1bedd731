"""Couplings of conditional models: the source is the same whatever the condition."""

from inspect import isabstract

import pytest
import torch
from scipy import stats

from markovbridge import (
    EndpointHead,
    Independent,
    LinearDiffusion,
    MinibatchOT,
    Noised,
    Transport,
    exact,
)
from markovbridge.couplings import Coupling
from markovbridge.data.covariates import Covariate, Covariates


def classes(n):
    """Data of two classes, far from each other, and the class of each in numbers."""
    generator = torch.Generator().manual_seed(n)
    label = torch.randint(2, (n,), generator=generator)
    x1 = 6.0 * label[:, None] - 3 + 0.5 * torch.randn(n, 1, generator=generator)
    return x1, label


def test_optimal_transport_keeps_the_source_of_every_condition():
    process, generator = LinearDiffusion(), torch.Generator().manual_seed(1)
    found = {}
    for batch in range(60):
        x1, label = classes(97)
        told = torch.eye(2)[label]
        other = torch.randint(3, (97, 1), generator=generator) - 1.0
        told = torch.cat([told, torch.where(other < 0, torch.nan, other)], 1)
        if batch % 3 == 0:
            told[:20] = torch.nan
        x0 = MinibatchOT().sources(process, x1, told, generator=generator)
        assert x0.shape == x1.shape
        for row, value in zip(told.tolist(), x0[:, 0].tolist(), strict=True):
            found.setdefault(str(row), []).append(value)
    assert len(found) == 7  # with unknown numbers as values of their own
    for values in found.values():
        assert stats.kstest(values, "norm").pvalue > 1e-5
    # Within a class it is a matching still, and without a condition one of the whole batch.
    x0 = MinibatchOT().sources(process, x1, torch.eye(2)[label], generator=generator)
    for k in range(2):
        order = x1[label == k].squeeze(1).argsort()
        assert bool((x0[label == k].squeeze(1)[order].diff() >= 0).all())
    one, other = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    free = MinibatchOT().sources(process, x1, generator=one)
    assert torch.equal(free, MinibatchOT().pair(process, x1, generator=other))
    assert bool((free.squeeze(1)[x1.squeeze(1).argsort()].diff() >= 0).all())


class Seen(torch.nn.Module):
    """A network that remembers x_0 and the condition that it is shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, features, t, condition):
        self.shown.append((features[:, 1], condition))
        return features[:, :1]


def test_training_pairs_by_the_condition_before_it_is_withheld():
    network = Seen()
    transport = Transport(
        LinearDiffusion(),
        network,
        EndpointHead(),
        shape=(1,),
        coupling=MinibatchOT(preserve=True),
        covariates=Covariates((Covariate("label", ("a", "b")),)),
        condition_dropout=0.5,
    )
    generator = torch.Generator().manual_seed(0)
    labels = []
    for _ in range(40):
        x1, label = classes(64)
        labels.append(label)
        transport.loss(x1, condition=torch.eye(2)[label], generator=generator)
    x0 = torch.cat([shown for shown, _ in network.shown]).squeeze(1)
    withheld = torch.cat([c[:, 0].isnan() for _, c in network.shown])
    assert 0.4 < float(withheld.float().mean()) < 0.6
    assert abs(float(x0.mean())) < 0.2 and abs(float(x0.std()) - 1) < 0.1
    for k in range(2):
        for which in (withheld, ~withheld):
            values = x0[which & (torch.cat(labels) == k)]
            assert stats.kstest(values.numpy(), "norm").pvalue > 1e-5


def test_continuous_covariates_leave_nothing_to_match():
    covariates = Covariates((Covariate("label", ("a", "b")), Covariate("age", (), 40.0, 9.0)))
    for coupling in (MinibatchOT(), Independent()):

        def make(coupling=coupling):
            return Transport(
                LinearDiffusion(), Seen(), EndpointHead(), shape=(1,), coupling=coupling,
                covariates=covariates,
            )  # fmt: skip

        if coupling.batched:
            with pytest.raises(ValueError, match="'age' is continuous: take Independent"):
                make()
        else:
            make()


def every_coupling():
    todo, found = [Coupling], []
    while todo:
        todo += (subclasses := todo.pop().__subclasses__())
        found += subclasses
    return sorted(
        {c for c in found if c.__module__.startswith("markovbridge.") and not isabstract(c)},
        key=lambda c: c.__name__,
    )


MADE = {
    "Pairs": lambda: (
        exact.Gaussian(
            LinearDiffusion(), torch.zeros(1), torch.eye(1), cross=0.5 * torch.eye(1)
        ).coupling
    )
}


@pytest.mark.parametrize("cls", every_coupling())
def test_couplings_that_look_at_other_rows_say_so(cls):
    coupling = (MADE.get(cls.__name__) or cls)()
    process = LinearDiffusion(direction="noising") if cls is Noised else LinearDiffusion()
    x1, _ = classes(50)
    changed = torch.cat([x1[:1] + 20, x1[1:]])
    try:
        one, other = (
            coupling.pair(process, x, generator=torch.Generator().manual_seed(0))
            for x in (x1, changed)
        )
    except ValueError as error:
        assert "pass x0" in str(error)  # pairs are given
        return
    assert torch.equal(one[1:], other[1:]) != coupling.batched
