"""What was computed is kept, and what is damaged, or of something else, is computed again."""

import shutil

import numpy as np
import pytest

from markovbridge.storage import kept
from markovbridge.storage.files import put_arrays
from markovbridge.storage.kept import Kept, usual
from markovbridge.storage.locks import locked

VALUE = [1 / 3, float(2**60 + 1)]


class Counted:
    """A thing that is computed, and how often."""

    def __init__(self, value):
        self.value, self.times = value, 0

    def __call__(self):
        self.times += 1
        return self.value


def made(folder, name="mean", value=VALUE, about="rows"):
    """What is kept, and whether it was computed."""
    compute = Counted(value)
    found = Kept(folder, {"data": about}).made(
        name,
        compute=compute,
        packed=lambda value: {"x": np.array(value)},
        unpacked=lambda arrays: arrays["x"].tolist(),
    )
    return found, compute.times == 1


def test_it_is_computed_once(tmp_path):
    folder = tmp_path / "deep" / "cache"
    assert made(folder) == (VALUE, True)
    assert made(folder) == (VALUE, False)
    assert len(list(folder.iterdir())) == 1  # and no lock is left
    assert made(folder, name="variance", value=[2.0]) == ([2.0], True)
    assert made(folder, about="other rows", value=[3.0]) == ([3.0], True)
    assert made(folder) == (VALUE, False)


def test_another_version_computes_again(tmp_path, monkeypatch):
    made(tmp_path)
    monkeypatch.setattr(kept, "VERSION", kept.VERSION + 1)
    assert made(tmp_path, value=[5.0]) == ([5.0], True)


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert made(None) == made(None) == (VALUE, True)
    assert list(tmp_path.iterdir()) == []


def test_whatever_is_damaged_is_computed_again_and_replaced(tmp_path):
    made(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    start = whole.index(np.array(VALUE).tobytes())  # the numbers themselves
    cut = [whole[:size] for size in (0, 1, 100, len(whole) // 2, len(whole) - 1)]
    flipped = [whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :] for k in (start, start + 9)]
    for content in (*cut, *flipped, b"PK" + whole[:50]):
        file.write_bytes(content)
        with pytest.warns(UserWarning, match=f"mean is computed again: {file} "):
            assert made(tmp_path) == (VALUE, True)
        assert made(tmp_path) == (VALUE, False)


def test_what_is_of_something_else_is_not_believed(tmp_path):
    made(tmp_path)
    (file,) = tmp_path.iterdir()
    made(tmp_path, about="other rows", value=[9.0])
    (other,) = set(tmp_path.iterdir()) - {file}
    shutil.copy(other, file)
    with pytest.warns(UserWarning, match="it is of something else"):
        assert made(tmp_path) == (VALUE, True)


def test_numbers_that_were_exchanged_are_seen(tmp_path):
    made(tmp_path)
    (file,) = tmp_path.iterdir()
    with np.load(file) as arrays:
        content = dict(arrays)
    np.savez(file, **{**content, "x": np.array([0.0])})  # a whole archive, with other numbers
    with pytest.warns(UserWarning, match="not those that were written"):
        assert made(tmp_path) == (VALUE, True)


def test_arrays_of_any_name_are_kept_in_every_numpy(tmp_path, monkeypatch):
    def old(file, *args, **arrays):
        raise AssertionError("older versions of numpy store `allow_pickle` as an array")

    monkeypatch.setattr(np, "savez", old)
    monkeypatch.setattr(np, "savez_compressed", old)
    found = {"file": np.arange(3), "allow_pickle": np.zeros((2, 0)), "args": np.array("é")}
    for compressed in (False, True):
        put_arrays(tmp_path / "any", found, compressed=compressed)
        with np.load(tmp_path / "any", allow_pickle=False) as read:
            assert {*read} == {*found}
            assert all(np.array_equal(read[name], found[name]) for name in found)
    with pytest.raises(ValueError, match="Object arrays"):
        put_arrays(tmp_path / "objects", {"x": np.array([None])})
    assert made(tmp_path / "cache") == (VALUE, True)
    assert made(tmp_path / "cache") == (VALUE, False)


def test_where_nothing_can_be_written_nothing_fails(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert made(tmp_path / "file" / "cache") == (VALUE, True)
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_lock_is_that_of_the_file(tmp_path):
    made(tmp_path)
    (file,) = tmp_path.iterdir()
    file.unlink()
    with locked(tmp_path, file.stem):  # by this process, which may go on
        assert made(tmp_path) == (VALUE, True)
    assert file.is_file()


def test_the_usual_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MARKOVBRIDGE_CACHE", str(tmp_path))
    assert usual() == tmp_path
    monkeypatch.delenv("MARKOVBRIDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert usual() == tmp_path / "xdg" / "markovbridge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert usual() == tmp_path / "home" / ".cache" / "markovbridge"
