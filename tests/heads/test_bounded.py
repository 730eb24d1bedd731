"""Every head with every base law under every bounded process: nothing lies beyond the data."""

import warnings
from functools import cache

import pytest
import torch
from torch import nn

import markovbridge as mb
from grid.worlds import INTEGERS
from heads.test_checks import HEADS
from markovbridge import exact, heads, laws
from markovbridge.transport import features

BOUNDED = [
    process for made in INTEGERS.values() for process, _, _ in made() if process.states is not None
]
FITS = {
    kind: kind()
    for kind in vars(exact).values()
    if isinstance(kind, type) and issubclass(kind, exact.BaseFit) and kind is not exact.BaseFit
}
TABLES = (heads.CategoricalHead, heads.LogisticMixtureHead, heads.CentredHead)
DATA = torch.tensor([[0, 2], [1, 2], [2, 0], [0, 0], [1, 1], [2, 2], [0, 1], [0, 0]])


class Wild(nn.Module):
    """Outputs of any size, the same for the same features."""

    def __init__(self, outputs, scale):
        super().__init__()
        self.outputs, self.scale = outputs, scale

    def forward(self, seen, t, condition=None):
        phase = torch.arange(1.0, self.outputs + 1).reshape(-1, *[1] * (seen.ndim - 2))
        return self.scale * torch.sin(37 * phase + seen.sum(1, keepdim=True))


def model(process, head, base, scale):
    """A model, or the library's refusal."""
    coupling = mb.Noised()
    seen = features(process, coupling, base=base)
    assert seen >= 1
    mean, variance = mb.statistics(DATA)
    network = Wild(head.outputs(process), scale)
    return mb.Transport(
        process, network, head, shape=(2,), mean=mean, variance=variance, base=base
    )


@cache
def fitted(place):
    """The base laws that can be fitted under a process."""
    found = []
    for fit in FITS.values():
        try:
            found.append(fit(BOUNDED[place], DATA))
        except (TypeError, ValueError) as error:
            assert len(str(error)) > 30 and "\n" not in str(error)
    return found


def check_end(head, law, x, process):
    """A law that says where its values end ends where the data do."""
    top = process.states - 1
    if isinstance(law, laws.LogisticMixture):
        law = law.table()
    if law.categories is not None:
        assert law.categories == process.states
    elif type(head) in TABLES:
        raise AssertionError(f"{law} has no end")
    if getattr(head, "bounded", False):
        assert float(law.mean.max()) <= top + 1e-4


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_nothing_lies_beyond_the_data(head):
    for place, process in enumerate(BOUNDED):
        for base in (None, "moments", *fitted(place)):
            scale = 6.0 * (base is not None)
            try:
                transport = model(process, head, base, scale)
            except (TypeError, ValueError) as error:
                assert len(str(error)) > 30 and "\n" not in str(error)
                continue
            if base is not None and transport.base is None:
                continue  # it has nothing to start from, and is that of before
            generator = torch.Generator().manual_seed(place)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of samples unlike the data, which they are
                drawn = transport.sample(4, steps=2, generator=generator, block=4)
            assert int(drawn.min()) >= 0 and int(drawn.max()) < process.states, process
            x0 = transport.coupling.pair(process, DATA, generator=generator)
            for t in (0.0, 0.6, 1.0):
                x = process.bridge(x0, DATA, 0.0, t, 1.0).sample(generator=generator)
                law = transport.law(x, t)
                assert bool(law.mean.isfinite().all()) and bool((law.variance >= 0).all())
                check_end(head, law, x, process)
