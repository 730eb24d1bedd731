"""Damage to what is written in words: tables of text, YAML, JSON, and the header of weights."""

import json
import struct

import hostile as probes
from damage.hostile import HERE, NUMBERS, TEXTS, Impracticable, act
from markovbridge.storage.files import sealed


def text_of(path):
    return path.read_text(encoding="utf-8")


def put(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding, "surrogatepass"))


TABLES = (".csv", ".tsv")


def a_line(path, rng):
    """What separates cells, all lines, the number of one, and its cells."""
    separator = {".csv": ",", ".tsv": "\t"}.get(path.suffix, " ")
    lines = text_of(path).split("\n")
    at = rng.choice((0, 1, rng.randrange(len(lines))))
    return separator, lines, at, lines[at].split(separator)


@act(*TABLES, ".mtx")
def cell_changed(path, rng):
    separator, lines, at, cells = a_line(path, rng)
    k = rng.randrange(len(cells))
    cells[k] = str(rng.choice((*TEXTS, *NUMBERS)))
    lines[at] = separator.join(cells)
    put(path, "\n".join(lines))
    return f"line {at}, cell {k}: {cells[k][:20]!r}"


@act(*TABLES, ".mtx")
def cells_moved(path, rng):
    separator, lines, at, cells = a_line(path, rng)
    how = rng.choice(("one less", "one more", "many more", "none"))
    k = rng.randrange(len(cells))
    changed = {
        "one less": cells[:k] + cells[k + 1 :],
        "one more": [*cells[:k], "7", *cells[k:]],
        "many more": cells * 50,
        "none": [],
    }
    lines[at] = separator.join(changed[how])
    put(path, "\n".join(lines))
    return f"line {at}: {how}"


@act(*TABLES, ".mtx")
def lines_changed(path, rng):
    lines = text_of(path).split("\n")
    at = rng.randrange(len(lines))
    how = rng.choice(("missing", "twice", "header only", "swapped", "blank", "no end"))
    if how == "missing":
        del lines[at]
    elif how == "twice":
        lines.insert(at, lines[at])
    elif how == "header only":
        lines = [lines[0], ""]
    elif how == "swapped":
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif how == "blank":
        lines[at:at] = [""] * 99
    put(path, "\n".join(lines).rstrip("\n") if how == "no end" else "\n".join(lines))
    return f"{how}, line {at}"


@act(*TABLES, ".mtx", ".yaml", ".json")
def encoded_otherwise(path, rng):
    encoding = rng.choice(("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp500"))
    put(path, text_of(path), encoding)
    return encoding


@act(*TABLES)
def wide(path, rng):
    separator = "," if path.suffix == ".csv" else "\t"
    rows = [separator.join(["7"] * 20_000) for _ in range(rng.choice((1, 2)))]
    put(path, "\n".join([text_of(path).split("\n")[0], *rows, ""]))


@act(*TABLES)
def quotes_open(path, rng):
    text = text_of(path)
    at = rng.randrange(len(text))
    put(path, f'{text[:at]}"{text[at:]}')


@act(*TABLES)
def ends_of_lines(path, rng):
    end = rng.choice(("\r", "\r\n", "\u2028", "\n\n"))
    put(path, text_of(path).replace("\n", end))
    return repr(end)


@act(".mtx")
def matrix_header_changed(path, rng):
    lines = text_of(path).split("\n")
    word = rng.choice(
        ("matrix array real general", "matrix coordinate complex general")
        + ("matrix coordinate pattern general", "matrix coordinate integer symmetric")
        + ("matrix coordinate integer skew-symmetric", "vector coordinate integer general")
        + ("matrix coordinate real general", "matrix coordinate", "")
    )
    lines[0] = f"%%MatrixMarket {word}".rstrip()
    put(path, "\n".join(lines))
    return word


@act(".mtx")
def sizes_changed(path, rng):
    lines = text_of(path).split("\n")
    at = next(k for k, line in enumerate(lines) if not line.startswith("%"))
    sizes = lines[at].split()
    k = rng.randrange(len(sizes))
    sizes[k] = str(rng.choice(NUMBERS))
    lines[at] = " ".join(sizes)
    put(path, "\n".join(lines))
    return lines[at]


@act(".mtx", certain=True)
def entry_outside(path, rng):
    lines = text_of(path).split("\n")
    at = rng.randrange(len(lines) - 10, len(lines) - 1)
    cells = lines[at].split()
    cells[rng.randrange(2)] = str(rng.choice([n for n in NUMBERS if not 1 <= n <= 30]))
    lines[at] = " ".join(cells)
    put(path, "\n".join(lines))
    return lines[at]


# YAML.


@act(".yaml", ".yaml")
def text_of_somebody_else(path, rng):
    texts = probes.texts(HERE[0] / "trace")
    name = rng.choice(sorted(texts))
    put(path, texts[name])
    return name


@act(".yaml", certain=True)
def alias_bomb(path, rng):
    nodes = "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 10))
    put(path, f"{text_of(path)}\na0: &a0 [x, x, x]\n{nodes}")


@act(".yaml", certain=True)
def tag_put_in(path, rng):
    tag = rng.choice(("python/object/apply:os.system", "python/name:os.system", "binary"))
    put(path, f"{text_of(path)}\nx: !!{tag} ['touch {HERE[0] / 'trace'}']\n")
    return tag


@act(".yaml", certain=True)
def nested(path, rng):
    depth = rng.choice((70, 2000, 100_000))
    opening, closing = rng.choice((("[", "]"), ("{a: ", "}")))
    put(path, f"{text_of(path)}\nx: {opening * depth}{closing * rng.choice((0, depth))}\n")
    return f"{depth} levels of {opening}"


# JSON.


def places(value, way=()):
    """All places in a nested value."""
    yield way
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield from places(inner, (*way, key))


def instead(value, way, new):
    """Put something else in a place; `None` in its stead takes it away."""
    for key in way[:-1]:
        value = value[key]
    if new is ...:
        del value[way[-1]]
    else:
        value[way[-1]] = new


VALUES = (
    None,
    True,
    -1,
    0,
    2**70,
    0.5,
    1e308,
    "",
    "x",
    "../../x",
    "\ud800",
    [],
    {},
    [[]],
    {"a": 1},
)
VALUES += (
    "os.system",
    {"class_path": "os.system", "init_args": {"command": "true"}},
    "NaN",
    10**400,
)


def changed(content, rng):
    """A value with something else in one place, and where."""
    ways = [way for way in places(content) if way]
    if not ways:
        raise Impracticable
    way = rng.choice(ways)
    new = ... if rng.random() < 0.2 else rng.choice(VALUES)
    instead(content, way, new)
    return content, f"{'.'.join(map(str, way))[:60]}: {ascii(new)[:40]}"


@act(".json", ".json")
def place_changed(path, rng):
    """Another value in a place, with the hash that goes with it, if there is one."""
    content = json.loads(text_of(path))
    hashed = content.pop("sha256", None)
    content, said = changed(content, rng)
    try:
        text = sealed(content) if hashed else json.dumps(content)
    except (ValueError, OverflowError) as error:
        raise Impracticable from error
    put(path, text)
    return said


@act(".json", ".jsonl")
def text_changed(path, rng):
    text = text_of(path)
    how = rng.choice(("deep", "open", "NaN", "twice", "long number", "list", "null", "two"))
    depth = rng.choice((100, 100_000))
    texts = {
        "deep": "[" * depth + "]" * depth,
        "open": '{"a":' * depth,
        "NaN": text.replace("0", "NaN", 1).replace("1", "Infinity", 1),
        "twice": text.replace("{", '{"format": 1, "format": 2, ', 1),
        "long number": text.replace("1", "9" * 5000, 1),
        "list": f"[{text}]",
        "null": "null",
        "two": text * 2,
    }
    put(path, texts[how])
    return how


@act(".jsonl")
def line_changed(path, rng):
    lines = text_of(path).splitlines()
    at = rng.randrange(len(lines))
    content, said = changed(json.loads(lines[at]), rng)
    lines[at] = json.dumps(content)
    put(path, "\n".join([*lines, ""]))
    return said


# Weights.


@act(".safetensors", ".safetensors")
def weights_changed(path, rng):
    """The header of a file of weights, with the hash that goes with it in what lies beside."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, values = json.loads(content[8 : 8 + size]), content[8 + size :]
    how = rng.choice(("place", "place", "length", "offsets", "overlap", "values", "deep", "shape"))
    name = rng.choice(sorted(k for k in header if k != "__metadata__"))
    if how == "place":
        header, said = changed(header, rng)
        how = f"{how} {said}"
    elif how == "offsets":
        header[name]["data_offsets"] = rng.choice(([0, 2**62], [-4, 0], [8, 4], [0, 3]))
    elif how == "overlap":
        header[name]["data_offsets"] = [0, len(values)]
    elif how == "shape":
        header[name]["shape"] = rng.choice(([2**40, 2**40], [0], [-1], [1], [2**62]))
    elif how == "values":
        values = bytes(len(values)) if rng.random() < 0.5 else b"\xff" * len(values)
    text = ("[" * 100_000 if how == "deep" else json.dumps(header)).encode()
    length = rng.choice((2**62, 2**63, 0, 3)) if how == "length" else len(text)
    path.write_bytes(struct.pack("<Q", length) + text + values)
    hash_again(path)
    return how


def hash_again(path):
    """Write the hash of a file of weights where it is looked for."""
    import hashlib

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for beside in (path.with_name("config.json"), path.with_name("state.json")):
        if beside.is_file():
            record = json.loads(text_of(beside))
            record.pop("sha256", None)
            if "files" in record:
                entry = {"bytes": path.stat().st_size, "sha256": digest}
                record["files"][path.stem] = entry
            else:
                record["weights"]["sha256"] = digest
            put(beside, sealed(record))
