"""Pairs: folders matched by name, arrays row by row, one file with both."""

import numpy as np
import pytest
import torch

from markovbridge.data import Binarised, Dataset, Pairs, Selected

RNG = np.random.default_rng(0)
X0, X1 = RNG.integers(0, 200, (2, 20, 3, 6, 6))


def write_images(folder, x, ending="png"):
    image = pytest.importorskip("PIL.Image")
    for k, one in enumerate(x):
        path = folder / ("even" if k % 2 == 0 else "odd") / f"{k:02}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(one.transpose(1, 2, 0).astype(np.uint8)).save(path)


ORDER = [*range(0, 20, 2), *range(1, 20, 2)]  # of the names of those files


@pytest.fixture
def folders(tmp_path):
    write_images(tmp_path / "before", X0)
    write_images(tmp_path / "after", X1)
    return tmp_path


@pytest.fixture
def arrays(tmp_path):
    np.save(tmp_path / "x0.npy", X0)
    np.save(tmp_path / "x1.npy", X1)
    np.savez(tmp_path / "both.npz", x0=X0, x1=X1)
    return tmp_path


def test_folders_are_matched_by_name(folders):
    (folders / "before" / "odd" / "07.png").rename(folders / "before" / "odd" / "07.PNG")
    source = Pairs(folders / "before", folders / "after", size=6)
    data = source.load("all")
    assert (source.pairs, source.here) == (True, True)
    assert data.start.tolist() == X0[ORDER].tolist()
    assert data.x.tolist() == X1[ORDER].tolist()
    assert (data.maximum, data.label_names) == (255, ("even", "odd"))
    assert data.labels.tolist() == 10 * [0] + 10 * [1]
    grey = Pairs(folders / "before", folders / "after", size=3, channels=1).load("all")
    assert grey.start.shape == grey.x.shape == (20, 1, 3, 3)


@pytest.mark.parametrize("names", [("x0.npy", "x1.npy"), ("both.npz",)])
def test_arrays_are_matched_row_by_row(arrays, names):
    source = Pairs(*(arrays / name for name in names), maximum=255)
    data = source.load("all")
    assert (data.start.tolist(), data.x.tolist()) == (X0.tolist(), X1.tolist())
    assert (data.x.dtype, data.maximum) == (torch.uint8, 255)
    parts = [source.load(split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [16, 2, 2]
    rows = {tuple(x.flatten().tolist()): s for x, s in zip(data.x, data.start, strict=True)}
    for part in parts:
        for x, start in zip(part.x, part.start, strict=True):
            assert torch.equal(rows.pop(tuple(x.flatten().tolist())), start)
    assert rows == {}


def test_reals_and_channels_in_the_last_place(arrays):
    np.save(arrays / "x0.npy", X0.transpose(0, 2, 3, 1) / 7)
    np.save(arrays / "x1.npy", X1.transpose(0, 2, 3, 1) / 7)
    two = arrays / "x0.npy", arrays / "x1.npy"
    data = Pairs(*two, counts=False, layout="last").load("all")
    assert torch.equal(data.start, torch.tensor(X0 / 7).float())
    assert torch.equal(data.x, torch.tensor(X1 / 7).float())
    with pytest.raises(ValueError, match="x0.npy holds .* give layout='last', or 'first' if"):
        Pairs(*two, counts=False).load("all")
    with pytest.raises(ValueError, match=r"x0.npy\[0, 0, 0, 0\] is .*; counts are whole numbers"):
        Pairs(*two, layout="last").load("all")


def test_images_without_a_partner_are_named(folders):
    source = Pairs(folders / "before", folders / "after", size=6)
    (folders / "before" / "odd" / "07.png").unlink()
    with pytest.raises(ValueError, match="odd/07.png has no partner of the same name in .*before"):
        source.load("all")
    for k in range(0, 20, 2):
        (folders / "after" / "even" / f"{k:02}.png").unlink()
    with pytest.raises(ValueError, match="even/18.png have no partner of .* in .*after; move"):
        source.load("all")
    write_images(folders / "before", X0[:1], "jpg")
    with pytest.raises(ValueError, match="00.jpg and .*00.png have one name; move one of them"):
        source.load("all")


def test_what_are_no_pairs_is_refused(arrays):
    np.save(arrays / "few.npy", X1[:5])
    np.savez(arrays / "other.npz", x0=X0, after=X1)
    for paths, error, message in (
        (("x0.npy", "few.npy"), ValueError, r"\(20, 3, 6, 6\) and .*few.npy has \(5, 3, 6, 6\)"),
        (("other.npz",), ValueError, "other.npz has no arrays x0 and x1; give x0 and x1, a fold"),
        (("x0.npy",), ValueError, "x0.npy has no arrays x0 and x1"),
        (("none.npy", "x1.npy"), FileNotFoundError, "there is no .*none.npy; give x0 and x1"),
        (("x0.npy", "none"), FileNotFoundError, "there is no .*none; give x0 and x1"),
        ((".", "x1.npy"), ValueError, "is a folder, and .*x1.npy a file; give x0 and x1"),
        (("x0.npy", "."), ValueError, "x0.npy is a file, and .* a folder; give x0 and x1"),
        ((".",), ValueError, "is one folder; give x0 and x1"),
    ):
        with pytest.raises(error, match=message):
            Pairs(*(arrays / path for path in paths)).load("all")
    with pytest.raises(ValueError, match="size=0 and crop=None must be at least 1 pixel"):
        Pairs("x0", "x1", size=0)


def test_starts_stay_with_their_samples(folders):
    source = Pairs(folders / "before", folders / "after", size=6)
    assert Selected(source, (1,)).load("all").start.tolist() == X0[1::2].tolist()
    assert Selected(source, (1,)).pairs and not Binarised(source).pairs
    assert Binarised(source).load("all").start is None
    table = Dataset(torch.tensor([[1, 2]]), None, "a", "all", "", "", start=torch.tensor([[3, 4]]))
    assert table.turned(torch.tensor([1, 0])).start.tolist() == [[4, 3]]
    x = torch.ones(2, 3, dtype=torch.int64)
    for start, maximum, message in (
        (x[:1], None, r"a: start has shape \(1, 3\) beside samples of shape \(2, 3\)"),
        (9 * x, 5, r"start of a\[0, 0\] is 9, above the maximum 5"),
        (torch.full((2, 3), torch.nan), None, r"a: start\[0, 0\] is nan; remove or replace"),
    ):
        with pytest.raises(ValueError, match=message):
            Dataset(x, None, "a", "all", "", "", maximum=maximum, start=start)
