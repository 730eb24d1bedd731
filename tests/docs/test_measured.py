"""Every section of measured figures says when, by what, on which machine and with which seed."""

import re
from pathlib import Path

import pytest

MEASURED = Path(__file__).parents[2] / "docs" / "measured"
SAYS = {
    "a date": r"\d{4}-\d\d-\d\d",
    "a command, or that it was not kept": r"benchmarks/\w+|examples/\w+|markovbridge \w+|tests/\w+"
    r"|(commands?|scripts?)\b[^.]*\b(was|were) not kept",
    "a seed, or that there is none": r"\b(seeds?|random_state)\b",
}
HARDWARE = r"\b(threads?|cores?|GPUs?)\b"


def sections():
    for path in sorted(MEASURED.glob("*.md")):
        if path.name != "index.md":
            head, *parts = re.split(r"^## ", path.read_text(), flags=re.M)
            yield from ((path.name, part.split("\n")[0], head, part) for part in parts)


@pytest.mark.parametrize("page, title, head, text", list(sections()), ids=lambda x: str(x)[:20])
def test_a_section_says_how_it_was_measured(page, title, head, text):
    missing = [what for what, pattern in SAYS.items() if not re.search(pattern, text, re.I)]
    assert not missing
    assert re.search(HARDWARE, head) or re.search(HARDWARE, text)


def test_there_are_sections():
    assert len(list(sections())) > 30
