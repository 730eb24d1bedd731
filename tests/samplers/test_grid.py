"""Every sampler with every process on integers in every way to draw: right, or refused.

Laws take turns here; `python -m grid.pairs`, in this folder's parent, runs every pair,
those of diffusions too.
"""

import pytest

from grid.pairs import chosen, missing, on_integers, outcome

NAMES = {f"{p.sampler.__name__} x {p.process}": (p.sampler, p.process) for p in on_integers()}


def test_every_class_is_in_the_grid():
    assert missing() == []


@pytest.mark.filterwarnings("ignore:the total birth rate rose")
@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_right_or_refused(name):
    wrong = []
    for laws in chosen(*NAMES[name]):
        for pair in laws:
            try:
                said = outcome(pair)
            except Exception as error:
                wrong.append(f"{pair}: {type(error).__name__}: {error}")
                break
            if said is None:
                break
            if len(said) < 30 or "\n" in said:
                wrong.append(f"{pair} is refused without a sentence: {said}")
    assert not wrong, "\n".join(wrong)
