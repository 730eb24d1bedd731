"""Every sampler with every process in every way to draw: right, or refused.

Processes take turns here, as do ways and laws: a sampler meets every third process. With
`pytest --whole` every pair is run, and `python -m grid.pairs`, in this folder's parent, tells
what comes of each.
"""

import pytest

from grid.pairs import chosen, missing, outcome, pairs, place
from grid.settings import MODES, SAMPLERS
from markovbridge import Corrected

EACH = 3
NAMES = {f"{p.sampler.__name__} x {p.process}": (p.sampler, p.process) for p in pairs()}
TAKEN = [name for name in NAMES if place(*NAMES[name]) % EACH == 1]


def test_every_class_is_in_the_grid():
    assert missing() == []


def test_every_class_and_every_way_to_draw_has_its_turn():
    met = [NAMES[name] for name in TAKEN]
    classes = {process.partition(",")[0] for _, process in NAMES.values()}
    plain = SAMPLERS.keys() - {Corrected}  # which is a way to draw with each of the others
    for sampler in plain:
        with_it = {process for one, process in met if one is sampler}
        assert len(with_it) >= len(classes) // EACH
    for process in classes:
        with_it = {one for one, name in met if name.partition(",")[0] == process}
        assert len(with_it) >= len(plain) // EACH
    assert {pair.mode for one in met for laws in chosen(*one) for pair in laws} == {*MODES}


@pytest.mark.filterwarnings("ignore:the total rate of jumps rose")
@pytest.mark.parametrize(
    "name",
    [name if name in TAKEN else pytest.param(name, marks=pytest.mark.whole) for name in NAMES],
)
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
