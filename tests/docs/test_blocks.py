"""Every block of code of the README and of the site is run, briefly, or says why it is not."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "site"))
import blocks  # noqa: E402
import execute  # noqa: E402

LOOKED_AT = {  # by tests/test_guides.py, which runs them and looks at what comes of them
    *("how-to/cells.md", "how-to/cells-covariates.md", "how-to/cells-depth.md"),
    *("how-to/cells-differences.md", "how-to/cells-samples.md"),
    *("how-to/own.md", "how-to/own-coupling.md", "how-to/own-diffusion.md", "how-to/own-head.md"),
    "how-to/pictures.md",
    *(
        "theory/bridges.md",
        "theory/exact.md",
        "theory/covariances.md",
        "theory/processes.md",
        "theory/simulated.md",
    ),
}
PAGES = [name for name in blocks.sources() if blocks.blocks(name)]
ALWAYS = {  # the others are for `make test-whole`, and for `make docs`
    *("README.md", "start/ten-minutes.md", "start/errors.md", "theory/blackout.md"),
    "how-to/likelihood.md",
}
SHOWN = ("```python", "```bash")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.whole)
        for name in sorted(set(PAGES) - LOOKED_AT)
    ],
)
def test_the_blocks_of_a_page_run(name, tmp_path):
    torch.manual_seed(0)
    blocks.run(name, tmp_path)


def test_no_block_is_overlooked():
    for name in blocks.sources():
        text = blocks.text_of(name)
        starts = [row for row in text.splitlines() if row.lstrip().startswith(SHOWN)]
        assert len(starts) == len(blocks.blocks(name)), name
    assert len(PAGES) > 20 and set(PAGES) >= LOOKED_AT


def page(monkeypatch, tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text)
    monkeypatch.setattr(blocks, "sources", lambda: {"page.md": path})
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def test_names_go_on_from_block_to_block_hidden_ones_too(monkeypatch, tmp_path):
    hidden, shown = "```python\nx = 100\n```", "```python\ny = x + 1\n```"
    text = f"<!--\n{hidden}\n-->\n\n{shown}\n<!-- briefly: 100 -> 1 -->"
    folder = page(monkeypatch, tmp_path, text)
    assert blocks.run("page.md", folder)[0]["y"] == 2
    assert blocks.run("page.md", folder, briefly=False)[0]["y"] == 101
    assert [block.hidden for block in blocks.blocks("page.md")] == [True, False]


@pytest.mark.parametrize(
    "text, message",
    [
        ("```python\nundefined\n```\n", "page.md:1: NameError"),
        ("```bash\nmarkovbridge nothing\n```\n", "ended with status 2"),
        ("```bash\nfalse | true\n```\n", "ended with status 1"),
        ('```python error="no"\n1\n```\n', "there was no error that says 'no'"),
        ('```python error="no"\n1 / 0\n```\n', "ZeroDivisionError"),
    ],
)
def test_a_block_that_fails_is_seen(monkeypatch, tmp_path, text, message):
    folder = page(monkeypatch, tmp_path, text)
    with pytest.raises(blocks.Failed, match=message):
        blocks.run("page.md", folder)


@pytest.mark.parametrize(
    "text, message",
    [
        ("```python skip\n1\n```\n", "say why"),
        ("```python takes\n1\n```\n", "say why"),
        ("```python other=1\n1\n```\n", "options of blocks are"),
        ("```python\n1\n```\n<!-- briefly: 5 -> 1 -->", "'5' is replaced, which no block has"),
    ],
)
def test_what_is_said_of_blocks_is_checked(monkeypatch, tmp_path, text, message):
    folder = page(monkeypatch, tmp_path, text)
    with pytest.raises(ValueError, match=message):
        blocks.run("page.md", folder)


def test_blocks_that_are_not_run():
    text = blocks.brief(["train", "digits", "--trainer.steps", "9000", "--output", "x"])
    assert text[2:6] == ["--trainer.steps", "2", "--output", "x"]
    assert text[6:] == ["--trainer.batch_size", "16"]
    assert blocks.brief(["train", "digits", "--dry-run"])[2:] == ["--dry-run"]
    assert blocks.brief(["evaluate", "x", "--likelihood", "300"])[3] == "8"
    assert list(blocks.commands("a \\\n  b  # c\n# d\ne 'f g'\n")) == ["a    b  # c", "e 'f g'"]


def test_beside_every_block_stands_how_long_it_takes_or_that_nobody_measured_it():
    known = execute.times()
    for name in PAGES:
        for block in blocks.blocks(name):
            text, took = execute.beside(block, known), known.get(execute.key(block))
            if block.skipped:
                assert block.options["skip"] in text
            elif "error" in block.options:
                assert "error" in text
            elif "takes" in block.options:
                assert text == f"*Takes {block.options['takes']}.*"
            elif took is None:
                assert "was not measured" in text, (name, block.line)
            elif isinstance(took, str):
                assert took.startswith("about") and f"Takes {took} s" in text
            else:
                assert (f"Takes {took:.0f} s" in text) == (took >= execute.SHOWN)


def test_no_time_is_of_a_block_that_is_gone():
    there = {execute.key(block) for name in PAGES for block in blocks.blocks(name)}
    assert set(execute.times()) <= there


def test_one_block_of_a_page_is_timed_alone(monkeypatch, tmp_path):
    first, second = "```python\nn = 100\n```", "```python\nm = n + 100\n```"
    page(monkeypatch, tmp_path, f"{first}\n\n{second}\n<!-- briefly: 100 -> 1 -->")
    monkeypatch.setattr(execute, "TIMES", tmp_path / "times.json")
    (tmp_path / "times.json").write_text('{"gone": 3.0}')
    seen = []
    run = blocks.run
    monkeypatch.setattr(blocks, "run", lambda *a, **b: seen.append(run(*a, **b)) or seen[0])
    execute.execute("page.md", whole=False, at=[5])
    assert seen[0][0]["m"] == 101
    assert list(execute.times()) == [execute.key(blocks.blocks("page.md")[1])]
    with pytest.raises(ValueError, match="no block to run at line 4"):
        execute.execute("page.md", whole=False, at=[4])


def test_a_training_is_done_once_and_told_from_its_first_steps(monkeypatch, tmp_path):
    clock, trained = [0.0], []

    def main(words):  # two seconds to start, and a hundredth for each step
        if "--print_config" in words:
            print("trainer:\n  steps: 5000")
        else:
            steps = int(words[words.index("--trainer.steps") + 1])
            trained.append(steps)
            clock[0] += 2 + steps / 100
            Path(words[words.index("--output") + 1]).mkdir(parents=True)
        return 0

    monkeypatch.setattr("markovbridge.cli.main", main)
    monkeypatch.setattr(blocks, "processor", lambda: clock[0])
    monkeypatch.chdir(tmp_path)
    runs = blocks.Trained(tmp_path / "kept", steps=300)
    first = runs.train(["markovbridge", "train", "digits"])
    again = runs.train(["markovbridge", "train", "digits", "--output", "other"])
    assert first == again == blocks.Took(pytest.approx(2 + 5000 / 100), measured=False)
    assert trained == [1, 100, 300] and Path("runs/digits").is_dir() and Path("other").is_dir()
    assert runs.train(["markovbridge", "train", "digits", "--resume"]) is None
    assert runs.train(["markovbridge", "sample", "runs/digits"]) is None
    assert (blocks.Took(1.0) | first).measured is False


def test_what_is_told_from_first_steps_is_about(monkeypatch, tmp_path):
    page(monkeypatch, tmp_path, "```python\n1\n```")
    monkeypatch.setattr(execute, "TIMES", tmp_path / "times.json")
    (block,) = blocks.blocks("page.md")
    execute._note({execute.key(block): blocks.Took(243.0, measured=False)})
    told = execute.beside(block, execute.times())
    assert told.startswith("*Takes about 240 s of one core, told")
