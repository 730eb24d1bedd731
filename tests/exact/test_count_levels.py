"""Weights by level: against Bayes' rule written out, and EM against its own bound."""

import numpy as np
import pytest
import torch
from scipy import stats

from known_models import Zeros
from markovbridge import CountModel, MeanHead, PureDeath, Transport, exact
from markovbridge.data.covariates import Covariates
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.calibration import parts_of
from markovbridge.exact.count_levels import PRIOR, LevelWeights
from markovbridge.samplers.known_sites import Masking, Observed
from markovbridge.samplers.model import Given
from markovbridge.storage.config import from_config, to_config
from markovbridge.training.resume import difference

NAN = float("nan")
KNOWN = Covariates.fit(
    {"kind": ["a", "b", "c"], "age": [1.0, 2, 3], "batch": ["x", "y", "x"]},
    range(3),
    categorical=["kind", "batch"],
)
# Combinations (kind, batch) that training has seen, and their shares.
SEEN = [("a", "x"), ("a", "y"), ("b", "x"), ("c", "y")]
SHARES = np.array([0.1, 0.4, 0.3, 0.2])


def told(*rows):
    names = "kind", "batch", "age"
    return KNOWN.encode({n: [row.get(n) for row in rows] for n in names}, len(rows))


def mixture(levels=None):
    rng = generator("cpu", "levels")
    return exact.CountMixture.of(
        PureDeath(),
        torch.rand(2, 3, dtype=torch.float64, generator=rng),
        torch.tensor([0.7, 1.5], dtype=torch.float64),
        0.5 + 5 * torch.rand(3, 2, dtype=torch.float64, generator=rng),
        torch.tensor([0.8, 3.0], dtype=torch.float64),
        levels=levels,
    )


@pytest.fixture(scope="module")
def weighed():
    """The mixture with given weights of its combinations, and these, (combinations, 6)."""
    levels = LevelWeights(4, len(KNOWN.names), 2, 3)
    levels.conditions.copy_(told(*({"kind": k, "batch": b} for k, b in SEEN)))
    each = np.random.default_rng(0).dirichlet(np.ones(6), 4)
    levels.log_shares.copy_(
        torch.from_numpy(np.log(SHARES[:, None, None] * each.reshape(4, 2, 3)))
    )
    return mixture(levels), each


# What is told, and the combinations that go with it; None for the pooled weights.
CASES = [
    ({"kind": "a", "batch": "y"}, [1]),
    ({"kind": "a", "batch": "y", "age": 7.0}, [1]),
    ({"kind": "a"}, [0, 1]),
    ({"batch": "x"}, [0, 2]),
    ({"kind": "b", "batch": "y"}, None),  # which training has not seen
    ({"age": 2.0}, None),
    ({}, None),
]


def test_posteriors_have_the_weights_of_what_is_told(weighed):
    law, each = weighed
    x, ends = torch.tensor([[1, 3]]).repeat(7, 1), torch.tensor([[4, 3]]).repeat(7, 1)
    mask = torch.tensor([[True, False]]).repeat(7, 1)
    condition, p = told(*(case for case, _ in CASES)), 0.4
    t = law.process.observed_time(p)
    means = (law.depths[:, None, None] * law.profiles).flatten(0, 1).numpy()
    r, pooled = law.sizes.numpy(), law.log_weights.exp().flatten().numpy()
    laws = law(x, t, condition), law.given_known(x, t, Observed(ends, mask), condition)
    for i, (_, goes) in enumerate(CASES):
        prior = pooled if goes is None else SHARES[goes] @ each[goes] / SHARES[goes].sum()
        seen = stats.nbinom.pmf([1, 3], r, r / (r + p * means))
        end = stats.nbinom.pmf(4, r[0], r[0] / (r[0] + means[:, 0]))
        for found, like in zip(laws, (seen.prod(1), end * seen[:, 1]), strict=True):
            weights = prior * like / (prior @ like)
            np.testing.assert_allclose(found.log_weights[i].exp(), weights, rtol=1e-9)
            mean = 3 + (1 - p) * (r[1] + 3) * (weights @ (means[:, 1] / (r[1] + p * means[:, 1])))
            assert float(found.mean[i, 1]) == pytest.approx(mean, rel=1e-9)
    plain = mixture()
    assert torch.equal(law(x, t).mean, plain(x, t).mean)
    assert torch.equal(plain(x, t, condition).mean, plain(x, t).mean)
    with pytest.raises(ValueError, match=r"condition has shape \(7, 2\).* is told 6 numbers"):
        law(x, t, condition[:, :2])


def test_guidance_and_known_sites_of_a_model_start_from_them(weighed):
    law, _ = weighed
    options = {"shape": (2,), "mean": 3.0, "base": law, "covariates": KNOWN, "masking": Masking()}
    transport = Transport(PureDeath(), Zeros(), MeanHead(link="exp"), **options)
    x, condition = torch.zeros(3, 2).long(), told({"kind": "a"}, {"kind": "b"}, {})
    ends = Observed(torch.tensor([[2, 0]] * 3), torch.tensor([[True, False]] * 3))
    for observed in (None, ends):
        found = transport.law(x, 0.0, Given(condition, observed=observed)).mean
        truth = law.given_known(x, 0.0, observed, condition).mean
        torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=0)
        assert len(set(found[:, 1].tolist())) == 3
    two, one = law(x, 0.0, condition).mean, law(x, 0.0).mean
    strong = transport.law(x, 0.0, Given(condition, 2.0)).mean
    torch.testing.assert_close(strong.double(), two**2 / one, rtol=1e-5, atol=0)


def test_em_finds_weights_that_no_others_beat():
    law, rng = mixture(), np.random.default_rng(1)
    truth = rng.dirichlet(np.ones(6), 2)
    kinds = np.repeat([0, 1], 400)
    means = (law.depths[:, None, None] * law.profiles).flatten(0, 1).numpy()
    which = np.array([rng.choice(6, p=truth[k]) for k in kinds])
    r = law.sizes.numpy()
    x = rng.poisson(rng.gamma(r, means[which] / r))
    condition = told(*({"kind": "ab"[k], "batch": "x"} for k in kinds), {"kind": "c"}, {})
    x = np.concatenate([x, [[900, 900], [0, 0]]])  # of which not all is told
    found = law.told(torch.from_numpy(x), condition, KNOWN)
    assert found.config["combinations"] == 2
    pmf = stats.nbinom.pmf(x[:800, None], r, r / (r + means)).prod(-1)
    pooled = law.log_weights.exp().flatten().numpy()
    for k in (0, 1):
        place = int(found.levels.conditions[:, k].argmax())
        own = found.levels.log_shares[place].exp().flatten().numpy()
        assert own.sum() == pytest.approx(400 / 802)
        own /= own.sum()

        def bound(weights, rows=pmf[kinds == k]):
            return np.log(rows @ weights).sum() + PRIOR * pooled @ np.log(weights)

        best = bound(own)
        assert best > bound(pooled) + 5
        for other in rng.dirichlet(np.ones(6), 200):
            assert bound(0.9 * own + 0.1 * other) < best + 0.1
    ages = Covariates.fit({"age": [1.0, 2]}, range(2), categorical=[])
    assert law.told(torch.from_numpy(x[:2]), ages.encode({"age": [1.0, 2]}), ages) is law


def test_a_count_model_takes_saves_and_uses_them(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 300)
    x = rng.poisson(np.array([[9, 1, 2], [1, 8, 2]])[kind])
    options = {"steps": 1, "width": 8, "depth": 1, "learning_rate": 1e-9, "tolerance": 1.0}
    model = CountModel(**options, base=exact.FitMixture((2,)), random_state=0)
    model.fit(x, covariates={"kind": np.array(["a", "b"])[kind], "age": rng.random(300)})
    base = model.transport_.base
    assert base.config["combinations"] == 2 and base.config["numbers"] == 3
    model.save(tmp_path / "m")
    again = CountModel.load(tmp_path / "m")
    drawn = [m.sample(150, covariates={"kind": "a"}, random_state=1) for m in (model, again)]
    np.testing.assert_array_equal(*drawn)
    np.testing.assert_allclose(drawn[0].mean(0), [9, 1, 2], rtol=0.25)


def test_each_row_has_the_weights_of_the_combinations_that_go_with_it():
    rng = np.random.default_rng(2)
    known = Covariates.fit(
        {"kind": list("abcd"), "batch": list("xyzx"), "age": [1.0, 2, 3, 4]},
        range(4),
        categorical=["kind", "batch"],
    )
    levels = LevelWeights(7, len(known.names), 2, 3)
    pairs = [divmod(k, 3) for k in rng.permutation(12)[:7]]
    told = {"kind": ["abcd"[k] for k, _ in pairs], "batch": ["xyz"[b] for _, b in pairs]}
    levels.conditions.copy_(known.encode(told, 7))
    levels.log_shares.copy_(torch.from_numpy(rng.random((7, 2, 3))).log())
    pooled = torch.full((2, 3), 1 / 6).double().log()
    kinds, batches = np.meshgrid(["a", "b", "c", "d", None], ["x", "y", "z", None])
    ages = [None if k % 2 else float(k) for k in range(20)]
    asked = {"kind": list(kinds.flat), "batch": list(batches.flat), "age": ages}
    condition = known.encode(asked, 20)
    found = levels(condition, pooled, 20).exp()
    for i, (kind, batch) in enumerate(zip(kinds.flat, batches.flat, strict=True)):
        goes = [
            kind in (None, one) and batch in (None, other)
            for one, other in zip(told["kind"], told["batch"], strict=True)
        ]
        truth = levels.log_shares.exp()[torch.tensor(goes)].sum(0)
        nothing = not any(goes) or (kind is None and batch is None)
        truth = pooled.exp() if nothing else truth / truth.sum()
        torch.testing.assert_close(found[i], truth)
    # What is no code goes with nothing.
    condition[0, condition[0] == 1] = 0.5
    torch.testing.assert_close(levels(condition, pooled, 20)[0], pooled)


def test_what_is_no_table_of_the_mixture_is_refused(weighed):
    law, x = mixture(), torch.tensor([[1, 2], [0, 4], [3, 3]])
    condition = told({"kind": "a", "batch": "x"}, {"kind": "b", "batch": "x"}, {})
    for bad in (x - 2, x.double() * NAN):
        with pytest.raises(ValueError, match="counts"):
            law.told(bad, condition, KNOWN)
    with pytest.raises(ValueError, match="of 2 features, and x has 3 in each row"):
        law.told(torch.ones(3, 3).long(), condition, KNOWN)
    for bad in (condition[:2], condition[:, :4], condition[0]):
        with pytest.raises(ValueError, match=r"give .* \(3, 6\), as the covariates encode"):
            law.told(x, bad, KNOWN)
    for bad in (condition[:2], condition[:1]):
        with pytest.raises(ValueError, match=r"give \(3, 6\), as the covariates encode them"):
            weighed[0](x, 0.5, bad)


def test_a_mixture_without_levels_is_written_as_before_there_were_any():
    law = mixture()
    model = Transport(PureDeath(), Zeros(), MeanHead(link="exp"), shape=(2,), mean=3.0, base=law)
    # What an older version stored of the model that it calibrated.
    then = (
        "MeanHead(kernel=poisson, bounded=false, link=exp), base CountMixture(process=PureDeath("
        "maximum=none, schedule=CosineSchedule()), components=3, depths=2, features=2, "
        "corrected=false, residuals=false)"
    )
    assert parts_of(model) == then
    # A run of before, one with the numbers written out, and one of today are the same.
    now, written = to_config(law), to_config(law)
    written["init_args"] |= {"combinations": 0, "numbers": 0}
    assert difference(now, written, set(), "base") is difference(written, now, set(), "base")
    assert difference(now, written, set(), "base") is None
    more = {**written, "init_args": {**written["init_args"], "combinations": 2}}
    assert difference(now, more, set(), "base") == ("base.init_args.combinations", 0, 2)
    assert from_config(written).config == from_config(now).config == law.config
