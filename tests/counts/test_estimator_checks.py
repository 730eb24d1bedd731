"""What scikit-learn asks of an estimator, asked of one that is given counts."""

import warnings

import pytest

from markovbridge import CountModel
from markovbridge.exact import FitMixture

checks = pytest.importorskip("sklearn.utils.estimator_checks")
IN_CONSTRUCTOR = "arguments are checked where they are given, in the constructor already"


class OfCounts(CountModel):
    """A model of which scikit-learn's checks know that it takes whole numbers alone."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        return tags


SMALL = {"steps": 2, "width": 4, "depth": 1, "batch_size": 8, "tolerance": 1.0, "random_state": 0}
BASES = (FitMixture(), None)


def every():
    """The checks, each with and without a base law that is fitted: in turn, unless all are run."""
    found = checks.parametrize_with_checks(
        [OfCounts(**SMALL, base=base) for base in BASES],
        expected_failed_checks=lambda _: {
            "check_do_not_raise_errors_in_init_or_set_params": IN_CONSTRUCTOR
        },
    )
    cases = [case if hasattr(case, "marks") else pytest.param(*case) for case in found.args[1]]
    number = len(cases) // len(BASES)
    for k, case in enumerate(cases):
        in_turn = (k % number % 3 == 0) == (k < number)
        marks = [*case.marks, *([] if in_turn else [pytest.mark.whole])]
        yield pytest.param(
            *case.values, marks=marks, id="-".join(map(found.kwargs["ids"], case.values))
        )


with warnings.catch_warnings():  # it need not inherit from scikit-learn's own
    warnings.filterwarnings("ignore", "Estimator OfCounts does not inherit from")
    CASES = list(every())


@pytest.mark.parametrize(("estimator", "check"), CASES)
def test_scikit_learn_finds_an_estimator(estimator, check):
    check(estimator)


def test_its_tags_say_what_it_takes():
    tags = CountModel().__sklearn_tags__()
    assert tags.input_tags.positive_only and tags.input_tags.sparse
    assert not tags.input_tags.allow_nan and not tags.target_tags.required
