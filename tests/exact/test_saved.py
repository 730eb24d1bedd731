"""Every law of `exact` that can be a base is saved with its model and comes back whole."""

import dataclasses

import pytest
import torch
from torch import nn

import markovbridge as mb
from markovbridge import exact
from markovbridge.covariances import Exponential, Torus
from markovbridge.data.covariates import Covariates
from markovbridge.networks import MLP
from markovbridge.storage.config import together
from markovbridge.transport import features
from markovbridge.transport.saved import hash_tensors, hash_weights, stored

DEATH, FLOW = mb.PureDeath(), mb.LinearDiffusion(mb.VP(), direction="noising")
COUNTS = torch.tensor([[0, 2], [3, 1], [5, 4]])
THIRD = torch.tensor([1 / 3, 2.0]).double()  # which no text of few digits says
KINDS = Covariates.fit({"kind": list("ab" * 15)}, range(30), categorical=["kind"])
ROWS = COUNTS.repeat(10, 1)
TOLD = KINDS.encode({"kind": list("ab" * 15)}), KINDS
POISSON = exact.Poisson(DEATH, THIRD)
SPREAD = torch.tensor([[1.0, 1 / 3], [1 / 3, 2.0]]).double()
LAWS = {
    exact.Poisson: POISSON,
    exact.Binomial: exact.Binomial(DEATH, 9, torch.tensor([1 / 3, 0.7])),
    exact.NegativeBinomial: exact.NegativeBinomial(DEATH, THIRD, 2.5),
    exact.ZeroInflatedPoisson: exact.ZeroInflatedPoisson(DEATH, 0.3, THIRD),
    exact.Mixture: exact.Mixture(DEATH, (0.25, 0.75), (POISSON, exact.Poisson(DEATH, 2 * THIRD))),
    exact.Empirical: exact.Empirical(DEATH, COUNTS, torch.tensor([0.2, 0.3, 0.5]).double()),
    exact.Gaussian: exact.Gaussian.coupled(FLOW, mb.Noised(), THIRD, SPREAD),
    exact.GaussianField: exact.GaussianField(FLOW, Torus(Exponential(1 / 3, 2.0), 1), THIRD),
    exact.CountMixture: exact.FitMixture((2,)).told(DEATH, ROWS, *TOLD),
    exact.LinearCounts: exact.FitLinearCounts()(DEATH, COUNTS),
    exact.Frequencies: exact.FitFrequencies()(mb.PureDeath(6), COUNTS),
}
NO_BASE = {exact.Reverse, exact.DataLaw}  # a reading of a law in the other direction of time


def model(law):
    head = mb.MeanHead() if law.process.thins else mb.EndpointHead()
    if law.process.thins and law.process.states is not None:
        head = mb.heads.CategoricalHead()
    network = MLP(
        (2,), features(law.process, law.coupling, base=law), head.outputs(law.process), width=4
    )
    moments = {"mean": THIRD, "variance": 2 * THIRD}
    return mb.Transport(law.process, network, head, shape=(2,), base=law, **moments).eval()


def numbers(value):
    """All tensors of a law."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, nn.Module):
        return list(value.state_dict().values())
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in numbers(item)]
    if dataclasses.is_dataclass(value):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return numbers(fields)
    return []


@pytest.mark.parametrize("kind", LAWS, ids=lambda kind: kind.__name__)
def test_a_law_is_saved_and_loaded_to_the_bit(kind, tmp_path):
    law, made = LAWS[kind], model(LAWS[kind])
    made.save_pretrained(tmp_path / "m")
    found = mb.Transport.from_pretrained(tmp_path / "m")
    assert type(found.base) is kind
    for one, other in zip(numbers(law), numbers(found.base), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
    assert hash_weights(found) == hash_weights(made) == hash_tensors(stored(tmp_path / "m")[1])
    x = COUNTS if not law.process.dtype.is_floating_point else COUNTS.float()
    assert torch.equal(made.law(x, 0.4).mean, found.law(x, 0.4).mean)
    found.save_pretrained(tmp_path / "again")
    files = [tmp_path / name / "model.safetensors" for name in ("m", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    if not isinstance(law, nn.Module):  # as it stands where a network would, likewise
        alone = mb.Transport(law.process, law, shape=(2,))
        alone.save_pretrained(tmp_path / "alone")
        again = mb.Transport.from_pretrained(tmp_path / "alone")
        assert torch.equal(alone.law(x, 0.4).mean, again.law(x, 0.4).mean)


def test_numbers_of_laws_that_are_no_modules_are_among_the_weights():
    one, other = model(POISSON), model(exact.Poisson(DEATH, 2 * THIRD))
    other.load_state_dict(one.state_dict())
    assert hash_weights(one) != hash_weights(other)
    assert hash_weights(one.network) == hash_weights(other.network)
    hashes = {hash_weights(mb.Transport(DEATH, m.base, shape=(2,))) for m in (one, other)}
    assert len(hashes) == 2


def test_every_law_is_here():
    kinds = {kind for kind in vars(exact).values() if isinstance(kind, type)}
    assert {k for k in kinds if issubclass(k, exact.DataLaw)} - NO_BASE == set(LAWS)


def test_tensors_are_not_in_the_text_and_a_lost_one_is_named(tmp_path):
    made = model(POISSON)
    made.save_pretrained(tmp_path / "m")
    text = (tmp_path / "m" / "config.json").read_text()
    assert '"law/base/0"' in text and "0.3333333" not in text
    with pytest.raises(ValueError, match="no tensor 'law/base/0' beside the configuration"):
        together({"mean": {"tensor": "law/base/0"}}, {})
