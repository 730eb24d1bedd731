"""Every sampler with every process in every way to draw: right, or refused.

Ways and laws take turns here; with `pytest --whole` every pair is run, and
`python -m grid.pairs`, in this folder's parent, tells what comes of each.
"""

import pytest

from grid.pairs import chosen, missing, outcome, pairs

NAMES = {f"{p.sampler.__name__} x {p.process}": (p.sampler, p.process) for p in pairs()}


def test_every_class_is_in_the_grid():
    assert missing() == []


@pytest.mark.filterwarnings("ignore:the total birth rate rose")
@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_right_or_refused(name, pytestconfig):
    wrong, whole = [], pytestconfig.getoption("whole")
    for laws in chosen(*NAMES[name], whole=whole):
        for pair in laws:
            try:
                said = outcome(pair)
            except Exception as error:
                wrong.append(f"{pair}: {type(error).__name__}: {error}")
                said = ""
            if said and (len(said) < 30 or "\n" in said):
                wrong.append(f"{pair} is refused without a sentence: {said}")
            if not said and not whole:
                break
    assert not wrong, "\n".join(wrong)
