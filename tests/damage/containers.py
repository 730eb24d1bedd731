"""Damage to what holds arrays and pictures: .npy, .npz, parquet, IDX, pickles, images."""

import io
import pickle
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pandas as pd

from damage.hostile import HERE, NUMBERS, REALS, Impracticable, act


class Trap:
    """What leaves a trace when a pickle of it is read."""

    def __reduce__(self):
        return (open, (str(HERE[0] / "trace"), "w"))


def array(values):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(values), allow_pickle=True)
    return file.getvalue()


def with_header(content, header, version=(1, 0)):
    """An .npy file with another header, which is any text."""
    length = struct.unpack("<H", content[8:10])[0]
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    packed = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + packed + text + content[10 + length :]


def npy_damaged(content, rng):
    """An .npy file that says something else, what it says, and whether it must be refused."""
    values = np.load(io.BytesIO(content), allow_pickle=False)
    shape, kind = values.shape, values.dtype.str
    say = "{{'descr': {!r}, 'fortran_order': {}, 'shape': {}, }}".format
    headers = {
        "huge shape": say(kind, False, (10**12, 10**6)),
        "shape beyond 64 bits": say(kind, False, (2**63, 2**63)),
        "negative shape": say(kind, False, (-1,)),
        "larger shape": say(kind, False, (2 * max(1, values.size),)),
        "many axes": say(kind, False, (1,) * 70),
        "shape of text": say(kind, False, ("3",)),
        "objects": say("|O", False, shape),
        "no type": say("<q9", False, shape),
        "type of code": say("__import__('os')", False, shape),
        "a call": f"{{'descr': open({str(HERE[0] / 'trace')!r}, 'w')}}",
        "deep": "(" * 3000,
        "no brackets": "{'descr': '<i8'",
        "nothing": "",
        "numbers of text": say("<U2147483647", False, (1,)),
        "sizes of zero": say("|V0", False, (10**15,)),
    }
    arrays = {
        "floats": values.astype(float) if values.dtype.kind in "iu" else values.ravel()[::-1],
        "text": values.astype(str),
        "complex": values.astype(complex) if values.dtype.kind in "iuf" else np.zeros(1, complex),
        "booleans": np.zeros(shape, bool),
        "dates": np.zeros(shape, "M8[s]"),
        "records": np.zeros(shape, [("a", "i4"), ("b", "f8")]),
        "big-endian": values.astype(values.dtype.newbyteorder(">")),
        "halves": np.zeros(shape, np.float16),
        "long doubles": np.zeros(shape, np.longdouble),
        "no axes": np.asarray(values.ravel()[0]) if values.size else np.zeros(()),
        "one axis more": values[None],
        "empty": values.ravel()[:0],
        "column-major": np.asfortranarray(values),
        "fewer": values[: len(values) // 2] if values.ndim else values,
        "twice": np.concatenate([values, values]) if values.ndim else values,
        "a trap": np.array([Trap()], dtype=object),
    }
    hostile = {}
    if values.dtype.kind in "iuf" and values.size:
        for number in (*NUMBERS, *REALS):
            if isinstance(number, float) or -(2**63) <= number < 2**63:
                changed = values.astype(float if isinstance(number, float) else np.int64)
                at = rng.randrange(values.size)
                changed.ravel()[at : at + 1] = number
                hostile[f"{number}"] = changed
    choice = rng.choice((headers, arrays, *[hostile] * (3 if hostile else 0)))
    name = rng.choice(sorted(choice))
    if choice is headers:
        version = rng.choice(((1, 0), (1, 0), (2, 0)))
        return with_header(content, headers[name], version), name, True
    return array(choice[name]), name, name == "a trap"


@act(".npy")
def array_changed(path, rng):
    content, said, _ = npy_damaged(path.read_bytes(), rng)
    path.write_bytes(content)
    return said


@act(".npy", certain=True)
def version_unknown(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[:6] + bytes([rng.choice((0, 4, 9, 255)), 0]) + content[8:])


@act(".npy", ".npz", certain=True)
def pickle_instead(path, rng):
    path.write_bytes(pickle.dumps(Trap(), rng.choice((0, 2, 4))))


def members(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(path, held, kind=zipfile.ZIP_DEFLATED):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", kind) as file:
        warnings.simplefilter("ignore")  # names that are there twice
        for name, content in held if isinstance(held, list) else held.items():
            file.writestr(name, content)


@act(".npz", ".npz", ".npz", ".npz")
def member_changed(path, rng):
    held = members(path)
    name = rng.choice(sorted(held))
    held[name], said, _ = npy_damaged(held[name], rng)
    packed(path, held)
    return f"{name}: {said}"


@act(".npz")
def members_otherwise(path, rng):
    held = members(path)
    name, other = rng.choice(sorted(held)), rng.choice(sorted(held))
    how = rng.choice(("missing", "renamed", "swapped", "no array", "twice", "none", "more"))
    if how == "missing":
        del held[name]
    elif how == "renamed":
        held[rng.choice(("x.npy", "../x.npy", "format.npy", "/", "a" * 3000))] = held.pop(name)
    elif how == "swapped":
        held[name], held[other] = held[other], held[name]
    elif how == "no array":
        held[name] = rng.randbytes(rng.choice((0, 9, 999)))
    elif how == "none":
        held = {}
    elif how == "more":
        held["format.npy"] = array(rng.choice(("csr", "coo", "lil", b"csc", 3)))
    pairs = list(held.items())
    packed(path, [*pairs, pairs[0]] if how == "twice" and pairs else pairs)
    return f"{how}: {name}"


@act(".npz")
def packed_otherwise(path, rng):
    kind = rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED))
    packed(path, members(path), kind)
    return f"{kind}"


@act(".npz")
def directory_changed(path, rng):
    """The list of members at the end of a zip file, field by field."""
    content = bytearray(path.read_bytes())
    entries = [k for k in range(len(content) - 46) if content[k : k + 4] == b"PK\x01\x02"]
    at = rng.choice(entries)
    field, size = rng.choice(
        [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)]
    )
    value = rng.choice((1, 99, 2**31 - 1, 2**32 - 1, rng.randrange(2**32))) % 2 ** (8 * size)
    content[at + field : at + field + size] = value.to_bytes(size, "little")
    path.write_bytes(bytes(content))
    return f"field {field}: {value}"


@act(".npz")
def zip_bomb(path, rng):
    held = members(path)
    name = rng.choice(sorted(held))
    size = 2**26
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}"
    held[name] = with_header(array(np.zeros(0, "u1")), header) + bytes(size)
    packed(path, held)
    return name


# Tables and pictures.


@act(".parquet")
def frame_changed(path, rng):
    frame = pd.read_parquet(path)
    name = rng.choice([c for c in frame.columns if c != "batch"])
    values = {
        "lists": [[1, 2]] * len(frame),
        "dictionaries": [{"a": 1}] * len(frame),
        "dates": pd.date_range("2020-01-01", periods=len(frame)),
        "text": [str(v) for v in frame[name]],
        "bytes": [b"\xff"] * len(frame),
        "categories": pd.Categorical(["a", "b"] * (len(frame) // 2)),
        "missing": frame[name].where(np.arange(len(frame)) != 3).astype("Int64"),
        **{str(v): frame[name].astype(float).where(np.arange(len(frame)) != 3, v) for v in REALS},
        "negative": -1 - frame[name],
        "large": pd.array([2**64 - 1] * len(frame), dtype="uint64"),
        "booleans": frame[name] > 0,
    }
    how = rng.choice([*sorted(values), "no rows", "no columns", "twice", "index"])
    if how in values:
        frame[name] = values[how]
    elif how == "twice":
        frame = pd.concat([frame, frame])
    elif how == "index":
        frame = frame.reset_index(drop=True)
    else:
        frame = frame[:0] if how == "no rows" else frame[[]]
    frame.to_parquet(path)
    return f"{name}: {how}"


@act("idx")
def header_changed(path, rng):
    content = bytearray(path.read_bytes())
    if rng.random() < 0.3:
        content[rng.randrange(4)] = rng.randrange(256)
    else:
        at = 4 + 4 * rng.randrange(content[3])
        content[at : at + 4] = (rng.choice(NUMBERS) % 2**32).to_bytes(4, "big")
    path.write_bytes(bytes(content))


@act("pickle", certain=True)
def program_instead(path, rng):
    trace = HERE[0] / "trace"
    shell = f"cos\nsystem\n(S'touch {trace}'\ntR.".encode()
    deep = b"(" * 200_000 + b"."
    programs = {
        "open": pickle.dumps(Trap(), rng.choice((0, 1, 2, 4))),
        "shell": shell,
        "inside": pickle.dumps({b"data": Trap(), b"labels": [1]}, 2),
        "eval": f"cbuiltins\neval\n(S'open({str(trace)!r}, \"w\")'\ntR.".encode("latin1"),
        "deep": deep,
        "lists": b"]" * 100_000 + b"a" * 99_999 + b".",
        "memo": b"}r\xff\xff\xff\x7f.",
        "bytes": b"\x8e" + (2**62).to_bytes(8, "little") + b"abc.",
        "frame": b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"}.",
        "number": b"\x8b\xff\xff\xff\x7fabc.",
        "attribute": b"cnumpy\ndtype\n(S'u1'\ntR}S'arguments'\nI3\nsb.",
        "persistent": b"Pid\n.",
        "extension": b"\x82\x01.",
        "nothing": b"N.",
        "number alone": b"I3\n.",
        "long": b"I" + b"9" * 100_000 + b"\n.",
    }
    name = rng.choice(sorted(programs))
    path.write_bytes(programs[name])
    return name


@act("pickle")
def entries_changed(path, rng):
    held = pickle.loads(path.read_bytes())
    key = rng.choice(sorted(held))
    if rng.random() < 0.2:
        del held[key]
    else:
        pool = (3, -1, 10**30, None, [1, 2], [2**70, 1, 2], [b"a", 1, 2], {}, b"x", 2.5, True)
        arrays = (np.zeros((3, 3072)), np.zeros((3, 9), np.uint8), np.zeros(9, np.uint8))
        held[key] = rng.choice((*pool, *arrays, [10, 99, -1], [True, False, True], "é"))
    path.write_bytes(pickle.dumps(held, rng.choice((2, 3))))
    return f"{key}"


@act(".png")
def chunk_changed(path, rng):
    content, chunks, at = path.read_bytes(), [], 8
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    how = rng.choice(("size", "kind", "bomb", "text", "missing", "twice"))
    if how in ("size", "kind"):
        header = bytearray(chunks[0][1])
        if how == "size":
            header[4 * rng.randrange(2) :][:4] = b""
            width, height = rng.choice(((2**31 - 1, 9), (0, 5), (30_000, 30_000), (12_000, 9)))
            header = struct.pack(">II", width, height) + header[-5:]
        else:
            header[8 + rng.randrange(5)] = rng.randrange(256)
        chunks[0] = (b"IHDR", bytes(header))
    elif how == "bomb":
        chunks.insert(1, (b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26))))
    elif how == "text":
        chunks.insert(1, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))))
    elif how == "missing":
        del chunks[rng.randrange(len(chunks))]
    else:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    path.write_bytes(content[:8] + b"".join(parts))
    return how


@act(".jpg", ".jpeg")
def frame_header_changed(path, rng):
    content = bytearray(path.read_bytes())
    at = content.find(b"\xff\xc0")
    if at < 0:
        raise Impracticable
    field = rng.choice((4, 5, 7, 9, 10, 11, 12))
    content[at + field] = rng.choice((0, 1, 3, 255))
    path.write_bytes(bytes(content))
    return f"{field}"
