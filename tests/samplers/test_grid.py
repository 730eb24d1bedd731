"""Every pair of sampler, process, law and way to draw: right, or refused in a sentence."""

import pytest

from grid.pairs import missing, outcome, pairs

PAIRS = pairs()


def test_every_class_is_in_the_grid():
    assert missing() == []


@pytest.mark.parametrize("name", sorted({(p.sampler.__name__, p.process) for p in PAIRS}))
def test_pairs_are_right_or_refused(name):
    wrong = {}
    for pair in PAIRS:
        if (pair.sampler.__name__, pair.process) == name:
            try:
                said = outcome(pair)
            except Exception as error:
                wrong[str(pair)] = f"{type(error).__name__}: {error}"
            else:
                if said is not None and (len(said) < 30 or "\n" in said):
                    wrong[str(pair)] = f"refused without a sentence: {said}"
    assert not wrong, "\n".join(f"{pair}: {error}" for pair, error in wrong.items())
