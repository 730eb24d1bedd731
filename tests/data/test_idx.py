import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from markovbridge.data import IDX, locations

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx(values, magic=None):
    """The IDX form of an array of bytes."""
    header = bytes([0, 0, 8, values.ndim]) if magic is None else magic
    return header + np.array(values.shape, ">u4").tobytes() + values.astype(np.uint8).tobytes()


def content(n, first):
    """`n` images of 4x3 and labels."""
    images = (first + np.arange(n * 12)).reshape(n, 4, 3) % 256
    return images.astype(np.uint8), (np.arange(n) % 10).astype(np.uint8)


def write(folder, train=30, test=10, first=0, compress=False):
    """The four files of a made-up data set."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, n, start in (("train", train, first), ("t10k", test, first + 100)):
        images, labels = content(n, start)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx(values)
            name = f"{prefix}-{kind}-ubyte"
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    """No data set in the usual places."""
    monkeypatch.delenv(locations.VARIABLE, raising=False)
    monkeypatch.setattr(locations, "SYSTEM", tmp_path / "system")


@pytest.mark.parametrize("compress", [False, True])
def test_reads_plain_and_compressed_files(tmp_path, compress):
    source = IDX("mine", root=write(tmp_path / "mine", compress=compress))
    train, test, both = (source.load(split) for split in ("train", "test", "all"))
    for data, n, first in ((train, 30, 0), (test, 10, 100)):
        images, labels = content(n, first)
        assert data.x.shape == (n, 1, 4, 3)
        assert data.x.dtype == torch.uint8
        assert data.x[:, 0].tolist() == images.tolist()
        assert data.labels.tolist() == labels.tolist()
        assert (data.maximum, data.name) == (255, "mine")
    assert torch.equal(both.x, torch.cat([train.x, test.x]))
    assert torch.equal(both.labels, torch.cat([train.labels, test.labels]))


def test_sets_part_of_the_training_set_aside(tmp_path):
    root = write(tmp_path / "mine")
    source = IDX("mine", root=root, validation=0.2, seed=1)
    parts = [source.load(split).x.tolist() for split in ("train", "validation")]
    assert [len(part) for part in parts] == [24, 6]
    assert sorted(sum(parts, [])) == sorted(IDX("mine", root=root).load("train").x.tolist())
    assert len(source.load("test")) == 10
    with pytest.raises(ValueError, match="set validation=0.1, say"):
        IDX("mine", root=root).load("validation")
    with pytest.raises(ValueError, match="split 'valid' is unknown"):
        IDX("mine", root=root).load("valid")


def test_looks_at_root_then_the_variable_then_debian(tmp_path, monkeypatch):
    given = write(tmp_path / "given", first=1)
    write(tmp_path / "variable" / "mine", first=2)
    write(tmp_path / "system" / "mine", first=3)

    def first(**fields):
        return int(IDX("mine", **fields).load().x[0, 0, 0, 0])

    assert first() == 3
    monkeypatch.setenv(locations.VARIABLE, str(tmp_path / "variable"))
    assert first() == 2
    assert first(root=given) == 1
    (tmp_path / "variable" / "mine" / "t10k-labels-idx1-ubyte").unlink()
    assert first() == 3


def test_says_what_is_missing_and_what_brings_it(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        IDX("fashion-mnist").load()
    with pytest.raises(
        FileNotFoundError,
        match=r"'mnist' not found: .*system/mnist is not a folder; put train-images-idx3-ubyte, "
        r"train-labels-idx1-ubyte, t10k-images.* in \$MARKOVBRIDGE_DATA/mnist or in a folder",
    ):
        IDX("mnist").load()
    root = write(tmp_path / "mine")
    (root / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"mine has no t10k-images-idx3-ubyte; put"):
        IDX("mine", root=root).load()


def test_a_given_root_is_the_only_place(tmp_path):
    write(tmp_path / "system" / "mine")
    with pytest.raises(FileNotFoundError, match="typo is not a folder"):
        IDX("mine", root=tmp_path / "typo").load()


def test_known_sets_must_have_their_size(tmp_path):
    root = write(tmp_path / "mnist")
    with pytest.raises(
        ValueError, match=r"shape \(30, 4, 3\), but mnist has \(60000, 28, 28\); fetch it again"
    ):
        IDX("mnist", root=root).load()


def test_images_and_labels_must_match(tmp_path):
    root = write(tmp_path / "mine")
    (root / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(29)))
    with pytest.raises(ValueError, match=r"30 images but .*labels-idx1-ubyte 29 labels"):
        IDX("mine", root=root).load()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "starts with the bytes none"),
        (lambda data: data[:9], "starts with the bytes 00000803"),
        (lambda data: data[:-1], r"announces 360 values of shape \(30, 4, 3\) but holds 359"),
        (lambda data: data + b"\0", "announces 360 values .* but holds 361"),
        (lambda data: b"\1" + data[1:], "starts with the bytes 01000803, but .* 00000803"),
        (lambda data: b"\0\0\x0d\3" + data[4:], "starts with the bytes 00000d03"),
        (lambda data: idx(np.zeros(5)), "starts with the bytes 00000801"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "announces 79228162458924105385300"),
        (lambda data: gzip.compress(data), "starts with the bytes 1f8b"),
    ],
)
def test_refuses_damaged_files(tmp_path, damage, message):
    root = write(tmp_path / "mine")
    path = root / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{path} {message}"):
        IDX("mine", root=root).load()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:-5] + b"\0\0\0\0\0",
        lambda data: b"not gzip",
        lambda data: data[:12] + bytes(20) + data[32:],
    ],
)
def test_refuses_damaged_compressed_files(tmp_path, damage):
    root = write(tmp_path / "mine", compress=True)
    path = root / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{path} is damaged .*; fetch it again"):
        IDX("mine", root=root).load()


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist(monkeypatch):
    monkeypatch.setattr(locations, "SYSTEM", DEBIAN.parent)
    train, test = (IDX("fashion-mnist").load(split) for split in ("train", "test"))
    assert train.x.shape == (60_000, 1, 28, 28)
    assert test.x.shape == (10_000, 1, 28, 28)
    assert train.labels.bincount().tolist() == [6000] * 10
    assert test.labels.bincount().tolist() == [1000] * 10
    mean = train.x.sum(dtype=torch.int64).item() / train.x.numel()
    assert mean == pytest.approx(72.94, abs=5e-3)
    assert (train.licence, train.maximum) == ("MIT", 255)
    assert train.label_names[train.labels[0]] == "Ankle boot"
