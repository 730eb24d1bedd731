"""Data sets of other libraries: tuples, dictionaries, images of Pillow."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import markovbridge as mb
from markovbridge.data import Covariate, Covariates, Dataset, ImageFolder, collect
from markovbridge.networks import MLP
from markovbridge.training import Examples, Trainer, TrainingConfig

X = np.random.default_rng(0).integers(0, 200, (7, 3, 6, 5))


class Mapped(torch.utils.data.Dataset):
    """Items by position, and what a data set says of itself."""

    def __init__(self, items, **said):
        self.items = items
        self.__dict__.update(said)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def pictures(x=X, mode=None):
    image = pytest.importorskip("PIL.Image")
    made = [image.fromarray(a.transpose(1, 2, 0).squeeze().astype(np.uint8)) for a in x]
    return made if mode is None else [one.convert(mode) for one in made]


@pytest.mark.parametrize(
    "kind", ["int8", "uint16", "uint32", "uint64", "int64", "bool", "float32", "float64"]
)
def test_arrays_of_any_type(kind):
    x = (X % 2 if kind == "bool" else X % 100).astype(kind)
    data = collect(x)
    assert data.x.dtype == (torch.float32 if kind.startswith("float") else torch.uint8)
    assert data.x.tolist() == (X % 2 if kind == "bool" else X % 100).tolist()
    assert (data.labels, data.maximum) == (None, None)
    with pytest.raises(ValueError, match=r"data\[1, 0, 0, 0\] is -1; counts are never negative"):
        collect(np.concatenate([X[:1], 0 * X[:1] - 1]))


def test_samples_with_labels_and_without():
    x, labels = torch.as_tensor(X), torch.arange(7) % 3
    for items in (
        TensorDataset(x, labels),
        Mapped([(a, int(k)) for a, k in zip(X, labels, strict=True)]),
    ):
        data = collect(items)
        assert data.x.tolist() == X.tolist()
        assert data.labels.tolist() == labels.tolist()
    for items in (TensorDataset(x), list(X), Mapped(list(x)), x):
        assert collect(items).labels is None
        assert collect(items).x.tolist() == X.tolist()
    named = collect(Mapped([(a, "ab"[k % 2]) for k, a in enumerate(X)]))
    assert (named.labels.tolist(), named.label_names) == ([0, 1, 0, 1, 0, 1, 0], ("a", "b"))


def test_images_of_pillow_are_counts_channels_first():
    data = collect(Mapped([(one, k % 2) for k, one in enumerate(pictures())], classes=["a", "b"]))
    assert data.x.tolist() == X.tolist()
    assert (data.maximum, data.label_names) == (255, ("a", "b"))
    grey = collect(pictures(X[:, :1]))
    assert grey.x.tolist() == X[:, :1].tolist()
    assert collect(pictures(X[:, :1], "P")).x.tolist() == X[:, :1].repeat(3, 1).tolist()
    image = pytest.importorskip("PIL.Image")
    deep = [image.fromarray((256 * a[0]).astype(np.uint16)) for a in X]
    assert collect(deep).x.tolist() == (256 * X[:, :1]).tolist()
    assert collect(deep).maximum is None


def test_images_of_pillow_are_turned_and_lie_on_white_as_in_folders(tmp_path):
    image = pytest.importorskip("PIL.Image")
    made = image.new("RGBA", (8, 8), (200, 0, 0, 0))
    made.putpixel((0, 0), (200, 0, 0, 255))
    exif = image.Exif()
    exif[0x0112] = 6  # turned to the right
    for k in range(3):
        made.save(tmp_path / f"{k}.png", exif=exif)
    seen = collect([image.open(tmp_path / f"{k}.png") for k in range(3)])
    assert seen.x[0, :, 0, 7].tolist() == [200, 0, 0] and seen.x[0, :, 4, 4].tolist() == [255] * 3
    folder = ImageFolder(root=tmp_path, size=8, validation=0, test=0)
    assert seen.x.tolist() == folder.load("train").x.tolist()


def test_dictionaries_by_usual_names_or_the_names_given():
    items = [{"image": one, "label": k % 2} for k, one in enumerate(pictures())]
    names = SimpleNamespace(names=["no", "yes"])
    data = collect(Mapped(items, features={"image": None, "label": names}))
    assert (data.x.tolist(), data.labels.tolist()) == (X.tolist(), [0, 1, 0, 1, 0, 1, 0])
    assert data.label_names == ("no", "yes")
    mine = [{"mine": a.tolist(), "kind": k} for k, a in enumerate(X)]
    found = collect(mine, sample="mine", label="kind")
    assert (found.x.tolist(), found.labels.tolist()) == (X.tolist(), list(range(7)))
    assert collect(mine, sample="mine").labels is None
    with pytest.raises(ValueError, match="an item has mine, kind; say which of these is the samp"):
        collect(mine)
    with pytest.raises(ValueError, match="label is 'class', and an item has mine, kind; take one"):
        collect(mine, sample="mine", label="class")


class Stream(IterableDataset):
    def __iter__(self):
        yield X[0]


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        (DataLoader(list(X)), TypeError, "a DataLoader makes batches of its own; give its data s"),
        (Stream(), TypeError, r"read by position, len\(data\) and data\[i\]; one of type Stream"),
        (sparse.csr_matrix(X[0, 0]), TypeError, "one of type csr_matrix is not: collect what"),
        (5, TypeError, "one of type int is not: collect what it gives into an array"),
        ("x.npy", TypeError, "one of type str is not: collect what it gives into an array"),
        ([], ValueError, "give at least one, as"),
        ([3, 4], ValueError, r"samples of shape \(2,\); give at least one, as \(N, \*event\)"),
        (["a"], TypeError, "a sample is a str, and no array of numbers; name the right part"),
        ([X[0], X[1, :2]], ValueError, r"sample 1 has shape \(2, 6, 5\) and sample 0 \(3, 6, 5\)"),
        ([(X[0], 1), X[1]], ValueError, "1 of 2 samples have a label; give all one"),
        ([(X[0], 1, 2)], ValueError, r"an item has 3 parts; give a sample, or \(sample, label\)"),
        ([(X[0], [1, 2])], ValueError, r"labels of data have shape \(1, 2\); give one number"),
        (
            [(X[0], 1), (X[1], None)],
            TypeError,
            "label of sample 1 is 'None', of type NoneType; la",
        ),
        ([(X[0], 1), (X[1], "a")], TypeError, "label of sample 1 is 'a', of type str; labels are"),
        ([[X[0], 0], [X[1], 1]], TypeError, r"an item is a list .* as a tuple, \(sample, label\)"),
        ([[p, 0] for p in pictures()], TypeError, "an item is a list whose parts differ in sh"),
        ([(X[0], -1)], ValueError, r"labels of data\[0\] is -1"),
        (list(X.transpose(0, 2, 3, 1)), ValueError, r"\(6, 5, 3\), which look like images"),
    ],
)
def test_refuses(items, error, message):
    with pytest.raises(error, match=message):
        collect(items)


def test_tables_and_turned_images():
    frame = pd.DataFrame(X[:, 0, 0], columns=list("abcde"))
    assert collect(frame).x.tolist() == X[:, 0, 0].tolist()
    turned = list(X.transpose(0, 2, 3, 1))
    assert collect(turned, channels="last").x.tolist() == X.tolist()


def model(covariates=None, top=255):
    process, head = mb.PureDeath(maximum=top), mb.MeanHead()
    width = len(covariates.names) if covariates else 0
    network = MLP(X.shape[1:], 1, 1, width=8, depth=1, condition=width)
    return mb.Transport(process, network, head, shape=X.shape[1:], covariates=covariates)


def test_a_trainer_takes_them_all_and_tells_what_they_know():
    told = Covariates((Covariate("label", ("0", "1", "2")),))
    labels = torch.arange(7) % 3
    items = TensorDataset(torch.as_tensor(X), labels)
    config = TrainingConfig(steps=1, batch_size=4, warmup=0)
    reference = Trainer(model(told), Examples(torch.as_tensor(X), torch.eye(3)[labels]), config)
    for data in (items, collect(items), [(a, int(k)) for a, k in zip(X, labels, strict=True)]):
        trainer = Trainer(model(told), data, config, validation=data)
        assert torch.equal(trainer.data.condition, reference.data.condition)
        assert trainer.data.x.tolist() == X.tolist()
        assert torch.equal(trainer.validation.examples.condition, trainer.data.condition)
        assert Trainer(model(), data, config).data.condition is None
    Trainer(model(told), items, config).run()
    with pytest.warns(UserWarning, match="data does not have 'label': the model is not told it"):
        assert Trainer(model(told), X.astype(np.uint8), config).data.condition.isnan().all()
    with pytest.raises(ValueError, match=r"data has samples of shape \(6, 5\), but the transport"):
        Trainer(model(), X[:, 0], config)
    seen = torch.ones(7, 3, 6, 5, dtype=torch.bool)
    missing = Dataset(torch.as_tensor(X), None, "mine", "all", "", "", observed=seen)
    with pytest.raises(ValueError, match="mine has missing entries; train on complete rows"):
        Trainer(model(), missing, config)


def test_parts_of_a_data_set_are_no_items():
    with pytest.raises(TypeError, match="a dict has parts train, test; give one of them"):
        collect({"train": [X[0]], "test": [X[1]]})


def test_images_with_channels_last_are_for_collect():
    model = mb.Transport(mb.PureDeath(9), MLP((8, 8, 1), 1, 1), mb.MeanHead(), shape=(8, 8, 1))
    items = [(np.ones((8, 8, 1), dtype=int), 1)]
    with pytest.raises(ValueError, match=r"give data\.collect\(\.\.\., channels='last'\), or"):
        Trainer(model, items, TrainingConfig(steps=1))
