"""One table in every form that people keep tables in: objects, and files of every format."""

import gzip
import warnings
from importlib.util import find_spec

import anndata
import h5py
import numpy as np
import pandas as pd
import torch
from scipy import io, sparse

from markovbridge.data import CountTable, SparseRows

N, WIDTH = 12, 5
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.7, (N, WIDTH)) * RNG.integers(1, 9, (N, WIDTH))
COUNTS[3], COUNTS[5, 2] = 0, 100
ROWS = ("NA", "007", *(f"cell {k}" for k in range(2, N)))
COLUMNS = ("nan", "Sox2", "null", "None", "1.0")
NAMES = ROWS, COLUMNS
NONE = None, None
INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u8")
REALS = ("f2", "f4", "f8", ">f8")
KINDS = ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")


def frame(**fields):
    return pd.DataFrame(COUNTS, index=list(ROWS), columns=list(COLUMNS), **fields)


def cells(x, **fields):
    obs, var = pd.DataFrame(index=list(ROWS)), pd.DataFrame(index=list(COLUMNS))
    return anndata.AnnData(x, obs=obs, var=var, **fields)


def arrays():
    """Numpy arrays and tensors: no names."""
    for kind in (*INTEGERS, *REALS):
        yield f"numpy {kind}", COUNTS.astype(kind)
    wide = np.zeros((2 * N, 2 * WIDTH), int)
    wide[::2, ::2] = COUNTS
    yield "numpy strided", wide[::2, ::2]
    yield "numpy by column", np.asfortranarray(COUNTS)
    yield "numpy masked, nothing", np.ma.masked_array(COUNTS, np.zeros(COUNTS.shape, bool))
    yield "numpy noise", np.nextafter(COUNTS.astype(float), -1 + 1e-9)
    for kind in ("uint8", "int16", "int32", "int64", "float32", "float64", "bfloat16"):
        yield f"tensor {kind}", torch.from_numpy(COUNTS).to(getattr(torch, kind))


def matrices():
    """Scipy's sparse matrices and arrays: no names."""
    whole = sparse.csr_matrix(COUNTS)
    for kind in KINDS:
        for dtype in (int, np.float32):
            yield f"{kind}_matrix {dtype.__name__}", whole.astype(dtype).asformat(kind)
            array = getattr(sparse, f"{kind}_array")(COUNTS.astype(dtype))
            yield f"{kind}_array {dtype.__name__}", array
    rows, columns = COUNTS.nonzero()
    values = COUNTS[rows, columns]
    twice = np.concatenate([values - 1, np.ones_like(values)])
    places = np.tile(rows, 2)[::-1], np.tile(columns, 2)[::-1]
    yield "coo_matrix in parts", sparse.coo_matrix((twice[::-1], places), shape=COUNTS.shape)
    zeros = sparse.csr_matrix(
        (np.ravel(COUNTS), np.tile(range(WIDTH), N), WIDTH * np.arange(N + 1))
    )
    yield "csr_matrix with zeros", zeros
    yield "SparseRows", SparseRows(whole)


def frames():
    """Data frames."""
    yield "frame", frame()
    yield "frame of reals", frame().astype(float)
    yield "frame Int64", frame().astype("Int64")
    yield "frame UInt8", frame().astype("UInt8")
    yield "frame Float64", frame().astype("Float64")
    yield "frame Arrow", frame().astype("int64[pyarrow]")
    yield "frame Arrow reals", frame().astype("double[pyarrow]")
    yield "frame sparse", frame().astype(pd.SparseDtype(int, 0))
    yield "frame sparse reals", frame().astype(pd.SparseDtype(float, np.nan))
    mixed = dict(
        zip(COLUMNS, ("int8", "float64", "UInt16", "int64[pyarrow]", "float32"), strict=True)
    )
    yield "frame of many types", frame().astype(mixed)
    index, columns = frame().index.astype("string"), frame().columns.astype("string")
    yield "frame of pandas' text", frame().set_axis(index).set_axis(columns, axis=1)


def annotated(folder):
    """AnnData objects, with the layer that holds the counts."""
    logs = np.log1p(COUNTS)
    for kind in (np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        yield f"AnnData {kind.__name__}", cells(kind(COUNTS.astype("f4"))), None
    yield "AnnData i4", cells(COUNTS.astype("i4")), None
    twice = anndata.concat([cells(COUNTS * 1.0)] * 2, index_unique="-")
    twice.obs_names = [*ROWS, *ROWS]
    yield "AnnData view", twice[:N], None
    yield "AnnData layer", cells(logs, layers={"counts": sparse.csr_matrix(COUNTS)}), "counts"
    yield "AnnData without X", cells(None, layers={"counts": COUNTS}), "counts"
    made = cells(logs)
    made.raw = cells(sparse.csr_matrix(COUNTS * 1.0))
    yield "AnnData raw", made[:, :3].copy(), "raw"
    for kind in (np.asarray, sparse.csr_matrix, sparse.csc_matrix):
        path = folder / f"backed-{kind.__name__}.h5ad"
        cells(kind(COUNTS * 1.0)).write_h5ad(path)
        yield f"AnnData backed {kind.__name__}", anndata.read_h5ad(path, backed="r"), None
    backed = anndata.read_h5ad(folder / "backed-csr_matrix.h5ad", backed="r")
    yield "AnnData backed view", backed[:N], None
    made = anndata.read_h5ad(path)
    made.obs_names, made.var_names = frame().index.astype("string"), frame().columns
    yield "AnnData of pandas' text", made, None
    if find_spec("zarr") is not None:  # anndata brings it, since 0.12
        yield "AnnData of a zarr store", zarr_store(folder / "store.zarr"), None


def zarr_store(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the version of the store
        cells(sparse.csr_matrix(COUNTS * 1.0)).write_zarr(path)
    return anndata.io.read_zarr(path)


def old_h5ad(path, kind):
    """As anndata before 0.7 wrote it: structured arrays, and attributes of h5sparse, as bytes."""
    matrix = sparse.csr_matrix(COUNTS.astype("f4")).asformat(kind)
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"] = np.bytes_(kind)
        group.attrs["h5sparse_shape"] = COUNTS.shape
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)
        for part, names in (("obs", ROWS), ("var", COLUMNS)):
            file[part] = np.array([(name.encode(),) for name in names], [("index", "S10")])


def tenx(path, version, kinds=None):
    """10x Genomics' HDF5; with other kinds of features, of twice the counts, if `kinds` are."""
    counts, columns = COUNTS, list(COLUMNS)
    if kinds is not None:
        counts, columns = np.hstack([COUNTS[:, :2], 2 * COUNTS, COUNTS[:, 2:]]), list("abcdefghij")
        columns[:2], columns[-3:] = COLUMNS[:2], COLUMNS[2:]
    csr = sparse.csr_matrix(counts)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "hg19")
        for part in ("data", "indices", "indptr"):
            group.create_dataset(part, data=getattr(csr, part), compression="gzip")
        group["shape"] = np.array(counts.shape[::-1], np.int32)
        names = ("features/name", "features/id") if version == 3 else ("gene_names", "genes")
        for name, values in zip(("barcodes", *names), (ROWS, columns, columns), strict=True):
            group[name] = np.array(values, "S")
        if kinds is not None:
            each = np.repeat(kinds, (2, WIDTH, WIDTH - 2))
            group["features/feature_type"] = np.array(each, "S")


def market(folder, version, kinds=False, zipped=False):
    """A folder of 10x Genomics."""
    folder.mkdir()
    counts, lines = COUNTS, [f"E{c}\t{c}" + "\tGene Expression" * (version == 3) for c in COLUMNS]
    if kinds:
        counts, lines = (
            np.hstack([COUNTS, 2 * COUNTS]),
            [*lines, *(f"P{k}\tp{k}\tPeaks" for k in range(WIDTH))],
        )
    io.mmwrite(folder / "plain.mtx", sparse.coo_matrix(counts.T))
    texts = {"matrix.mtx": (folder / "plain.mtx").read_bytes()}
    (folder / "plain.mtx").unlink()
    texts["barcodes.tsv"] = "".join(f"{row}\n" for row in ROWS).encode()
    called = "features.tsv" if version == 3 else "genes.tsv"
    texts[called] = "".join(f"{line}\n" for line in lines).encode()
    for name, text in texts.items():
        file = folder / (f"{name}.gz" if zipped else name)
        file.write_bytes(gzip.compress(text) if zipped else text)
    return folder


def h5ad(folder):
    """Files of AnnData, and what is to be said of each."""
    f4 = COUNTS.astype("f4")
    for kind in (np.asarray, sparse.csr_matrix, sparse.csc_matrix):
        for compression in (None, "gzip", "lzf"):
            path = folder / f"{kind.__name__}-{compression}.h5ad"
            cells(kind(f4)).write_h5ad(path, compression=compression)
            yield path, {}
            if kind is not sparse.csc_matrix and compression == "gzip":
                yield path, {"backed": True}
    made = cells(np.log1p(COUNTS), layers={"counts": sparse.csr_matrix(COUNTS)})
    made.raw = cells(sparse.csc_matrix(COUNTS))
    made.write_h5ad(folder / "layers.h5ad")
    yield folder / "layers.h5ad", {"layer": "counts"}
    yield folder / "layers.h5ad", {"layer": "raw"}
    cells(None, layers={"counts": COUNTS}).write_h5ad(folder / "bare.h5ad")
    yield folder / "bare.h5ad", {"layer": "counts"}
    made = cells(f4)
    made.obs_names, made.var_names = (
        made.obs_names.astype("string"),
        made.var_names.astype("string"),
    )
    with anndata.settings.override(allow_write_nullable_strings=True):
        made.write_h5ad(folder / "nullable.h5ad")
    yield folder / "nullable.h5ad", {}
    for kind in ("csr", "csc"):
        old_h5ad(folder / f"old-{kind}.h5ad", kind)
        yield folder / f"old-{kind}.h5ad", {}


def text(folder):
    """Tables of text."""

    def put(name, content):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name

    for name, sign in (
        ("c.csv", ","),
        ("s.csv", ";"),
        ("t.csv", "\t"),
        ("t.tsv", "\t"),
        ("s.tsv", ";"),
    ):
        written = frame().to_csv(sep=sign)
        yield put(name, written), {}
        yield put(f"{name}.gz", gzip.compress(written.encode())), {}
        yield put(f"turned-{name}", frame().T.to_csv(sep=sign)), {"transpose": True}
    yield put("mark.csv", b"\xef\xbb\xbf" + frame().to_csv().encode()), {}
    yield put("lines.csv", frame().to_csv(lineterminator="\r\n")), {}
    yield put("quoted.csv", frame().to_csv(quoting=1)), {}
    yield put("named.csv", frame().to_csv(index_label="cell")), {}
    yield put("reals.csv", frame().astype(float).to_csv()), {}
    yield put("comma.csv", frame().astype(float).to_csv(sep=";", decimal=",")), {}
    yield (
        put("mixed.tsv", frame().astype(float).to_csv(sep="\t", decimal=",").replace(",0", "")),
        {},
    )
    habit = frame().to_csv().removeprefix(",")  # as write.table of R: no name above the names
    yield put("habit.csv", habit), {}
    yield put("biom.tsv", "# Constructed from biom file\n" + frame().to_csv(sep="\t")), {}
    last = frame().reset_index()[[*COLUMNS, "index"]].to_csv(index=False)
    yield put("last.csv", last), {"index": "index"}
    note = frame().assign(note="x", plate=range(N)).to_csv()
    yield put("note.csv", note), {"ignore": ("note", "plate")}
    frame().to_parquet(folder / "a.parquet")
    yield folder / "a.parquet", {}
    frame().astype("Int64").reset_index(names="cell").to_parquet(folder / "b.parquet")
    yield folder / "b.parquet", {}


def archives(folder):
    """NumPy archives, and whether they have names."""
    for kind in ("csr", "csc", "coo", "bsr", "dia"):
        for cls in ("matrix", "array"):
            path = folder / f"{kind}-{cls}.npz"
            sparse.save_npz(path, getattr(sparse, f"{kind}_{cls}")(COUNTS))
            yield path, {}, NONE
    np.savez(folder / "bare.npz", COUNTS)
    yield folder / "bare.npz", {}, NONE
    fields = {"row_names": ROWS, "column_names": COLUMNS}
    np.savez(folder / "named.npz", words=COUNTS * 1.0, other=2 * COUNTS, **fields)
    yield folder / "named.npz", {"key": "words"}, NAMES


def files(folder):
    """Every file, what is to be said of it, and its names."""
    yield from ((*found, NAMES) for found in (*h5ad(folder), *text(folder)))
    yield from archives(folder)
    for version in (2, 3):
        tenx(folder / f"v{version}.h5", version)
        yield folder / f"v{version}.h5", {}, NAMES
        yield market(folder / f"v{version}", version), {}, NAMES
        yield market(folder / f"v{version}z", version, zipped=True), {}, NAMES
    yield folder / "v3.h5", {"backed": True}, NAMES
    kinds = ["Gene Expression", "Peaks", "Gene Expression"]
    tenx(folder / "kinds.h5", 3, kinds)
    one = {"features": "Gene Expression"}
    yield folder / "kinds.h5", one, NAMES
    yield folder / "kinds.h5", {**one, "backed": True}, NAMES
    yield market(folder / "kinds", 3, kinds=True), one, NAMES
    yield market(folder / "kindsz", 3, kinds=True, zipped=True) / "matrix.mtx.gz", one, NAMES
    io.mmwrite(folder / "bare.mtx", sparse.coo_matrix(COUNTS))
    yield folder / "bare.mtx", {}, NONE
    io.mmwrite(folder / "full.mtx", COUNTS.T)
    yield folder / "full.mtx", {"transpose": True}, NONE


def objects(folder):
    """Every object, the layer of its counts, and its names."""
    yield from ((name, made, None, NONE) for name, made in (*arrays(), *matrices()))
    path = folder / "backed-rows.h5ad"
    cells(sparse.csr_matrix(COUNTS)).write_h5ad(path)
    yield "BackedRows", CountTable(path, backed=True).load("all").x, None, NONE
    yield from ((name, made, None, NAMES) for name, made in frames())
    yield from ((*found, NAMES) for found in annotated(folder))
