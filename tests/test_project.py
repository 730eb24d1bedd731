"""What is said of the project in several files is the same in all of them."""

import re

import pytest
import yaml

from bounds import FILE, ROOT, bounds, project, text


def test_the_oldest_versions_are_the_lower_bounds():
    assert FILE.read_text() == text(bounds(project())), "run python tests/bounds.py"


@pytest.mark.parametrize("requirement", ["tqdm", "tqdm<5", "tqdm==4.66"])
def test_a_requirement_without_a_lower_bound_is_seen(requirement):
    table = {"name": "it", "dependencies": [requirement], "optional-dependencies": {}}
    with pytest.raises(ValueError, match="has no lower bound"):
        bounds(table)


def test_two_bounds_of_one_package_are_seen():
    table = {
        "name": "it",
        "dependencies": ["numpy>=1.26"],
        "optional-dependencies": {"dev": ["it[a]", "numpy>=2.0"]},
    }
    with pytest.raises(ValueError, match="two lower bounds, 1.26 and 2.0"):
        bounds(table)


def test_the_citation_is_of_this_version():
    known = project()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software" and citation["message"]
    assert citation["title"].startswith(known["name"])
    assert citation["version"] == known["version"]
    assert citation["license"] == known["license"]
    assert all(author.keys() == {"name"} for author in citation["authors"])
    assert [paper["url"].rpartition("/")[2] for paper in citation["references"]] == [
        "2305.11089",
        "2312.14589",
    ]


def test_every_decision_is_in_the_index():
    folder = ROOT / "docs" / "decisions"
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    index = (folder / "README.md").read_text()
    assert pages and {name for name in pages if f"]({name})" not in index} == set()


def anchors(page):
    """What links may lead to within a page, as GitHub names headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_of_the_docs_leads_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    pages = [page for page in pages if "reference" not in page.parts]  # made by Sphinx's run
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
        if "://" not in target
    ]
    assert len(links) > 90
    lost = []
    for page, target in links:
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if there.is_relative_to(ROOT / "docs" / "reference"):
            continue  # which Sphinx makes, and where it checks links
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(f"{page.relative_to(ROOT)}: {target}")
    assert lost == []


LONGEST = 400  # lines of a file of code
TOP = 23  # files and folders at the top of the package: a new idea goes into a folder


def test_no_file_of_code_is_long():
    files = [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 300
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files}
    long = {str(path.relative_to(ROOT)): n for path, n in lines.items() if n > LONGEST}
    assert long == {}, "split them by subject"


def test_the_top_of_the_package_stays_small():
    found = {path.name for path in (ROOT / "src" / "markovbridge").iterdir()}
    assert len(found - {"__pycache__"}) <= TOP, sorted(found)
