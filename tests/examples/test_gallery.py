"""The gallery is whole: every script has a place in the index, a picture, a docstring, a test."""

import ast
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
PICTURES = ROOT / "docs" / "images" / "gallery"
INDEX = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
TESTS = [*Path(__file__).parent.glob("*.py"), ROOT / "tests" / "simulated" / "test_examples.py"]
KINDS = ("Counts", "Images", "Categories", "Reals", "Fields", "Tables", "Theory")


def entry(name):
    """What the index says of a script: its picture, its sentence, its command, its seconds."""
    pattern = (
        rf"### (?P<title>.+)\n\n!\[[^\]]+\]\(\.\./docs/images/gallery/{name}\.png\)\n\n"
        rf"(?P<says>(?:.+\n)+?)\n`python examples/{name}\.py` · (?P<seconds>\d+) s\n"
    )
    return re.search(pattern, INDEX)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_is_shown_explained_and_tested(script):
    name = script.stem
    shown = entry(name)
    assert shown is not None
    said = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    lines = said.splitlines()
    assert lines[0].endswith(".") and len(lines[0]) < 100
    assert f"    python examples/{name}.py [--output {name}.png]" in lines
    explained = [line for line in lines[1:] if line and not line.startswith("    ")]
    assert 3 <= len(explained) <= 12
    (seconds,) = re.findall(r"Takes\s+(\d+)\s+s\s+of\s+one\s+core", said)
    assert int(seconds) < 60 and seconds == shown["seconds"]
    picture = PICTURES / f"{name}.png"
    assert picture.stat().st_size < 100_000
    with Image.open(picture) as image:
        assert image.width == 800 and 200 < image.height < 700
    named = re.compile(rf'"{name}(\.py)?"')
    assert any(named.search(test.read_text(encoding="utf-8")) for test in TESTS)


def test_the_gallery_is_ordered_and_light():
    assert len(SCRIPTS) >= 16
    assert tuple(re.findall(r"^## (.+)$", INDEX, re.M)) == KINDS
    pictures = sorted(PICTURES.iterdir())
    assert [path.stem for path in pictures] == [path.stem for path in SCRIPTS]
    assert sum(path.stat().st_size for path in pictures) < 1_500_000
    assert INDEX.count("gallery/") == len(SCRIPTS)
