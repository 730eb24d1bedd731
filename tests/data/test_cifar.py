import builtins
import copyreg
import os
import pickle
import struct

import numpy as np
import pytest
import torch

from markovbridge.data import CIFAR10, locations
from markovbridge.data.cifar import read_pickle

ROWS = 4
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def images(k):
    """The images of batch k, (ROWS, 3072) bytes, all different."""
    return ((np.arange(ROWS * 3072) * 7 + 13 * k) % 251).astype(np.uint8).reshape(ROWS, 3072)


def labels(k):
    return [(k + i) % 10 for i in range(ROWS)]


def python2(value):
    """The opcodes with which Python 2 wrote `value` under protocol 2, without the frame."""
    if isinstance(value, bytes):  # str of Python 2
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if value is None:
        return b"N"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(python2, value)) + b"t"
    if isinstance(value, dict):
        items = b"".join(python2(k) + python2(v) for k, v in value.items())
        return b"}(" + items + b"u"
    assert isinstance(value, np.ndarray)
    dtype = (
        b"cnumpy\ndtype\n"
        + python2((b"u1", 0, 1))
        + b"R"
        + python2((3, b"|", None, None, None, -1, -1, 0))
        + b"b"
    )
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + b"(cnumpy\nndarray\n"
        + python2((0,))
        + python2(b"b")
        + b"tR("
        + python2(1)
        + python2(value.shape)
        + dtype
        + python2(False)
        + python2(value.tobytes())
        + b"tb"
    )


def as_python2(value):
    return b"\x80\x02" + python2(value) + b"."


def encoded(value):
    """Text as bytes throughout, as a `str` of Python 2."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return {encoded(k): encoded(v) for k, v in value.items()}
    return [encoded(v) for v in value] if isinstance(value, list) else value


WRITERS = {
    "python 2": lambda value: as_python2(encoded(value)),
    "python 3, protocol 2": lambda value: pickle.dumps(value, protocol=2),
    "python 3, protocol 4": lambda value: pickle.dumps(value, protocol=4),
    "python 3, bytes": lambda value: pickle.dumps(encoded(value), protocol=3),
}


def write(folder, dump=WRITERS["python 2"]):
    folder.mkdir(parents=True, exist_ok=True)
    for k, file in enumerate(FILES):
        batch = {"batch_label": f"batch {k}", "labels": labels(k), "data": images(k)}
        (folder / file).write_bytes(dump({**batch, "filenames": ["a.png"] * ROWS}))
    meta = {"num_cases_per_batch": ROWS, "label_names": list(LABELS), "num_vis": 3072}
    (folder / "batches.meta").write_bytes(dump(meta))
    return folder


@pytest.mark.parametrize("writer", WRITERS)
def test_reads_what_any_python_wrote(tmp_path, writer):
    root = write(tmp_path / "cifar-10-batches-py", WRITERS[writer])
    train, test, both = (CIFAR10(root).load(split) for split in ("train", "test", "all"))
    assert train.x.shape == (5 * ROWS, 3, 32, 32)
    assert train.x.dtype == torch.uint8
    expected = np.concatenate([images(k) for k in range(5)])
    assert np.array_equal(train.x.flatten(1).numpy(), expected)
    assert train.labels.tolist() == sum((labels(k) for k in range(5)), [])
    assert np.array_equal(test.x.flatten(1).numpy(), images(5))
    assert test.labels.tolist() == labels(5)
    assert torch.equal(both.x, torch.cat([train.x, test.x]))
    assert (train.label_names, train.maximum, train.name) == (LABELS, 255, "cifar10")


def test_the_ordinary_unpickler_agrees_on_the_files_of_these_tests():
    # So that the opcodes written above are what a Python 2 would have written.
    value = {b"data": images(0), b"labels": labels(0)}
    read = pickle.loads(as_python2(value), encoding="bytes")
    assert np.array_equal(read[b"data"], images(0))
    assert read[b"labels"] == labels(0)


def test_channels_come_first(tmp_path):
    # The format: 1,024 bytes of red, then green, then blue, each row by row.
    data = CIFAR10(write(tmp_path / "c")).load()
    assert data.x[0, 1, 0, 5] == images(0)[0, 1024 + 5]
    assert data.x[0, 2, 3, 0] == images(0)[0, 2048 + 96]


def test_keeps_the_order_of_a_column_major_array(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({"data": np.asfortranarray(images(1))}, protocol=4))
    assert np.array_equal(read_pickle(path)["data"], images(1))


def test_sets_part_of_the_training_set_aside(tmp_path):
    source = CIFAR10(write(tmp_path / "c"), validation=0.25)
    assert [len(source.load(s)) for s in ("train", "validation", "test", "all")] == [15, 5, 4, 24]


def test_looks_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setattr(locations, "SYSTEM", tmp_path / "system")
    monkeypatch.setenv(locations.VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"fetch cifar-10-python.tar.gz from .* unpack it"):
        CIFAR10().load()
    root = write(tmp_path / "cifar-10-batches-py")
    assert len(CIFAR10().load("test")) == ROWS
    (root / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match="has no data_batch_3"):
        CIFAR10().load("test")


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (eval, r"(builtins|__builtin__).eval"),
        (builtins.open, r"_?io.open"),
        (np.load, r"numpy.load"),
        (copyreg._reconstructor, r"copy_?reg._reconstructor"),
        (pickle.loads, r"_?pickle.loads"),
    ],
)
def test_refuses_a_malicious_pickle(tmp_path, monkeypatch, protocol, function, name):
    root = write(tmp_path / "c")
    sprung = tmp_path / "sprung"
    monkeypatch.chdir(tmp_path)
    argument = {os.system: f"touch {sprung}", eval: f"open({str(sprung)!r}, 'w')"}.get(
        function, str(sprung)
    )
    (root / "data_batch_2").write_bytes(pickle.dumps(Call(function, argument), protocol))
    with pytest.raises(ValueError, match=f"data_batch_2 is refused: it names {name}, which no"):
        CIFAR10(root).load()
    assert not sprung.exists()


def test_refuses_a_malicious_pickle_hidden_in_a_good_one(tmp_path):
    root = write(tmp_path / "c")
    sprung = tmp_path / "sprung"
    batch = {"data": images(0), "labels": labels(0), "extra": [Call(os.system, f"touch {sprung}")]}
    (root / "test_batch").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(ValueError, match="test_batch is refused"):
        CIFAR10(root).load("test")
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nndarray\n(K\x05tR.",  # calls a name that is only a name
        b"cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",  # sets an attribute of an admitted name
        b"cnumpy\ndtype\nN}X\x08\x00\x00\x00__call__K\x01s\x86b.",  # the same, past its dictionary
        b"ccopy_reg\n_extension_registry\n.",  # names a table of the interpreter
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",  # another codec
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",  # an attribute of an admitted name
        b"P1\n.",  # an object outside the file
        b"\x82\x01.",  # a registered extension
        pickle.dumps({"data": np.zeros(3, np.int64)}, 2),  # an array of something else
        pickle.dumps({"data": np.array([None, 1])}, 2),  # an array of objects
        pickle.dumps({"data": np.dtype("u1")}, 2),  # an admitted name out of place
    ],
)
def test_refuses_every_other_program(tmp_path, content):
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="batch is (refused|damaged)"):
        read_pickle(path)
    # An array still loads, so no stand-in was changed.
    path.write_bytes(as_python2({b"data": images(2)}))
    assert np.array_equal(read_pickle(path)[b"data"], images(2))


@pytest.mark.parametrize("kept", [0, 1, 2, 50, 5000, -1])
def test_refuses_truncated_files(tmp_path, kept):
    root = write(tmp_path / "c")
    path = root / "data_batch_1"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"data_batch_1 is damaged \(.*\); unpack the archive"):
        CIFAR10(root).load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": images(0)[:3]}, r"data is \(3, 3072\), expected an array \(4, 3072\)"),
        ({"data": images(0).tobytes()}, r"data is bytes, expected an array"),
        ({"labels": labels(0)[:3]}, r"labels must be a list of 4 integers"),
        ({"labels": "abcd"}, r"labels must be a list of 4 integers"),
        ({"labels": ["a", "b", "c", "d"]}, r"labels must be a list of 4 integers"),
        ({"labels": [0, 1, 2, 10]}, r"labels of cifar10\[3\] is 10, above the maximum 9"),
        ({"labels": None}, "labels must be a list"),
    ],
)
def test_refuses_batches_of_another_form(tmp_path, change, message):
    root = write(tmp_path / "c")
    batch = {"data": images(0), "labels": labels(0), **change}
    (root / "test_batch").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(ValueError, match=message):
        CIFAR10(root).load("test")


@pytest.mark.parametrize("content", [{"fine_labels": [1]}, [1, 2], None])
def test_refuses_other_batches(tmp_path, content):
    root = write(tmp_path / "c")
    (root / "test_batch").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(ValueError, match="test_batch has no entry 'data', so it is not CIFAR-10"):
        CIFAR10(root).load("test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_cases_per_batch": "many"}, "num_cases_per_batch='many' must be an integer"),
        ({"label_names": None}, "label_names=None a list"),
        ({"num_cases_per_batch": ROWS + 1}, r"expected an array \(5, 3072\)"),
    ],
)
def test_refuses_another_meta_file(tmp_path, change, message):
    root = write(tmp_path / "c")
    meta = {"num_cases_per_batch": ROWS, "label_names": list(LABELS), **change}
    (root / "batches.meta").write_bytes(pickle.dumps(meta, 2))
    with pytest.raises(ValueError, match=message):
        CIFAR10(root).load()
