"""One table through every door in every form: the same counts and names, to the bit."""

import dataclasses
import json

import pytest
import torch

import markovbridge
from markovbridge import CountModel
from markovbridge.data import CountTable
from markovbridge.data.rows import dense
from markovbridge.data.tables.another import another
from markovbridge.data.tables.objects import read_object

from .forms import COLUMNS, COUNTS, NAMES, cells, files, frame, objects

SMALL = {"steps": 1, "width": 2, "depth": 1, "batch_size": 4, "random_state": 0}
SMALL |= {"validation_fraction": 0, "masking": None}
FIT = ("frame", "numpy u2", "csc_array float32", "AnnData raw", "AnnData backed csr_matrix")
FILES = ("asarray-gzip.h5ad", "s.csv", "v3.h5", "kinds", "bare.npz", "a.parquet", "old-csc.h5ad")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("forms")


@pytest.fixture(scope="module")
def paths(folder):
    return list(files(folder))


@pytest.fixture(scope="module")
def things(folder):
    return list(objects(folder))


@pytest.fixture(scope="module")
def models():
    """A model of the table, by the layer that it takes; of AnnData, as others have no layers."""
    layers = {"counts": COUNTS}
    made = cells(COUNTS * 1.0, layers=layers)
    made.raw = made.copy()
    return {name: CountModel(**SMALL, layer=name).fit(made) for name in (None, "counts", "raw")}


def same(data, names, what):
    """That a data set, or a table, holds the counts and the names."""
    x = dense(data.x)
    assert x.shape == COUNTS.shape and not x.is_floating_point(), what
    assert torch.equal(x.long(), torch.from_numpy(COUNTS)), what
    assert (data.row_names, data.column_names) == names, what
    assert data.observed is None, what


def doors_of_files(path, options, models):
    """What reads a file, by name."""
    source = CountTable(path, **options)
    yield "CountTable", source.load("all")
    if path.name in FILES or "backed" in options:
        yield "CountTable, in parts", parts(source)
    if path.name in (*FILES[:4],) or options.keys() & {"index", "key"}:
        words = {f"data.{name}": value for name, value in options.items()}
        yield "markovbridge train", markovbridge.recipes.load(str(path), words).data.load("all")
    yield "fit(CountTable)", read_object(source)
    yield "restore --input", another(path, (), source).plain("all")
    yield "impute --input", another(path, (), source, missing=True).plain("all")
    if not options.keys() - {"layer"}:
        layer = options.get("layer")
        yield "fit(path)", read_object(path, layer=layer)
        model = models[layer]
        yield "restore(path)", met(model, str(path))
        yield "impute(path)", met(model, path, missing=True)
    yield "restore(CountTable)", met(models[None], source)


def parts(source):
    """The splits of a table, put together again."""
    loaded = [source.load(split) for split in ("train", "validation", "test")]
    where = torch.cat([source.positions(len(COUNTS), data.split) for data in loaded])
    x = torch.cat([dense(data.x) for data in loaded])[where.argsort()]
    rows = [name for data in loaded for name in data.row_names or ()]
    names = tuple(rows[k] for k in where.argsort().tolist()) if rows else None
    return dataclasses.replace(source.load("all"), x=x, row_names=names)


def met(model, table, missing=False):
    """What a model makes of a table that it is given."""
    given = model._read(table, missing)
    assert given.order is None
    return dataclasses.replace(given.table, x=given.x)


def test_files_say_the_same_at_every_door(paths, models):
    compared = 0
    for path, options, names in paths:
        for door, data in doors_of_files(path, options, models):
            same(data, names, f"{door}: {path.name} {options}")
            compared += 1
    assert compared > 520, compared


def test_objects_say_the_same_at_every_door(things, models):
    compared = 0
    for name, thing, layer, names in things:
        for door, table in (
            ("fit", read_object(thing, layer=layer)),
            ("restore", met(models[layer], thing)),
            ("impute", met(models[layer], thing, missing=True)),
        ):
            same(table, names, f"{door}: {name}")
            compared += 1
    assert compared > 240, compared


def test_models_of_them_are_the_same(things, paths):
    forms = {name: (thing, layer) for name, thing, layer, _ in things if name in FIT}
    forms |= {p.name: (CountTable(p, **o), None) for p, o, _ in paths if p.name in FILES}
    assert forms.keys() == {*FIT, *FILES}
    found = {}
    for name, (thing, layer) in forms.items():
        model = CountModel(**SMALL, layer=layer).fit(thing)
        weights = model.transport_.state_dict()
        found[name] = {key: value.tolist() for key, value in weights.items()}
    first = json.dumps(found.pop(FIT[0]))
    assert {name for name, one in found.items() if json.dumps(one) != first} == set()


def test_labels_of_frames_come_out_as_they_were():
    model = CountModel(**SMALL).fit(frame())
    for index, columns in (
        (list(range(3, 15)), list(COLUMNS)),
        (list(NAMES[0]), list(COLUMNS)),
    ):
        given = frame().set_axis(index, axis=0).set_axis(columns, axis=1)
        made = model.restore(given, 0.5, draws=1, random_state=0).mean
        assert list(made.index) == index and list(made.columns) == columns
    numbered = frame().set_axis(range(5), axis=1)
    made = CountModel(**SMALL).fit(numbered).restore(numbered, 0.5, draws=1).mean
    assert list(made.columns) == list(range(5))
