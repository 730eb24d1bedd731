"""What is looked at before a library relies on it, kind by kind."""

import h5py
import numpy as np
import pytest
from scipy import sparse

from damage.samples import write_10x, write_beside, write_h5ad, write_mtx
from markovbridge.data import Arrays, CountTable
from markovbridge.storage.reading import tensors

HEAD = "%%MatrixMarket matrix coordinate integer general\n% made by hand\n3 2 2\n"


def market(folder, text, head=HEAD):
    path = folder / "a.mtx"
    path.write_bytes((head + text).encode("latin1"))
    return CountTable(path).load("all").x.tolist()


def test_numbers_of_a_matrix_market_file(tmp_path):
    assert market(tmp_path, "1 1 4\n3 2\t7\r\n\n") == [[4, 0], [0, 0], [0, 7]]
    real = HEAD.replace("integer", "real")
    assert market(tmp_path, "1 1 4.0\n3 2 7e0\n", real) == [[4, 0], [0, 0], [0, 7]]
    pattern = HEAD.replace("integer", "pattern")
    assert market(tmp_path, "1 1\n3 2\n", pattern) == [[1, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1 4\n3 2 7.5\n", r"of field integer and holds b'\.' among its numbers"),
        ("1 1 4\n3 2 7 9\n", "2 entries, which are 6 numbers, but holds 7"),
        ("1 1 4\n3 2 \0\0\n", r"holds b'\\x00' among its numbers"),
        ("1 1 4\n3 2 0x7\n", "holds b'x' among its numbers"),
        ("1 1 4\n", "2 entries, which are 6 numbers, but holds 3|cannot be read"),
        ("1 1 4\n4 2 7\n", "cannot be read as a Matrix Market file .*(out of bounds|exceeds)"),
    ],
)
def test_numbers_that_would_be_cut_or_passed_over(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"a.mtx.*{message}"):
        market(tmp_path, text)


def test_a_heap_without_an_end(tmp_path):
    write_h5ad(tmp_path)
    path = tmp_path / "table.h5ad"
    content = bytearray(path.read_bytes())
    start = content.find(b"GCOL\x01\0\0\0")
    at = start + 16
    while content[at : at + 2] != b"\0\0":  # the entry of what is free
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[at + 8 : at + 16] = bytes(8)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=f"table.h5ad.*heap of texts at byte {start:,} is broken"):
        CountTable(path).load("all")


@pytest.mark.parametrize("name", ["barcodes", "features/name", "indptr", "indices", "data"])
@pytest.mark.parametrize("backed", [False, True])
def test_values_that_were_never_stored(tmp_path, name, backed):
    write_10x(tmp_path)
    path = tmp_path / "table.h5"
    with h5py.File(path, "r+") as file:
        group, kind = file["matrix"], file["matrix"][name].dtype
        del group[name]
        group.create_dataset(name, (10**6,), kind, chunks=(1024,), compression="gzip")
    with pytest.raises(ValueError, match=f"table.h5: /matrix/{name} claims .* but 0 are stored"):
        CountTable(path, backed=backed).load("all")


def test_covariates_that_were_never_stored(tmp_path):
    write_h5ad(tmp_path)
    path = tmp_path / "table.h5ad"
    with h5py.File(path, "r+") as file:
        del file["obs/batch/codes"]
        file["obs/batch"].create_dataset("codes", (10**6,), "i1", chunks=(1024,))
    with pytest.raises(ValueError, match="obs/batch/codes claims 1,000,000 bytes"):
        CountTable(path, covariates=("batch",)).load("all")


def test_cells_beyond_the_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\nrow0,1,2\nrow1,3,4\n")  # as R writes it
    assert CountTable(path).load("all").x.tolist() == [[1, 2], [3, 4]]
    path.write_text("a,b\nrow0,1,2,3\nrow1,3,4,5\n")
    with pytest.raises(ValueError, match="a.csv has a header of 2 names, but a first row of 4"):
        CountTable(path).load("all")


def test_names_beside_a_matrix(tmp_path):
    write_mtx(tmp_path, "matrix.mtx")
    barcodes = tmp_path / "barcodes.tsv"
    names = barcodes.read_text()
    barcodes.write_text(f"\ufeff{names}")
    assert CountTable(tmp_path).load("all").row_names[0] == "cell0"
    barcodes.write_bytes(names.encode("utf-16-le"))
    with pytest.raises(ValueError, match="barcodes.tsv: the name .* has a zero in it"):
        CountTable(tmp_path).load("all")
    barcodes.write_text(names)
    (tmp_path / "features.tsv").write_text("")
    with pytest.raises(ValueError, match=r"matrix.mtx has .* and 0 features \(.*features.tsv\)"):
        CountTable(tmp_path).load("all")


def test_rows_of_covariates_that_are_of_other_samples(tmp_path):
    write_beside(tmp_path)
    path = tmp_path / "table.csv"
    path.write_text(path.read_text().replace("cell3,", "cell33,"))
    table = CountTable(path, obs=tmp_path / "obs.csv", ignore=("batch",), covariates=("batch",))
    with pytest.raises(ValueError, match="obs.csv has no row for sample 'cell33' of .*table.csv"):
        table.load("all")


def test_names_of_other_rows(tmp_path):
    path = tmp_path / "a.npz"
    counts = np.arange(6).reshape(3, 2)
    np.savez(path, x=counts, row_names=np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"array 'row_names' has shape \(2,\), .* 3 rows"):
        CountTable(path).load("all")
    np.savez(path, x=counts, row_names=np.zeros(3, [("a", "i4")]))
    with pytest.raises(ValueError, match="array 'row_names' is none of text, numbers or dates"):
        CountTable(path).load("all")


def test_a_shape_that_is_a_list(tmp_path):
    csr = sparse.csr_matrix(np.eye(3, dtype=int))
    parts = {"data": csr.data, "indices": csr.indices, "indptr": csr.indptr}
    np.savez(tmp_path / "a.npz", format="csr", shape=np.zeros(10**6, int), **parts)
    with pytest.raises(ValueError, match="a.npz has the shape"):
        CountTable(tmp_path / "a.npz").load("all")


def test_arrays_are_as_long_as_they_say(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6).reshape(3, 2))
    good = path.read_bytes()
    path.write_bytes(good[:-8] + b"\0" * 8 + good[-8:])
    with pytest.raises(ValueError, match="a.npy .*announces .* 48 bytes, but 56 are there"):
        Arrays(path).load("all")


def test_weights_that_are_none(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="model.safetensors is damaged"):
        tensors(path, b"\xff" * 100)


@pytest.mark.parametrize(("name", "called"), [("X", "zstd"), ("obs/_index", "zstd")])
def test_compression_that_is_not_here_is_named(tmp_path, name, called, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hdf5plugin", None)
    write_h5ad(tmp_path, np.asarray)
    with h5py.File(tmp_path / "table.h5ad", "r+") as file:
        if not hasattr(file[name], "shape"):
            pytest.skip("newer anndata keeps names in a group")
        shape, attributes = file[name].shape, dict(file[name].attrs)
        del file[name]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk(shape)
        how.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple(shape)
        made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_INT32, space, how)
        made.write_direct_chunk((0,) * len(shape), b"squeezed", filter_mask=0)
        file[name].attrs.update(attributes)
    for missing in (False, True):
        with pytest.raises(ValueError, match=f"/{name} is compressed by {called} .HDF5 filter"):
            CountTable(tmp_path / "table.h5ad", missing=missing).load("all")


def test_other_matrices_of_anndata_are_named(tmp_path):
    write_h5ad(tmp_path)
    with h5py.File(tmp_path / "table.h5ad", "r+") as file:
        file["X"].attrs["encoding-type"] = "awkward-array"
    with pytest.raises(
        ValueError, match="X is of kind awkward-array, which is no matrix of counts"
    ):
        CountTable(tmp_path / "table.h5ad").load("all")


def test_hdf5_of_another_kind_is_named(tmp_path):
    write_h5ad(tmp_path)
    write_10x(tmp_path)
    (tmp_path / "table.h5ad").rename(tmp_path / "a.h5")
    (tmp_path / "table.h5").rename(tmp_path / "b.h5ad")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["matrix"] = np.ones((3, 2))
        file.create_group("row_attrs")
        file.create_group("col_attrs")
    for name, message in (
        ("a.h5", "looks like one of AnnData: call it .h5ad; it has X, layers, obs"),
        ("b.h5ad", "looks like one of 10x Genomics: call it .h5"),
        ("c.h5", "looks like a .loom file: save it as .h5ad, with anndata.io.read_loom; it has"),
    ):
        with pytest.raises(ValueError, match=message):
            CountTable(tmp_path / name).load("all")
