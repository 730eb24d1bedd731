"""Lists in an HDF5 file are read as h5py reads them, however they are stored."""

import zlib

import numpy as np
import pytest

from markovbridge.data.tables.lists import StoredList

h5py = pytest.importorskip("h5py")
VALUES = np.random.default_rng(0).poisson(2, 1000)
STORED = {
    "gzip": {"compression": "gzip"},
    "gzip, shuffled": {"compression": "gzip", "shuffle": True},
    "gzip, with sums": {"compression": "gzip", "fletcher32": True},
    "shuffled alone": {"shuffle": True},
    "lzf": {"compression": "lzf"},
    "in chunks": {},
    "in one piece": {"chunks": None},
}
SPANS = [(0, 1000), (0, 0), (5, 5), (10, 11), (99, 101), (100, 200), (37, 731), (990, 1000)]


def stored(path, values, **how):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, **{"chunks": (100,), **how})
    return h5py.File(path)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.uint8, ">i4", np.bool_])
@pytest.mark.parametrize("how", STORED)
def test_any_range_is_what_h5py_reads(tmp_path, how, kind):
    with stored(tmp_path / "x.h5", VALUES.astype(kind), **STORED[how]) as file:
        found = StoredList(file["x"])
        assert (found.size, found.dtype) == (1000, np.dtype(kind))
        for start, stop in SPANS:
            assert found[start:stop].dtype == file["x"][start:stop].dtype
            assert np.array_equal(found[start:stop], file["x"][start:stop])
        simple = np.dtype(kind).isnative and np.dtype(kind).kind in "iuf"
        assert found._direct == (simple and how in ("gzip", "gzip, shuffled"))


def test_chunks_that_were_not_worth_compressing_are_read(tmp_path):
    noise = np.frombuffer(np.random.default_rng(0).bytes(8000), np.int64)
    with stored(tmp_path / "x.h5", noise, compression="gzip") as file:
        assert np.array_equal(StoredList(file["x"])[50:950], noise[50:950])


def test_a_chunk_without_its_filter_is_read_by_hdf5(tmp_path):
    path = tmp_path / "x.h5"
    stored(path, VALUES, compression="gzip").close()
    with h5py.File(path, "r+") as file:
        plain = np.arange(100)
        file["x"].id.write_direct_chunk((200,), plain.tobytes(), filter_mask=1)
    with h5py.File(path) as file:
        assert np.array_equal(StoredList(file["x"])[150:350], file["x"][150:350])


@pytest.mark.parametrize("content", [b"?", b"nothing", bytes(10_000)])
def test_a_damaged_chunk_is_refused(tmp_path, content):
    path = tmp_path / "x.h5"
    stored(path, VALUES, compression="gzip").close()
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((200,), content)
    with h5py.File(path) as file:
        found = StoredList(file["x"])
        assert np.array_equal(found[0:200], VALUES[:200])
        with pytest.raises(Exception, match="Error -?[0-9]+ while|is not of 100 values|read"):
            found[150:350]


def test_a_chunk_of_more_values_than_it_has_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    stored(path, VALUES, compression="gzip").close()
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((200,), zlib.compress(bytes(808)))
    with h5py.File(path) as file, pytest.raises(ValueError, match="not of 100 values"):
        StoredList(file["x"])[150:350]
