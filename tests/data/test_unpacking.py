"""Tables that ship inside of packages, from archives that hold the same members."""

import io
import tarfile
import zipfile

import numpy as np
import pytest

from markovbridge.cli import main
from markovbridge.data import CountTable
from markovbridge.data.unpacking import BLOCKS, ROWS, ZARR, unpack

LINES = ["2 0:3 2:1", "1 1:7"]


def wheel(path, lines=LINES):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lda/tests/reuters.ldac", "\n".join(lines))
        archive.writestr("lda/tests/reuters.tokens", "church\npope\nyears")
        archive.writestr("lda/tests/reuters.titles", "0 UK\n0 UK")
    return path


def source(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"scanpy-1.11.5/{ZARR}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_news(tmp_path):
    assert unpack("reuters", wheel(tmp_path / "lda.whl"), tmp_path / "out.npz") == (2, 3, 3)
    table = CountTable(tmp_path / "out.npz").load("all")
    assert np.asarray(table.x).tolist() == [[3, 0, 1], [0, 7, 0]]
    assert table.column_names == ("church", "pope", "years")
    assert table.row_names == ("0 UK", "0 UK-1")


def test_on_the_command_line(tmp_path, capsys):
    words = [
        "data",
        "unpack",
        "reuters",
        str(wheel(tmp_path / "lda.whl")),
        str(tmp_path / "x.csv"),
    ]
    assert main(words) == 0
    assert capsys.readouterr().out == f"wrote {words[-1]}: 2 x 3, 3 of them not zero\n"
    assert main(words) == 1
    assert "x.csv exists already" in capsys.readouterr().err


def test_cells(tmp_path):
    encode = pytest.importorskip("numcodecs").Blosc().encode
    counts = np.random.default_rng(0).poisson(0.3, (BLOCKS * ROWS, 3))
    cells = np.array([(f"c{i}",) for i in range(len(counts))], [("index", "S18")])
    genes = np.array([("A", "1"), ("B", "2"), ("A", "3")], [("index", "S13"), ("gene_ids", "S18")])
    members = {
        f"X/{k}.0": encode(counts[k * ROWS : (k + 1) * ROWS].astype("<f4").tobytes())
        for k in range(BLOCKS)
    }
    members |= {"obs/0": encode(cells.tobytes()), "var/0": encode(genes.tobytes())}
    archive = source(tmp_path / "scanpy.tar.gz", members)
    assert unpack("mouse-brain", archive, tmp_path / "out.npz") == (
        *counts.shape,
        np.count_nonzero(counts),
    )
    table = CountTable(tmp_path / "out.npz").load("all")
    np.testing.assert_array_equal(np.asarray(table.x), counts)
    assert table.column_names == ("A", "B", "A-1") and table.row_names[-1] == "c9999"


def test_what_is_no_such_archive_is_said_and_nothing_is_written(tmp_path):
    out = tmp_path / "out.npz"
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ValueError, match="take mouse-brain or reuters"):
        unpack("brain", tmp_path / "text", out)
    for name in ("reuters", "mouse-brain"):
        with pytest.raises(ValueError, match=f"text does not hold {name} .*says what brings it"):
            unpack(name, tmp_path / "text", out)
        with pytest.raises(FileNotFoundError):
            unpack(name, tmp_path / "none", out)
    with pytest.raises(ValueError, match=r"does not hold mouse-brain .*X/0\.0"):
        unpack("mouse-brain", source(tmp_path / "bare.tar.gz", {"other": b""}), out)
    with pytest.raises(ValueError, match="does not hold reuters"):
        unpack("reuters", wheel(tmp_path / "bad.whl", ["1 0:x"]), out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(FileExistsError):
        unpack("reuters", wheel(tmp_path / "lda.whl"), out)
    assert out.read_text() == "mine"
