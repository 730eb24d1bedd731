"""A part of the campaign of `benchmarks/fuzz.py`: hostile values are refused in our own words."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fuzz_annotations import allows
from fuzzing import GOOD, REST, Fuzzer, campaign, judged, summary
from markovbridge import laws
from markovbridge.doors import checks

CASES = 150
SEED = 2
LEAST = 0.98


def test_hostile_values_are_refused_in_our_own_words():
    results = campaign(range(CASES), SEED)
    counts, share = summary(results)
    bad = [result for result in results if result[3] not in (*GOOD, *REST)]
    listed = "\n".join(map(str, bad))
    assert counts["hang"] == counts["crash"] == 0, listed
    assert share >= LEAST, listed
    # A campaign that calls little shows little.
    assert sum(counts[verdict] for verdict in REST) < 0.15 * CASES
    assert counts["ours"] > 0.4 * CASES


def test_a_case_is_a_function_of_seed_and_index():
    one, other = Fuzzer(3), Fuzzer(3)
    for index in (5, 2):
        first, second = one.case(index), other.case(index)
        assert (first[0], first[3]) == (second[0], second[3])


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (float, (1, 0.5, np.float32(1)), (math.nan, math.inf, 10**400, True, "3", None, 1j)),
        (int, (3, np.int64(3)), (3.0, True, "3", None)),
        (bool, (True,), (1, None, "yes")),
        (float | None, (None, 0.5), (math.nan, np.float32("nan"), "")),
        (Tensor, (torch.zeros(2),), (np.zeros(2), None, [1], torch.zeros(2).to("meta"))),
        (tuple[float, ...], ((0.5,), [1, 2], np.ones(2)), ((math.nan,), 3, "3", {"a": 1})),
        (tuple[int, int], ((1, 2),), ((1,), (1, "a"))),
        (dict[str, int], ({"a": 1}, {}), ({1: 1}, {"a": "b"}, [])),
        (laws.Law, (laws.Poisson(torch.zeros(2)),), (laws.Poisson, None, abs)),
    ],
)
def test_the_fuzzer_takes_annotations_at_their_word(hint, good, bad):
    assert all(allows(hint, value) for value in good)
    assert not any(allows(hint, value) for value in bad)


@pytest.mark.parametrize(
    ("call", "verdict"),
    [
        (lambda: checks.number("a", "p"), "ours"),
        (lambda: torch.zeros(2) + torch.zeros(3), "other"),
        (lambda: len(3), "foreign"),
        (lambda: laws.Poisson(torch.tensor([math.nan])).sample(), "other"),
    ],
)
def test_an_error_counts_by_who_raised_it(call, verdict):
    with pytest.raises((Exception,)) as caught:
        call()
    assert judged(caught.value, True)[0] == verdict
