"""`benchmarks/quality.py`: numbers of steps, absent rivals, and the file of scores."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import environments  # noqa: E402
import quality  # noqa: E402
import quality_kept  # noqa: E402
from markovbridge import Bridge, HandOver, ProbabilityFlow, Trapezoidal  # noqa: E402

PLANS = HandOver(then=Trapezoidal(), plans=((1.0,), (0.5, 1.0), (0.3, 0.5)))


@pytest.mark.parametrize(
    ("sampler", "evaluations", "steps", "taken"),
    [
        (Bridge(), 5, 5, 5),
        (Trapezoidal(), 5, 2, 4),
        (ProbabilityFlow(), 2, 1, 1),  # Heun's method, the last step Euler's
        (ProbabilityFlow(), 20, 10, 19),
        (PLANS, 1, 1, 1),
        (PLANS, 2, 2, 2),
        (PLANS, 3, 2, 2),
        (PLANS, 4, 3, 4),  # two joint draws, one leap of two evaluations
        (PLANS, 7, 4, 6),
    ],
)
def test_steps_are_the_most_that_evaluations_allow(sampler, evaluations, steps, taken):
    assert quality.most_steps(sampler, evaluations) == (steps, taken)


def test_what_is_not_installed_is_left_out_with_a_sentence(tmp_path):
    reason = environments.absent("flow_matching", tmp_path / "none", quality.PINS)
    assert reason is not None and "--install makes it, with torch==" in reason
    python = environments.python_of(tmp_path)
    python.parent.mkdir()
    python.touch()
    assert environments.absent("flow_matching", tmp_path, quality.PINS) is None


def kept(path, **other):
    floors = quality_kept.Floors(energy=0.5, frechet=7.0)
    of = {"data": "digits", "samples": 10, "against": 20, "features": "pixels"} | other
    return quality_kept.Kept(**of, floors=floors, path=path)


def test_calls_add_to_one_file_and_new_scores_replace_old_ones(tmp_path):
    file = tmp_path / "scores.json"
    kept(file).add("leaps", 10, (3.0, 4.0, 0.1))
    kept(file).add("flow", 5.5, (2.0, 5.0, 0.2))
    last = kept(file)
    last.add("leaps", 10, (1.0, 2.0, 0.3))
    rows = {"leaps": {"10": [1.0, 2.0, 0.3]}, "flow": {"5.5": [2.0, 5.0, 0.2]}}
    assert quality_kept.read_kept(file) == last
    assert last.rows == rows
    with pytest.raises(ValueError, match="has samples 10, not 11: name another file"):
        kept(file, samples=11).add("leaps", 10, (3.0, 4.0, 0.1))


def test_what_was_printed_becomes_the_same_file(tmp_path):
    one, other, scores = tmp_path / "a.json", tmp_path / "b.json", (1.25, 20.5, 0.0125)
    own = kept(one)
    for name, count in (("joint draws, then leaps", 4), ("adaptive", 11.5)):
        own.add(name, count, scores)
    told = quality.told(scores)
    printed = (
        "digits, 10 samples against 20, cpu; energy / Fréchet distance (pixels) / seconds a "
        "sample; real data, 5 against 15: 0.9 / 7; energy of as many new data: 0.5\n"
        f"joint: 30.00 nats (0.10)\njoint draws, then leaps\n      4: {told}\n"
        f"adaptive, by tolerance in nats\n     10: {told}, 11.5 evaluations\n"
    )
    quality_kept.add_printed(printed, other)
    assert other.read_text() == one.read_text()


def test_all_that_is_kept_is_drawn_without_running_anything(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib.figure")
    file, picture = tmp_path / "scores.json", tmp_path / "quality.png"
    for count in (2, 10):
        kept(file).add("leaps", count, (3.0 / count, 40.0 / count, 0.1))
        kept(file).add("flow", count, (4.0 / count, 60.0 / count, 0.1))
    figures, save = [], matplotlib.Figure.savefig
    monkeypatch.setattr(
        matplotlib.Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a))
    )
    words = ["quality.py", "--only", "--scores", str(file), "--figure", str(picture)]
    monkeypatch.setattr(sys, "argv", words)
    quality.main()
    assert picture.read_bytes().startswith(b"\x89PNG")
    energy, frechet = figures[0].axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in energy.lines}
    assert lines["leaps"] == [[2.0, 1.5], [10.0, 0.3]]
    assert {line.get_label(): line.get_ydata()[0] for line in frechet.lines} == {
        "leaps": 20.0,
        "flow": 30.0,
        "as many real data": 7.0,
    }
