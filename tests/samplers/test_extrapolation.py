"""What is drawn is bounded by what training has seen, and what lies far out is reported."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from markovbridge import (
    LinearDiffusion,
    Masking,
    Noised,
    PureDeath,
    Transport,
    heads,
    statistics,
)
from markovbridge.cli.sample import _strange
from markovbridge.counts.files import Facts
from markovbridge.data.rows import parts
from markovbridge.data.sparse import SparseRows
from markovbridge.evaluation.expectations import expected
from markovbridge.heads import CentredHead, EndpointHead, Head, MeanHead, NegativeBinomialHead
from markovbridge.networks import MLP
from markovbridge.processes import Setting
from markovbridge.samplers import Adaptive, Bridge, Trapezoidal
from markovbridge.samplers.extrapolation import capped, extremes, far_out, narrow
from markovbridge.training import Trainer, TrainingConfig
from markovbridge.training.run_folder import RunFolder

SEEN = torch.tensor([[0, 0], [40, 900]])


class Says(torch.nn.Module):
    """A network whose outputs are all one number, which can be trained."""

    def __init__(self, value, outputs=1):
        super().__init__()
        self.value, self.outputs = torch.nn.Parameter(torch.tensor(float(value))), outputs

    def forward(self, features, t, condition=None):
        return self.value.expand(len(features), self.outputs, *features.shape[2:])


def transport(value, head=None, **more):
    head = MeanHead(link="exp") if head is None else head
    process = PureDeath()
    network = Says(value, head.outputs(process))
    mean = torch.tensor([10.0, 300.0])
    return Transport(process, network, head, shape=(2,), mean=mean, base=None, **more)


def test_extremes_are_those_of_all_parts():
    x = torch.from_numpy(np.random.default_rng(0).poisson(5.0, (5000, 3))).to(torch.int32)
    assert sum(1 for _ in parts(x)) >= 1
    found = extremes(x)
    assert found.dtype == torch.int64
    assert found.tolist() == [x.amin(0).tolist(), x.amax(0).tolist()]
    assert extremes(x.double() / 3).dtype == torch.float32


def made_heads():
    """Every head of pure death, of the parameters that make another law of it."""
    found = [MeanHead(kernel, link=link) for kernel in ("poisson", "stochastic", "nearest")
             for link in ("softplus", "exp")]  # fmt: skip
    found += [
        NegativeBinomialHead(),
        NegativeBinomialHead(3),
        heads.CategoricalHead(),
        MeanHead(bounded=True),
    ]
    found += [heads.LogisticMixtureHead(), CentredHead(), heads.JointHead(MeanHead(link="exp"))]
    # Of diffusions, walks and amounts, whose laws have no scale, or say no counts.
    others = {EndpointHead, heads.TwoMeansHead, heads.GammaHead}
    assert {c for c in vars(heads).values() if isinstance(c, type) and issubclass(c, Head)} == (
        {Head} | others | {type(head) for head in found}
    ), "give an instance of the new head here"
    return found


@pytest.mark.parametrize("head", made_heads(), ids=repr)
def test_no_head_expects_more_than_training_bears_out(head):
    bounded = isinstance(head, CentredHead | heads.CategoricalHead | heads.LogisticMixtureHead)
    maximum = 900 if bounded or getattr(head, "bounded", False) else None
    process = PureDeath(maximum)
    x = torch.tensor([[0, 0], [30, 1000], [70, 100], [500, 900]]).clamp_max(maximum or 1000)
    t = torch.tensor([0.01, 0.2, 0.6, 0.99])
    q = process.schedule.mortality(t.double())[:, None]
    largest = SEEN[1].double()
    most = torch.maximum(2 * largest, x + 2 * largest * q)
    moments = torch.tensor([10.0, 300.0]), torch.tensor([30.0, 3000.0])
    setting = Setting(process, Noised(), *moments)
    for value in (-3.0, 0.0, 4.0, 19.0):
        raw = torch.full((4, head.outputs(process), 2), value)
        law = head(setting, raw, x, t)
        cut = capped(process, law, x, t, SEEN)
        if maximum is None:
            # Rounding adds at most a unit.
            assert bool((cut.mean <= most * (1 + 1e-5) + isinstance(head, MeanHead)).all())
            if value == 19.0 and getattr(head, "link", "exp") == "exp":
                assert float(law.mean.max()) > float(most.max())
        inside = law.mean < 0.9 * most
        if isinstance(head, NegativeBinomialHead) and head.components > 1:
            continue  # a component may be cut where the mean is inside
        assert torch.equal(cut.mean[inside], law.mean[inside])
        assert capped(process, law, x, t, None) is law


@pytest.mark.parametrize("sampler", [Bridge(), Trapezoidal(), Adaptive(0.5)], ids=repr)
def test_an_exponent_that_runs_away_is_held_and_reported(sampler):
    steps = 1 if isinstance(sampler, Adaptive) else 20
    options = {"steps": steps, "sampler": sampler}
    wild = transport(6.0)
    free = wild.sample(64, generator=torch.Generator().manual_seed(0), **options)
    assert int(free.min()) > 10 * 40
    wild.seen = SEEN
    wild.site_names = ["gene", "other"]
    sentence = r"64 of 64 samples lie far .*in feature gene \(largest .*, in training 40\)"
    with pytest.warns(UserWarning, match=sentence):
        held = wild.sample(64, generator=torch.Generator().manual_seed(0), **options)
    largest = held.amax(0)
    assert bool((largest < 4.5 * SEEN[1]).all()) and bool((largest > 1.5 * SEEN[1]).all())


def test_expectations_and_draws_of_the_unknown_are_held():
    x = torch.tensor([[3, 40], [60, 2000]])
    wild = transport(9.0, seen=SEEN)
    mean = expected(wild, x, 0.5)
    q = float(wild.process.schedule.mortality(0.5))
    most = torch.maximum(2.0 * SEEN[1], x + 2 * q * SEEN[1])
    torch.testing.assert_close(mean.double(), most.double(), rtol=1e-5, atol=1e-5)
    wild = transport(9.0, seen=SEEN, masking=Masking())
    known = torch.tensor([[True, False]] * 2)
    made = wild.impute(x, known, steps=10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made[:, 0], x[:, 0])
    assert int(made[:, 1].max()) < 4.5 * 900


def test_in_the_range_of_the_data_nothing_changes():
    for head in (
        MeanHead(),
        MeanHead(link="exp"),
        NegativeBinomialHead(3),
        MeanHead("stochastic"),
    ):
        torch.manual_seed(0)
        network = MLP((2,), 1, head.outputs(PureDeath()), width=8)
        model = Transport(
            PureDeath(), network, head, shape=(2,), mean=torch.tensor([10.0, 300.0]),
            variance=torch.tensor([30.0, 3000.0]),
        )  # fmt: skip
        draws = []
        for seen in (None, SEEN):
            model.seen = seen
            draws.append(model.sample(64, steps=10, generator=torch.Generator().manual_seed(3)))
        assert torch.equal(*draws)


def test_losses_and_gradients_are_those_of_the_network():
    x1 = torch.tensor([[30, 800], [0, 100]])
    found = []
    for seen in (None, SEEN):
        model = transport(9.0, seen=seen)
        loss = model.loss(x1, generator=torch.Generator().manual_seed(0)).mean()
        loss.backward()
        found.append((float(loss.detach()), float(model.network.value.grad)))
    assert found[0] == found[1]
    assert math.isfinite(found[0][0]) and found[0][1] > 0


def test_training_remembers_its_data_and_files_keep_it(tmp_path):
    x = torch.from_numpy(np.random.default_rng(0).poisson(3.0, (300, 2)))
    model = transport(0.0)
    result = Trainer(model, x, TrainingConfig(steps=2, batch_size=16)).run()
    assert torch.equal(result.seen, extremes(x))
    assert "seen" not in result.state_dict()  # so that older checkpoints fit
    Trainer(model, 2 * x, TrainingConfig(steps=1, batch_size=16)).run()
    assert model.seen.tolist() == [x.amin(0).tolist(), (2 * x).amax(0).tolist()]
    network = MLP((2,), 1, 1, width=8)
    for seen in (None, SEEN):
        kept = Transport(PureDeath(), network, MeanHead(), shape=(2,), seen=seen)
        kept.save_pretrained(tmp_path / "model")
        found = Transport.from_pretrained(tmp_path / "model")
        assert found.seen is None if seen is None else torch.equal(found.seen, seen)
    with pytest.raises(ValueError, match=r"seen .*\(2, 2\), not \(2, 3\)"):
        Transport(PureDeath(), network, MeanHead(), shape=(2,), seen=torch.zeros(2, 3))


def test_what_chance_does_is_not_reported():
    rng = np.random.default_rng(0)
    laws = (stats.poisson(0.01), stats.poisson(3), stats.nbinom(2, 0.1), stats.nbinom(3, 3e-6))
    data, more = (
        torch.from_numpy(np.stack([law.rvs(2000, random_state=rng) for law in laws], 1))
        for _ in range(2)
    )
    real = torch.from_numpy(rng.normal(5.0, (1e-3, 1.0, 30.0), (4000, 3))).float()
    for seen, samples in ((data, more), (real[:2000], real[2000:])):
        assert far_out(samples, extremes(seen)) is None
        assert narrow(samples, extremes(seen), seen.double().var(0)) is None
    # Values of bounded counts cannot lie outside.
    full = torch.randint(256, (50, 1, 4, 4))
    assert far_out(torch.full_like(full, 255), extremes(full)) is None


def test_reports_name_the_place_and_the_values():
    data = torch.randint(0, 11, (100, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    samples = data.clone()
    samples[:3, 0, 1, 0] = torch.tensor([25, 1000, 27])
    found = far_out(samples, extremes(data))
    assert found == (
        "2 of 100 samples lie far outside of the training data: 2 in site (0, 1, 0) (largest "
        "1,000, in training 10); there the model extrapolates"
    )
    reals = torch.linspace(-1, 1, 100)[:, None].repeat(1, 5)
    low = reals.clone()
    low[7] = -4.5
    found = far_out(low, extremes(reals), list("abcde"))
    assert "1 of 100 samples" in found and "and in 2 others" in found
    assert "1 in feature a (least -4.5, in training -1)" in found
    wide = torch.linspace(0, 1, 400)[:, None] * torch.tensor([1.0, 10.0, 100.0])
    found = narrow(torch.tensor([0.1, 0.1, 0.2]) * wide, extremes(wide), wide.var(0))
    assert found == (
        "the samples vary less than the training data: their deviation is 0.10 of it in feature "
        "1, 0.20 of it in feature 2"
    )


def test_small_features_of_a_wide_table_have_their_own_scale():
    rng = np.random.default_rng(0)
    means = 10.0 ** np.arange(-2, 7)
    data = torch.from_numpy(rng.negative_binomial(3, 3 / (3 + means), (4000, 9)))
    mean, variance = statistics(data)
    own = data.double()
    large = means >= 10
    torch.testing.assert_close(mean[large].double(), own.mean(0)[large], rtol=1e-6, atol=0)
    expected = own.var(0, correction=0)[large]
    torch.testing.assert_close(variance[large].double(), expected, rtol=1e-5, atol=0)
    assert mean[:2].tolist() == [1, 1] and variance[:2].tolist() == [1, 1]
    for site in range(3, 9):
        samples = data.clone()
        samples[:, site] = data[:, site] // 4
        found = narrow(samples, extremes(data), variance)
        assert found is not None and f"of it in feature {site}" in found, site
    assert narrow(data, extremes(data), variance) is None
    # Values of few units, or reals, have the floor that they had.
    few = torch.from_numpy(rng.poisson([5.0, 0.0], (100, 2)))
    assert float(statistics(few)[1][1]) == pytest.approx(
        1e-3 * float(few.double().var(0, correction=0)[0]) / 2 + 1e-6
    )
    reals = own * 1.0
    assert float(statistics(reals)[1][0]) == pytest.approx(
        1e-3 * float(own.var(0, correction=0).mean()) + 1e-6, rel=1e-5
    )


def test_a_site_whose_variance_few_rows_carry_is_not_reported():
    """Of 1,800 rows four hold all of the variance of the first site, and 90 that of the second."""
    data = torch.zeros(1800, 3, dtype=torch.int64)
    data[:4, 0], data[:90, 1], data[:, 2] = 8, 8, torch.arange(1800) % 8
    samples = torch.zeros_like(data)
    samples[:, 2] = data[:, 2]
    variance = data.double().var(0)
    assert narrow(samples, extremes(data), variance) == (
        "the samples vary less than the training data: their deviation is 0.00 of it in feature 1"
    )
    assert narrow(samples[:100], extremes(data), variance) is None  # five would be expected
    again = data[torch.randint(1800, (1800,), generator=torch.Generator().manual_seed(0))]
    assert narrow(again, extremes(data), variance) is None


def test_the_command_line_says_it_with_names(tmp_path):
    Facts({}, "numpy", ["up", "down"], None).write(tmp_path)
    model = transport(0.0, variance=torch.tensor([100.0, 1e5]), seen=SEEN)
    samples = np.tile([[5, 500]], (300, 1))
    samples[0] = 300, 500
    far, spread = _strange(RunFolder(tmp_path), samples, model, {})
    assert "1 in feature up (largest 300, in training 40)" in far
    assert "0.00 of it in feature down" in spread
    assert _strange(RunFolder(tmp_path), samples, model, {"condition": {"a": 1}}) == [far]
    assert (
        _strange(RunFolder(tmp_path / "none"), samples[1:], model, {"condition": {"a": 1}}) == []
    )


def test_models_that_know_no_data_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transport(6.0).sample(4, steps=2, sampler=Bridge())
        model = Transport(LinearDiffusion(), Says(50.0), EndpointHead(), shape=(1,))
        model.sample(300, steps=2)


@pytest.mark.parametrize("scale", [0.02, 0.3, 3.0, 50.0])
def test_of_sparse_samples_the_same_is_said(scale):
    draw = torch.Generator().manual_seed(0)
    data = torch.poisson(torch.full((500, 40), 8.0), generator=draw).long()
    few = torch.rand(300, 40, generator=draw) < 0.3
    samples = torch.where(few, (scale * data[:300]).long(), 0)
    rows = SparseRows(sparse.csr_matrix(samples.numpy()))
    seen, variance = extremes(data), data.double().var(0)
    assert far_out(rows, seen) == far_out(samples, seen)
    assert (far_out(rows, seen) is None) == (scale < 3)
    assert narrow(rows, seen, variance) == narrow(samples, seen, variance)
    assert (narrow(rows, seen, variance) is None) == (scale > 0.1)
