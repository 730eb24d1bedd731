"""Ranges and forms that annotations do not say: refused where a value enters, by name."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import markovbridge as mb
from markovbridge import couplings, covariances, exact, laws
from markovbridge.data import Arrays, CountTable, Covariate, Digits, SparseRows, Synthetic
from markovbridge.doors import checks
from markovbridge.evaluation import held_out_likelihood, metrics
from markovbridge.evaluation.inspection import look
from markovbridge.samplers.known_sites import Observed
from markovbridge.samplers.walks import blocks
from markovbridge.storage import png

COUNTS = torch.tensor([[3, 0, 2], [1, 5, 4]])
ROWS = torch.randint(5, (40, 3), generator=torch.Generator().manual_seed(0))
DEATH = mb.PureDeath(8)
POISSON = exact.Poisson(DEATH, 3.0)
THIRDS = torch.full((3,), 1 / 3)
CHAIN = mb.UniformChain(3)
SETTING = mb.processes.Setting(CHAIN, mb.Noised(), THIRDS, THIRDS)


def looked(**options):
    return look("a", DEATH, POISSON, mb.Noised(), COUNTS, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        *(
            (lambda source=source, bad=bad: source(validation=bad), ValueError, "be fractions")
            for source in (
                Digits,
                Synthetic,
                lambda validation: Arrays("a.npy", validation=validation),
                lambda validation: CountTable("a.npz", validation=validation),
            )
            for bad in (-0.1, 1.0)
        ),
        (lambda: Digits(validation=0.5, test=0.5), ValueError, "must be fractions"),
        (lambda: Covariate("age", scale=0.0), ValueError, "scale must be finite and above 0"),
        (
            lambda: looked(paths=0),
            ValueError,
            "paths must be from 1",
        ),
        (
            lambda: looked(times=0),
            ValueError,
            "times must be from 1",
        ),
        (lambda: png.to_shades(ROWS, 2.0, 1.0), ValueError, "high must be .*at least 2"),
        (
            lambda: exact.Reverse(CHAIN, THIRDS, size=-1),
            ValueError,
            "size must be",
        ),
        (
            lambda: exact.Reverse(CHAIN, THIRDS, size=2**40),
            ValueError,
            "combinations; at most",
        ),
        (lambda: exact.Empirical(CHAIN, COUNTS % 3, states=0), ValueError, "states must be"),
        (
            lambda: exact.Mixture(mb.PureDeath(8), (1.0,), [POISSON]).reversed(),
            TypeError,
            "Poisson",
        ),
        (lambda: metrics.correlation_error(ROWS, ROWS, columns=0), ValueError, "columns must be"),
        (lambda: metrics.energy_distance(ROWS, ROWS, block=-1), ValueError, "block must be"),
        (lambda: metrics.median_distance(ROWS, rows=-1), ValueError, "rows must be at least 2"),
        (lambda: metrics.sliced_wasserstein(ROWS, ROWS, projections=0), ValueError, "projections"),
        (lambda: metrics.scale_depth(ROWS, 0.5, pseudocount=-1.0), ValueError, "pseudocount"),
        (
            lambda: exact.CountMixture.fit(ROWS, rounds=0),
            ValueError,
            "rounds must be",
        ),
        (lambda: exact.CountMixture.fit(ROWS, prior=-1.0), ValueError, "prior must"),
        (
            lambda: held_out_likelihood.Histogram(torch.zeros(1, 2), -1.0),
            ValueError,
            "concentration must be",
        ),
        (lambda: blocks(-1, 4), ValueError, "n must be at least 0"),
        (lambda: next(SparseRows.split(_rows(), 0)), ValueError, "size must be at least 1"),
        (
            lambda: laws.Binomial(COUNTS, torch.full((2, 3), 0.5), torch.full((3,), 0.5)),
            ValueError,
            r"complement must have the shape of probability, \(2, 3\), not \(3,\)",
        ),
        *(
            (lambda place=place: _rows().turned(torch.tensor([0, 1, place])), ValueError, message)
            for place, message in (
                (3, "order must be positions from 0 to 2, not 0 to 3"),
                (-(10**9), "order must be positions from 0 to 2"),
            )
        ),
        (lambda: _rows().take(torch.tensor([40])), ValueError, "index must be positions from 0"),
        (lambda: _rows().take(torch.tensor(1.5)), ValueError, r"index must be positions \(k,\)"),
        (
            lambda: DEATH.strengths(laws.Poisson(torch.zeros(2, 3)), COUNTS, math.nan),
            ValueError,
            "t must be finite, not nan",
        ),
        (lambda: looked(times=10**30), ValueError, "times must be from 1 to 1000000, not 1000"),
        (
            lambda: metrics.evaluate(COUNTS, ROWS, repeats=10**30, meta={}),
            ValueError,
            "repeats must be from 1 to 1000000",
        ),
        (lambda: metrics.held_out_table({}), ValueError, "one prediction or more"),
        (lambda: png.encode_png(np.zeros((2, 2))), ValueError, "pixels must be uint8"),
        (
            lambda: mb.heads.TwoMeansHead()(SETTING, *[THIRDS] * 3),
            TypeError,
            "TwoMeansHead is for",
        ),
        (lambda: Observed(COUNTS, COUNTS), ValueError, "mask must be bool"),
        (lambda: Observed(COUNTS, COUNTS[:1] > 0), ValueError, "mask must be bool"),
        (lambda: covariances.Diagonal([1.0, None]), TypeError, "variances must be a Tensor, an"),
        (lambda: covariances.Dense(abs), TypeError, "matrix must be a Tensor, an array or nested"),
        (lambda: mb.processes.FiniteChain("abc"), TypeError, "rate_matrix must be a Tensor"),
        (lambda: mb.processes.DiscreteTimeChain(3j), TypeError, "transition_matrices must be"),
        (lambda: couplings.Gaussian(mean=Path("x")), TypeError, "mean must be a Tensor, an array"),
        (lambda: couplings.Gaussian(mean=math.nan), ValueError, "mean must be finite"),
        (lambda: couplings.Dirac((0.0, math.inf)), ValueError, "value must be finite"),
        (lambda: metrics.evaluate_counts(3, ROWS, meta={}), TypeError, "an object with shape"),
        (lambda: couplings.Data(7), TypeError, "source must be a Source, not"),
        (lambda: couplings.Independent(torch.zeros(0)), ValueError, r"states \(N, \*event\)"),
        (lambda: Arrays("x" * 300), ValueError, "path must be a path of names of at most 255"),
        (lambda: Arrays("a\0b"), ValueError, "path must be a path of names"),
        (
            lambda: mb.samplers.Bridge().step(3, COUNTS, 0.0, 0.5),
            TypeError,
            "an object with law",
        ),
    ],
)
def test_values_out_of_range_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def _rows():
    from scipy import sparse

    return SparseRows(sparse.csr_matrix(ROWS.numpy()))


def test_errors_of_libraries_name_the_arguments_whatever_their_type():
    """Those that torch raises in Python, and ValueError and TypeError, among them."""
    model = mb.Transport(mb.LinearDiffusion(), torch.nn.Flatten(), mb.EndpointHead(), shape=(3,))
    with pytest.raises(TypeError, match=r"law cannot work with x \(\) of float32.*0-d"):
        model.law(torch.tensor(0.5), 0.5)
    walk = mb.RandomWalk(1.0).transition(COUNTS, 1.0, 0.5)
    with pytest.raises(ValueError, match="cannot work with .*cannot convert float NaN"):
        walk.log_prob(torch.full((2, 3), math.nan))


def test_a_call_of_a_function_of_the_users_is_left_as_it_is():
    model = mb.Transport(mb.PureDeath(8), lambda x: x, mb.MeanHead(), shape=(3,))
    with pytest.raises(TypeError, match=r"^\S*<lambda>\(\) takes 1 positional argument"):
        model.loss(COUNTS)


def test_numbers_come_in_any_form():
    wanted = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    given = torch.tensor([[1, 2]])
    for value in (given, given.numpy(), [[1, 2]], ((1, np.int64(2)),), given.to(torch.bfloat16)):
        found = checks.numbers(value, "p")
        assert torch.equal(found, wanted) and found.dtype is torch.float64
    assert checks.numbers(wanted, "p").data_ptr() != wanted.data_ptr()
    for bad in (None, "a", [[1], [1, 2]], object(), torch.zeros(2, dtype=torch.complex64)):
        with pytest.raises(TypeError, match="p must be a Tensor, an array or nested lists"):
            checks.numbers(bad, "p")
