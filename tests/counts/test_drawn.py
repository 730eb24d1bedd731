"""Samples that are drawn sparse are those that are drawn dense, and as much is said of them."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse

import markovbridge as mb
from markovbridge.counts import drawn
from markovbridge.counts.drawn import sparsely
from markovbridge.networks import MLP


@pytest.fixture
def transport():
    torch.manual_seed(0)
    process, head = mb.PureDeath(maximum=None), mb.MeanHead(link="exp")
    network = MLP((6,), 1, head.outputs(process), width=8, depth=1)
    made = mb.Transport(process, network, head, shape=(6,), mean=1.0, variance=4000.0)
    made.see(torch.tensor([[0] * 6, [90] * 6]))
    return made


def told(draw, n, **options):
    """What is drawn, and what is said of it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = draw(n, generator=torch.Generator().manual_seed(3), steps=2, **options)
    return made, [str(one.message) for one in said]


@pytest.mark.parametrize("n", [1, 64, 150])
def test_they_are_the_samples_of_the_transport(transport, n):
    dense, said = told(transport.sample, n)
    made, also = told(lambda n, **how: sparsely(transport, n, **how), n)
    assert isinstance(made, sparse.csr_matrix) and made.dtype == np.int64
    assert torch.equal(torch.from_numpy(made.toarray()), dense)
    assert also == said


def test_a_condition_of_other_rows_is_refused(transport):
    with pytest.raises(ValueError, match="70"):
        sparsely(transport, 71, condition=torch.zeros(70, 0))


def annotated(x):
    anndata = pytest.importorskip("anndata")
    return anndata.AnnData(sparse.csr_matrix(x.astype(np.float32)))


@pytest.mark.parametrize("kind", ["sparse", "anndata", "array"])
def test_a_model_draws_sparse_what_was_sparse(kind, monkeypatch):
    counts = np.random.default_rng(0).poisson(0.3, (40, 5))
    table = {"sparse": sparse.csr_matrix, "array": np.asarray, "anndata": annotated}[kind]
    model = mb.CountModel(steps=1, width=8, depth=1, random_state=0, threads=1).fit(table(counts))
    calls = []
    real = drawn.sparsely
    monkeypatch.setattr(
        "markovbridge.counts.fitted.sparsely",
        lambda *given, **how: calls.append(1) or real(*given, **how),
    )
    made = model.sample(70, random_state=1)
    values = made.X if kind == "anndata" else made
    assert len(calls) == (kind != "array")
    assert sparse.issparse(values) == (kind != "array")
    options = {"generator": torch.Generator().manual_seed(1), **model._walk}
    known = model.transport_.sample(70, **options)
    found = values.toarray() if sparse.issparse(values) else values
    assert np.array_equal(found, known.numpy())
