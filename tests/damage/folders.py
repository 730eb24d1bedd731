"""Small good folders of the rest that is read: recipes, runs, models, what is beside them."""

import contextlib
import dataclasses
import hashlib
import io
import re
from functools import cache

import numpy as np
import yaml

import markovbridge as mb
from damage.samples import COLUMNS, COUNTS, Format, write_h5ad
from markovbridge.cli import main
from markovbridge.cli.blocks import Blocks
from markovbridge.data.tables.objects import read_object
from markovbridge.evaluation.held_out_likelihood import Nats
from markovbridge.evaluation.metrics import Record
from markovbridge.evaluation.report.run import read_run
from markovbridge.storage.files import append, to_json, write_arrays, write_json, write_text
from markovbridge.training import checkpoint
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.trained_on import TrainedOn

SEEDED = {"steps": 2, "seed": 0}


@cache
def fitted():
    """A model of counts, with covariates."""
    model = mb.CountModel(width=4, depth=1, steps=2, batch_size=8, validation_fraction=0)
    return model.fit(COUNTS, covariates={"batch": ["a", "b"] * 15})


def write_count_model(folder):
    fitted().save(folder)


def write_model(folder):
    fitted().transport_.save_pretrained(folder)


def recipe(folder):
    config = mb.storage.config.to_config
    data = mb.data.CountTable(folder / "table.h5ad", covariates=("batch",))
    return {
        "data": config(data),
        "process": config(mb.PureDeath(maximum=50_000)),
        "network": {
            "class_path": "markovbridge.networks.MLP",
            "init_args": {"width": 4, "depth": 1},
        },
        "head": config(mb.MeanHead()),
        "objective": config(mb.transport.objectives.PathKL()),
        "split": "train",
        "trainer": dict(SEEDED),
    }


def write_recipe(folder):
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe(folder), "data": "Digits"}))


def fields_of(kind, **known):
    """A record of a kind, its fields as JSON has them."""
    usual = {"str": "x", "float": 1.0, "int": 3, "bool": False}
    values = {
        field.name: usual.get(str(field.type).removesuffix(" | None"), None)
        for field in dataclasses.fields(kind)
    }
    return {**values, **known}


def write_run(folder):
    write_text(folder / "config.yaml", yaml.safe_dump(recipe(folder)))
    fitted().transport_.save_pretrained(folder / "model")
    weights = fitted().transport_.state_dict()
    state = {"step": 2, "training": SEEDED}
    checkpoint.write(folder / "checkpoints", 2, {"model": weights, "ema": weights}, state)
    TrainedOn(COLUMNS, "0" * 64).write(folder)
    append(folder / "metrics.jsonl", "".join(f'{{"step": {k}, "loss": 0.5}}\n' for k in (1, 2)))
    append(folder / "log.txt", "step 1\n")
    records = [fields_of(Record)], [fields_of(Nats)]
    for name, found in zip(("evaluation", "likelihood"), records, strict=True):
        write_json(folder / f"{name}.json", {"records": found})
    meta = np.array(to_json({"n": 30, "steps": 3, "survival": 0.5, "draws": 3, "input": "x"}))
    write_arrays(folder / "samples.npz", samples=COUNTS, meta=meta)
    write_arrays(folder / "path.npz", times=np.arange(3.0), states=COUNTS.reshape(3, 10, 8))
    restored = {"input": COUNTS, "draws": COUNTS[None], "mean": COUNTS * 1.0}
    write_arrays(folder / "restored.npz", **restored, meta=meta)


def hashed(values):
    """What tells an array from others, however large it is."""
    values = np.asarray(values)
    return str(values.dtype), values.shape, hashlib.sha256(values.tobytes()).hexdigest()


def run_of(folder):
    run = read_run(folder)
    lists = {name: hashed(values) for name, values in run.restored.items()}
    samples, meta = RunFolder(folder).samples()
    found, complaints = checkpoint.latest(folder / "checkpoints")
    if complaints:
        raise ValueError(complaints[0])
    config = RunFolder(folder).configuration()
    RunFolder(folder).source()
    return [
        *(hashed(samples), meta, hashed(run.states), lists, run.history),
        *(str(run.records), str(run.likelihood), str(run.model), run.weights, config),
        *(None if found is None else found.state, TrainedOn.read(folder).columns),
    ]


def transport_of(folder):
    found = mb.Transport.from_pretrained(folder)
    weights = {name: value.tolist() for name, value in found.state_dict().items()}
    return [repr(found.process), repr(found.head), weights]


def count_model_of(folder):
    model = mb.CountModel.load(folder)
    return [transport_of(folder / "model"), model.get_params(), model.kind_]


def told(words):
    """What a verb says, its only error as one of Python."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    lines = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
    if status not in (0, 1, 2) or len(lines) != (status != 0):
        raise RuntimeError(f"status {status}, {err.getvalue()[-300:]}")
    if lines and "MARKOVBRIDGE_DEBUG" in lines[0]:
        raise RuntimeError(lines[0])
    if lines:
        raise ValueError(lines[0])
    return [re.sub("[0-9.,]+", "0", line) for line in out.getvalue().splitlines()]


def dry_run(folder):
    words = ["train", str(folder / "recipe.yaml"), "--output", str(folder / "run")]
    return told([*words, "--dry_run", "true"])


def write_blocks(folder):
    blocks = Blocks(folder / "samples.parts", SEEDED)
    blocks.prepare()
    parts = {"samples": COUNTS, "evaluations": np.array(3), "seconds": np.array(0.5)}
    parts |= {"times": np.arange(2.0), "states": COUNTS[None]}
    write_arrays(folder / "samples.parts" / "block-000000.npz", **parts)


def blocks_of(folder):
    found = Blocks(folder / "samples.parts", SEEDED).load(0)
    settings = (folder / "samples.parts" / "settings.json").read_bytes()
    return [{name: hashed(values) for name, values in found.items()}, repr(settings)]


def object_of(folder):
    table = read_object(folder / "table.h5ad", known=("batch", "age"))
    return [table.x.tolist(), str(table.columns), table.row_names, table.column_names]


def folders():
    """Everything that is read besides sources of data."""
    yield Format("recipe", ("cli", "recipe"), write_recipe, dry_run, "yaml")
    yield Format("run folder", ("run", ""), write_run, run_of, "run")
    yield Format("model", ("Transport", ""), write_model, transport_of, "model")
    yield Format("count model", ("CountModel", ""), write_count_model, count_model_of, "model")
    yield Format("blocks", ("cli", "blocks"), write_blocks, blocks_of, "npz")
    yield Format("table as an object", ("read_object", ""), write_h5ad, object_of, "h5ad")
