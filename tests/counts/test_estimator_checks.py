"""What scikit-learn asks of an estimator, asked of one that is given counts."""

import warnings

import pytest

from markovbridge import CountModel

checks = pytest.importorskip("sklearn.utils.estimator_checks")
IN_CONSTRUCTOR = "arguments are checked where they are given, in the constructor already"


class OfCounts(CountModel):
    """A model of which scikit-learn's checks know that it takes whole numbers alone."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        return tags


with warnings.catch_warnings():  # it need not inherit from scikit-learn's own
    warnings.filterwarnings("ignore", "Estimator OfCounts does not inherit from")
    asked = checks.parametrize_with_checks(
        [OfCounts(steps=2, width=4, depth=1, batch_size=8, tolerance=1.0, random_state=0)],
        expected_failed_checks=lambda _: {
            "check_do_not_raise_errors_in_init_or_set_params": IN_CONSTRUCTOR
        },
    )
    asked = pytest.mark.parametrize(asked.args[0], list(asked.args[1]), **asked.kwargs)


@asked
def test_scikit_learn_finds_an_estimator(estimator, check):
    check(estimator)


def test_its_tags_say_what_it_takes():
    tags = CountModel().__sklearn_tags__()
    assert tags.input_tags.positive_only and tags.input_tags.sparse
    assert not tags.input_tags.allow_nan and not tags.target_tags.required
