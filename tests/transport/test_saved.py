"""A saved transport: what is written, read back, refused."""

import hashlib
import json

import pytest
import torch

import markovbridge as mb
from markovbridge import (
    Bridge,
    HandOver,
    MeanHead,
    PureDeath,
    Transport,
    exact,
)
from markovbridge.doors.randomness import generator
from markovbridge.networks import MLP, Images
from transports import SHAPE, Watching, data, transport, watching

# Saving ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        MeanHead("stochastic"),
        mb.CategoricalHead(),
        mb.LogisticMixtureHead(2),
        mb.NegativeBinomialHead(),
    ],
)
def test_a_saved_transport_comes_back_whole(tmp_path, head):
    model = transport(
        head,
        mean=torch.linspace(1, 3, 6).reshape(SHAPE),
        variance=torch.tensor(4.0),
        objective=mb.PathKL(1.0) + 0.1 * mb.EndNLL(),
    )
    model.save_pretrained(tmp_path / "model")
    found = Transport.from_pretrained(tmp_path / "model")
    for part in ("process", "head", "coupling", "objective", "shape"):
        assert getattr(found, part) == getattr(model, part)
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    assert not found.training
    samples = [m.sample(5, steps=3, generator=generator("cpu", 1)) for m in (model, found)]
    assert torch.equal(*samples)
    losses = [m.eval().loss(data(5), generator=generator("cpu", 1)) for m in (model, found)]
    assert torch.equal(*losses)


def test_what_is_saved(tmp_path):
    model = transport()
    model.save_pretrained(tmp_path / "a" / "model", card={"data": "digits", "steps": 700})
    folder = tmp_path / "a" / "model"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]  # nothing left behind
    config = json.loads((folder / "config.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()
    assert config["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert config["process"]["init_args"]["maximum"] == 9
    card = (folder / "README.md").read_text()
    parameters = sum(p.numel() for p in model.parameters())
    for text in ("| data | digits |", "| steps | 700 |", f"| parameters | {parameters:,} |"):
        assert text in card
    assert "PureDeath(maximum=9, schedule=CosineSchedule())" in card


def test_saving_again_replaces_everything(tmp_path):
    transport().save_pretrained(tmp_path / "model", card={"steps": 1})
    other = transport(mb.NegativeBinomialHead())
    (tmp_path / "model" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match="notes.txt is no file of a model"):
        other.save_pretrained(tmp_path / "model")
    assert Transport.from_pretrained(tmp_path / "model").head == MeanHead()
    (tmp_path / "model" / "notes.txt").unlink()
    other.save_pretrained(tmp_path / "model", card={"steps": 2})
    assert Transport.from_pretrained(tmp_path / "model").head == mb.NegativeBinomialHead()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_an_interrupted_save_leaves_the_model_before_it(tmp_path):
    transport().save_pretrained(tmp_path / "model")
    # Between the two renames the old model lies beside its place.
    (tmp_path / "model").rename(tmp_path / ".model.previous")
    found = Transport.from_pretrained(tmp_path / "model")
    assert found.head == MeanHead()
    transport(mb.NegativeBinomialHead()).save_pretrained(tmp_path / "model")
    assert Transport.from_pretrained(tmp_path / "model").head == mb.NegativeBinomialHead()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_an_exact_transport_is_saved_too(tmp_path):
    process = PureDeath(schedule=mb.LinearSchedule())
    model = Transport(process, exact.NegativeBinomial(process, 3.0, 2.0), shape=(2,))
    model.save_pretrained(tmp_path / "model")
    found = Transport.from_pretrained(tmp_path / "model")
    assert found.network == model.network
    assert found.head is None


def test_users_parts_are_passed_when_loading(tmp_path):
    model = watching()
    with torch.no_grad():
        model.network.weight.fill_(2.0)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="Watching is not part of markovbridge.*pass the object"):
        Transport.from_pretrained(tmp_path / "model")
    found = Transport.from_pretrained(
        tmp_path / "model", network=Watching(), head=MeanHead("nearest")
    )
    assert found.network.weight.tolist() == [2, 2, 2]
    assert found.head == MeanHead("nearest") and found.default_sampler() == Bridge()
    found = Transport.from_pretrained(
        tmp_path / "model", network=Watching(), sampler=HandOver(then=Bridge())
    )
    assert found.default_sampler() == HandOver(then=Bridge())
    with pytest.raises(TypeError, match="unknown part 'steps': parts are process, network"):
        Transport.from_pretrained(tmp_path / "model", steps=3)


def edit(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    del config["sha256"]  # as a file of before there was one
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def flip_a_byte(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: (f / "config.json").unlink(), FileNotFoundError, "no model in .*config.json"),
        (
            lambda f: (f / "model.safetensors").unlink(),
            FileNotFoundError,
            "safetensors is missing",
        ),
        (flip_a_byte, ValueError, "model.safetensors is damaged: its hash is not the one"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b""),
            ValueError,
            "model.safetensors is damaged",
        ),
        (lambda f: (f / "config.json").write_text('{"format": 1'), ValueError, "is damaged"),
        (lambda f: (f / "config.json").write_text("[]"), ValueError, "is damaged"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), ValueError, "is damaged"),
        (lambda f: (f / "config.json").write_text('{"format": 1}'), ValueError, "is damaged"),
        (lambda f: edit(f, format=2), ValueError, "has format 2; this version reads 1"),
        (lambda f: edit(f, format=...), ValueError, "is damaged|has format None"),
        (lambda f: edit(f, head=...), ValueError, "is damaged .it lacks 'head'"),
        (
            lambda f: edit(f, network={"class_path": "os.system", "init_args": {"command": "ls"}}),
            ValueError,
            "os.system is not part of markovbridge",
        ),
        (
            lambda f: edit(f, network={"class_path": "markovbridge.networks.mlp.Deep"}),
            ValueError,
            "does not exist in this version of markovbridge",
        ),
        (lambda f: edit(f, shape=[2, 3]), ValueError, "does not broadcast|do not fit"),
    ],
)
def test_damaged_models_are_refused(tmp_path, damage, error, message):
    shaped = torch.ones(SHAPE)
    transport(mean=shaped).save_pretrained(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(error, match=message):
        Transport.from_pretrained(tmp_path / "model")


def test_weights_that_do_not_fit_are_refused(tmp_path):
    transport().save_pretrained(tmp_path / "model")
    for width, message in ((17, "size mismatch"), (16, "Unexpected key|Missing key")):
        network = MLP(SHAPE, 1, 1, width=width, depth=1 if width == 17 else 2)
        with pytest.raises(ValueError, match=f"do not fit this network: .*({message})"):
            Transport.from_pretrained(tmp_path / "model", network=network)


def test_a_run_folder_is_loaded_by_its_name(tmp_path):
    model = transport()
    model.save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.yaml").write_text("x")
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        found = Transport.from_pretrained(folder)
        for name, value in model.state_dict().items():
            assert torch.equal(found.state_dict()[name], value)
    with pytest.raises(FileNotFoundError, match="no model in .*: config.json is missing"):
        Transport.from_pretrained(tmp_path)


def test_a_module_of_images_is_brought_by_whoever_loads_it(tmp_path):
    module = torch.nn.Conv2d(1, 1, 1)
    model = Transport(PureDeath(9), Images(module), MeanHead(), shape=(1, 4, 4))
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="Conv2d is not part of markovbridge, .*: pass the obj"):
        Transport.from_pretrained(tmp_path / "model")
    own = type("Own", (Images,), {"__module__": "mine"})(module)
    Transport(PureDeath(9), own, MeanHead(), shape=(1, 4, 4)).save_pretrained(tmp_path / "own")
    with pytest.raises(ValueError, match="mine.Own is not part of markovbridge"):
        Transport.from_pretrained(tmp_path / "own")
    other = Images(torch.nn.Conv2d(1, 1, 1))
    found = Transport.from_pretrained(tmp_path / "model", network=other)
    assert torch.equal(other.module.weight, module.weight)
    samples = [m.sample(3, steps=2, generator=generator("cpu", 1)) for m in (model, found)]
    assert torch.equal(*samples)
