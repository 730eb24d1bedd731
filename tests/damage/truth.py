"""What damaged files of numbers say, read a second time: slowly, by their definitions alone.

Readers of compressed rows hand indices to code in C, where one that is wrong moves a count into
another row, or worse. So what a reader made of a damaged file is held against loops of Python
here, which look at every index.
"""

import csv
import io as streams
import math
import re

import h5py
import numpy as np

WHOLE = re.compile(r"\s*[0-9]{1,18}\s*")
FORMS = {"coo", "csr", "csc", "bsr", "dia"}


class Impossible(ValueError):
    """The file contradicts itself: there is no table that it could mean."""


class Unclear(Exception):
    """Nothing is known here of what the file means."""


def require(condition, what):
    if not condition:
        raise Impossible(what)


def meaning(name, folder):
    """The counts in the folder of a sample, as lists, and None where only the reader knows.

    Args:
        name: Of the format.
        folder: Where its files are.

    Raises:
        Impossible: If the files contradict themselves.
    """
    for start, decode in DECODERS.items():
        if name.startswith(start):
            try:
                return decode(folder, name)
            except Impossible:
                raise
            except Exception:
                return None
    return None


def compressed(data, indices, indptr, shape, by_column=False, block=(1, 1)):
    """A dense table of compressed rows or columns, of blocks if they are larger than 1 x 1."""
    rows, columns = (int(size) for size in shape)
    require(rows >= 0 and columns >= 0, "negative shape")
    if rows * columns > 10**6:
        raise Unclear
    major, minor = rows // block[0], columns // block[1]
    if by_column:
        major, minor = minor, major
    pointers, places = [int(p) for p in indptr], [int(p) for p in indices]
    require(len(pointers) == major + 1, "pointers of another number of rows")
    require(len(places) == len(data), "indices of another number of entries")
    require(pointers[0] == 0 and pointers[-1] == len(data), "pointers do not span the entries")
    out = [[0] * columns for _ in range(rows)]
    for outer in range(major):
        require(0 <= pointers[outer] <= pointers[outer + 1] <= len(data), "disordered pointers")
        for k in range(pointers[outer], pointers[outer + 1]):
            require(0 <= places[k] < minor, f"index {places[k]}")
            row, column = (places[k], outer) if by_column else (outer, places[k])
            for (i, j), value in np.ndenumerate(np.reshape(data[k], block)):
                out[row * block[0] + i][column * block[1] + j] += number(value)
    return out


def number(value):
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, int) or not math.isfinite(value) else float(value)


def h5ad(folder, name):
    with h5py.File(folder / "table.h5ad", "r") as file:
        where = "layers/counts" if "layer" in name else "X"
        rows, columns = (
            file[part][file[part].attrs["_index"]].shape[0] for part in ("obs", "var")
        )
        group = file[where]
        if hasattr(group, "dtype"):
            require(group.shape == (rows, columns), "shape")
            return [[number(v) for v in line] for line in group[:]]
        stated = group.attrs.get("shape")
        require(stated is None or tuple(stated) == (rows, columns), "shape")
        form = group.attrs["encoding-type"]
        if form not in ("csr_matrix", "csc_matrix"):
            raise Unclear
        parts = (group[part][:] for part in ("data", "indices", "indptr"))
        return compressed(*parts, (rows, columns), form == "csc_matrix")


def tenx(folder, name):
    with h5py.File(folder / "table.h5", "r") as file:
        old = "version 2" in name
        group = file["hg19" if old else "matrix"]
        columns = group["genes" if old else "features/id"].shape[0]
        rows = group["barcodes"].shape[0]
        stated = tuple(group["shape"][:][::-1]) if "shape" in group else (rows, columns)
        require(stated == (rows, columns), "shape")
        return compressed(*(group[p][:] for p in ("data", "indices", "indptr")), stated)


def npz(folder, name):
    with np.load(folder / "table.npz", allow_pickle=False) as file:
        if "format" not in file:
            raise Unclear
        form, shape = str(np.asarray(file["format"]).astype(str)), file["shape"]
        if form not in FORMS or shape.shape != (2,):
            raise Unclear
        data = file["data"]
        if form in ("csr", "csc"):
            return compressed(data, file["indices"], file["indptr"], shape, form == "csc")
        if form == "bsr":
            require(data.ndim == 3 and min(data.shape[1:]) > 0, "blocks")
            require(not any(s % b for s, b in zip(shape, data.shape[1:], strict=True)), "blocks")
            parts = file["indices"], file["indptr"]
            return compressed(data, *parts, shape, block=data.shape[1:])
        out = [[0] * int(shape[1]) for _ in range(int(shape[0]))]
        if form == "coo":
            rows, columns = file["row"], file["col"]
            require(len(rows) == len(columns) == len(data), "lengths")
            for row, column, value in zip(rows, columns, data, strict=True):
                require(0 <= row < shape[0] and 0 <= column < shape[1], "place")
                out[int(row)][int(column)] += number(value)
            return out
        require(len(file["offsets"]) == len(data), "diagonals")
        for offset, line in zip(file["offsets"], data, strict=True):
            for column, value in enumerate(line[: int(shape[1])]):
                row = column - int(offset)
                if 0 <= row < shape[0]:
                    out[row][column] += number(value)
        return out


def market(folder, name):
    (path,) = [p for p in folder.glob("matrix.mtx*")]
    text = path.read_bytes()
    if path.suffix == ".gz":
        import gzip

        text = gzip.decompress(text)
    first, *lines = text.decode("ascii").splitlines()
    if first.split() != "%%MatrixMarket matrix coordinate integer general".split():
        raise Unclear
    lines = [line.split() for line in lines if not line.startswith("%")]
    if not all(len(line) == 3 and all(map(WHOLE.fullmatch, line)) for line in lines):
        raise Unclear
    (rows, columns, entries), *lines = [[int(cell) for cell in line] for line in lines]
    require(len(lines) == entries, "number of entries")
    out = [[0] * rows for _ in range(columns)]  # features are in rows
    for row, column, value in lines:
        require(1 <= row <= rows and 1 <= column <= columns, "place")
        out[column - 1][row - 1] += value
    return out


def text(folder, name):
    (path,) = [p for p in folder.glob("table.*") if ".csv" in p.name or ".tsv" in p.name]
    content = path.read_bytes()
    if path.suffix == ".gz":
        import gzip

        content = gzip.decompress(content)
    content = content.decode("utf-8")
    if '"' in content or "\0" in content or "\r" in content:
        raise Unclear
    separator = "\t" if ".tsv" in path.name else ","
    head, *lines = [line for line in csv.reader(streams.StringIO(content), delimiter=separator)]
    lines = [line for line in lines if any(line)]
    if "batch" not in head or head[0] or len(set(head)) != len(head):
        raise Unclear
    places = [k for k, name in enumerate(head) if k and name != "batch"]
    if not all(len(line) == len(head) for line in lines):
        raise Unclear
    if not all(re.fullmatch("[0-9]{1,15}", line[k]) for line in lines for k in places):
        raise Unclear
    return [[int(line[k]) for k in places] for line in lines]


def idx(folder, name):
    import gzip

    out = []
    for path in sorted(folder.glob("*images*"), reverse=True):  # training images come first
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        sizes = [int(n) for n in np.frombuffer(content[4:16], ">u4")]
        require(content[:4] == bytes([0, 0, 8, 3]), "header")
        require(len(content) == 16 + math.prod(sizes), "length")
        out += np.frombuffer(content[16:], np.uint8).reshape(sizes[0], 1, *sizes[1:]).tolist()
    return out


DECODERS = {
    "h5ad missing": lambda *_: None,  # where NaN is none of the counts
    "h5ad": h5ad,
    "10x": tenx,
    "npz of arrays": lambda *_: None,
    "npz": npz,
    "folder": market,
    "bare": market,
    ".csv": text,
    ".tsv": text,
    "csv": text,
    "idx": idx,
}
