import pickle
import zipfile

import numpy as np
import pytest
import torch

from markovbridge.data import Arrays

COUNTS = np.arange(60).reshape(20, 3)


def save(tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        (np.uint8, torch.uint8),
        (np.uint16, torch.uint8),
        (np.int64, torch.uint8),
        (np.float32, torch.uint8),
        (np.float16, torch.uint8),
        (">i4", torch.uint8),
        (">f8", torch.uint8),
    ],
)
def test_counts_of_any_type_are_kept_as_small_integers(tmp_path, stored, kept):
    np.save(tmp_path / "x.npy", COUNTS.astype(stored))
    data = Arrays(tmp_path / "x.npy").load("all")
    assert data.x.dtype == kept
    assert data.x.tolist() == COUNTS.tolist()
    assert (data.name, data.maximum, data.labels) == ("x", None, None)


@pytest.mark.parametrize(
    ("top", "maximum", "kept"),
    [
        (255, None, torch.uint8),
        (256, None, torch.int16),
        (59, 256, torch.int16),
        (40_000, None, torch.int32),
        (2**40, None, torch.int64),
    ],
)
def test_the_type_holds_the_largest_count_and_the_maximum(tmp_path, top, maximum, kept):
    counts = COUNTS.copy()
    counts[7, 1] = top
    np.save(tmp_path / "x.npy", counts)
    data = Arrays(tmp_path / "x.npy", maximum=maximum).load("all")
    assert data.x.dtype == kept
    assert data.x.tolist() == counts.tolist()


def test_takes_named_arrays_and_labels(tmp_path):
    path = save(tmp_path, x=COUNTS, kind=np.arange(20.0), other=np.zeros(1))
    data = Arrays(path, key="x", labels="kind", maximum=59).load("test")
    assert data.labels.dtype == torch.int64
    assert data.x.tolist() == COUNTS[data.labels.numpy()].tolist()
    assert len(data) == 2


def test_takes_a_text_path_and_a_single_array_without_a_key(tmp_path):
    assert Arrays(str(save(tmp_path, anything=COUNTS))).load("all").x.tolist() == COUNTS.tolist()


def test_the_splits_partition_the_samples(tmp_path):
    source = Arrays(save(tmp_path, x=COUNTS), validation=0.25, test=0.25)
    rows = [source.load(s).x.tolist() for s in ("train", "validation", "test")]
    assert [len(part) for part in rows] == [10, 5, 5]
    assert sorted(sum(rows, [])) == COUNTS.tolist()


def test_takes_reals_when_asked(tmp_path):
    np.save(tmp_path / "x.npy", COUNTS / 7)
    data = Arrays(tmp_path / "x.npy", counts=False).load("all")
    torch.testing.assert_close(data.x, torch.tensor(COUNTS / 7).float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("value", "fields", "message"),
    [
        (0.5, {}, r"x.npy\[7, 1\] is 0.5; counts are whole"),
        (np.nan, {}, r"x.npy\[7, 1\] is nan; remove"),
        (np.inf, {}, r"x.npy\[7, 1\] is inf; remove"),
        (-4.0, {}, r"x.npy\[7, 1\] is -4; counts are never negative"),
        (61.0, {"maximum": 60}, r"x.npy\[7, 1\] is 61, above the maximum 60"),
        (np.nan, {"counts": False}, r"x\[7, 1\] is nan; remove or replace what is not finite"),
        (1e300, {"counts": False}, r"x\[7, 1\] is inf"),
    ],
)
def test_names_the_first_bad_value(tmp_path, value, fields, message):
    values = COUNTS.astype(float)
    values[7, 1] = value
    values[8, 0] = value
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError, match=message):
        Arrays(tmp_path / "x.npy", **fields).load("all")


@pytest.mark.parametrize("values", [COUNTS > 3, COUNTS * 1j, COUNTS.astype(str)])
def test_refuses_what_are_no_numbers(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError, match=f"type {values.dtype}; store counts as integers"):
        Arrays(tmp_path / "x.npy").load()
    with pytest.raises(ValueError, match="x.npy: .* store reals as"):
        Arrays(tmp_path / "x.npy", counts=False).load()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no array None; give key, and labels if there are any, from x, y"),
        ({"key": "z"}, "no array 'z'; give key"),
        ({"key": "x", "labels": "z"}, "no array 'z'; give key"),
        ({"key": "x", "labels": "y"}, r"20 samples but labels of shape \(3,\)"),
        ({"key": "y"}, r"samples of shape \(3,\); store at least one, as \(N, \*event\)"),
        ({"key": "x", "maximum": 5}, "above the maximum 5"),
    ],
)
def test_refuses_wrong_names_and_shapes(tmp_path, fields, message):
    path = save(tmp_path, x=COUNTS, y=np.arange(3))
    with pytest.raises(ValueError, match=message):
        Arrays(path, **fields).load()


def test_channels_that_look_last_are_asked_about(tmp_path):
    images = np.arange(4 * 5 * 6 * 3).reshape(4, 5, 6, 3)
    np.save(tmp_path / "x.npy", images)
    path = tmp_path / "x.npy"
    with pytest.raises(ValueError, match=r"x.npy holds .* \(5, 6, 3\), which look like images"):
        Arrays(path).load("all")
    turned = Arrays(path, channels="last").load("all").x
    assert turned.tolist() == images.transpose(0, 3, 1, 2).tolist()
    assert Arrays(path, channels="first").load("all").shape == (5, 6, 3)
    np.save(path, images.transpose(0, 3, 1, 2))
    assert Arrays(path).load("all").x.tolist() == turned.tolist()
    np.save(path, images[..., 0])
    assert Arrays(path).load("all").shape == (5, 6)
    with pytest.raises(
        ValueError, match=r"shape \(5, 6\), which are no .* last; leave channels=None"
    ):
        Arrays(path, channels="last").load("all")


def test_refuses_a_name_for_an_array_without_one(tmp_path):
    np.save(tmp_path / "x.npy", COUNTS)
    with pytest.raises(ValueError, match="holds one array without a name, so leave key='x'"):
        Arrays(tmp_path / "x.npy", key="x").load()


def test_says_which_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*absent.npy; give the path"):
        Arrays(tmp_path / "absent.npy").load()


def test_never_unpickles(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Trap()))
    np.save(tmp_path / "objects.npy", np.array([[Trap()]], dtype=object))
    np.savez(tmp_path / "objects.npz", x=np.array([[Trap()]], dtype=object))
    for name in ("bare.npy", "objects.npy", "objects.npz"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            Arrays(tmp_path / name).load()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kept", [0, 5, 100, 500])
def test_refuses_truncated_files(tmp_path, kept):
    np.save(tmp_path / "x.npy", COUNTS)
    path = tmp_path / "x.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="x.npy cannot be read"):
        Arrays(path).load()


def test_refuses_damaged_archives(tmp_path):
    np.savez_compressed(tmp_path / "data.npz", x=COUNTS)
    path = tmp_path / "data.npz"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset + 60
    content[start : start + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="data.npz cannot be read"):
        Arrays(path).load()
    path.write_bytes(content[:-30])
    with pytest.raises(ValueError, match="data.npz cannot be read"):
        Arrays(path).load()


@pytest.mark.parametrize("shape", [(2, 3, 6, 3), (2, 1, 6, 1), (2, 6, 5, 2), (2, 6, 3), (4, 1)])
def test_other_shapes_are_taken_as_they_are(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.ones(shape, int))
    assert Arrays(tmp_path / "x.npy").load("all").x.shape == shape
