"""Files of 10x Genomics with features of several kinds."""

import h5py
import numpy as np
import pytest

from markovbridge.cli import main
from markovbridge.data.rows import dense
from markovbridge.data.tables.another import another
from markovbridge.data.tables.kinds import several
from markovbridge.data.tables.source import CountTable

from .conftest import loaded
from .forms import COLUMNS, COUNTS, market, tenx

KINDS = ("Gene Expression", "Peaks", "Gene Expression")


@pytest.fixture(params=["h5", "folder"])
def path(request, tmp_path):
    if request.param == "folder":
        return market(tmp_path / "several", 3, kinds=True)
    tenx(tmp_path / "several.h5", 3, KINDS)
    return tmp_path / "several.h5"


def test_it_is_asked_which_is_taken(path):
    words = "5 of '(Gene Expression|Peaks)', 5 of '(Gene Expression|Peaks)', which count different"
    with pytest.raises(ValueError, match=words + " things: say .* features='Gene Expression', or"):
        loaded(path)
    with pytest.raises(ValueError, match="no features of kind 'Genes'; it has 5 of"):
        loaded(path, features="Genes")


def test_one_or_all_are_taken(path):
    genes = loaded(path, features="Gene Expression")
    assert dense(genes.x).tolist() == COUNTS.tolist() and genes.column_names == COLUMNS
    peaks = loaded(path, "test", features="Peaks")
    where = CountTable(path).positions(len(COUNTS), "test")
    assert dense(peaks.x).tolist() == (2 * COUNTS[where].reshape(len(where), -1)).tolist()
    assert loaded(path, features="all").x.shape == (len(COUNTS), 10)


def test_files_with_one_kind_or_none_need_no_word(tmp_path):
    tenx(tmp_path / "one.h5", 3, ("Peaks",) * 3)
    assert loaded(tmp_path / "one.h5").x.shape == (len(COUNTS), 10)
    assert loaded(tmp_path / "one.h5", features="Peaks").x.shape == (len(COUNTS), 10)
    tenx(tmp_path / "none.h5", 2)
    assert loaded(tmp_path / "none.h5", features="all").x.shape == COUNTS.shape
    with pytest.raises(ValueError, match="no kinds of features, so leave it out"):
        loaded(tmp_path / "none.h5", features="Peaks")


def test_a_third_cell_that_says_something_else_is_no_kind(tmp_path):
    folder = market(tmp_path / "many", 3)
    lines = [f"{name}\t{name}\t\n" for name in COLUMNS]  # nothing
    (folder / "features.tsv").write_text("".join(lines))
    assert loaded(folder).x.shape == COUNTS.shape
    assert several([f"chr{k % 21}" for k in range(60)]) == {}
    assert several(["a", "b", "a"]) == {"a": 2, "b": 1}


def test_what_was_taken_in_training_is_taken_of_another_file(path, tmp_path):
    like = CountTable(path, features="Gene Expression")
    assert another(path, (), like).load("all").column_names == COLUMNS
    tenx(tmp_path / "old.h5", 2)
    assert another(tmp_path / "old.h5", (), like).features is None


def test_kinds_that_are_too_few_are_refused(tmp_path):
    tenx(tmp_path / "a.h5", 3, KINDS)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["matrix/features/feature_type"]
        file["matrix/features/feature_type"] = np.array(KINDS, "S")
    with pytest.raises(ValueError, match="3 kinds of 10 features"):
        loaded(tmp_path / "a.h5", features="Peaks")


def test_the_command_line_asks_and_takes_the_answer(path, capsys):
    words = ["train", str(path), "--dry_run", "true", "--network.width", "2"]
    assert main(words) == 1
    assert "5 of 'Peaks'" in capsys.readouterr().err
    assert main([*words, "--data.features", "Gene Expression"]) == 0
    assert "5, counts" in capsys.readouterr().out
