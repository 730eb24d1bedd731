"""Configurations: what is written is rebuilt, and files cannot run code of their choice."""

import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import markovbridge as mb
from markovbridge import exact
from markovbridge.networks import MLP
from markovbridge.storage import parts, public_names
from markovbridge.storage.config import at_a_glance, from_config, short, to_config
from problems import squared

OBJECTS = [
    mb.PureDeath(),
    mb.PureDeath(16, mb.LogisticSchedule(10.0, exact_ends=False)),
    mb.PureDeath(255, mb.LinearSchedule()),
    mb.MeanHead("nearest", bounded=True),
    mb.CategoricalHead(),
    mb.LogisticMixtureHead(5),
    mb.NegativeBinomialHead(),
    mb.Noised(),
    mb.PathKL(0.5),
    mb.PathKL(1.0) + 0.1 * mb.EndNLL() + 2 * mb.Instantaneous(100),
    mb.FiniteTime(7),
    mb.FiniteTime(7, weight="exact"),
    mb.Bridge(),
    mb.Gillespie(),
    exact.NegativeBinomial(mb.PureDeath(), 3.0, 2.0),
]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_objects_come_back_equal(value):
    text = json.dumps(to_config(value), allow_nan=False)
    found = from_config(json.loads(text))
    assert type(found) is type(value)
    assert found == value


def test_the_form_is_the_one_of_recipes():
    assert to_config(mb.PureDeath(16)) == {
        "class_path": "markovbridge.PureDeath",
        "init_args": {
            "maximum": 16,
            "schedule": {"class_path": "markovbridge.CosineSchedule", "init_args": {}},
        },
    }


def test_networks_come_back_with_their_arguments():
    network = MLP((1, 4, 4), features=1, outputs=2, width=24, depth=2, dropout=0.1)
    found = from_config(json.loads(json.dumps(to_config(network))))
    assert isinstance(found, MLP)
    shapes = {name: p.shape for name, p in network.named_parameters()}
    assert {name: p.shape for name, p in found.named_parameters()} == shapes
    assert found.config == network.config


def test_plain_values_stay_plain():
    value = {"a": [1, 2.5, "x", None, True], "b": {"c": Path("/data"), "d": torch.bfloat16}}
    assert to_config(value) == {
        "a": [1, 2.5, "x", None, True],
        "b": {"c": "/data", "d": "bfloat16"},
    }
    assert from_config(to_config(value))["a"] == (1, 2.5, "x", None, True)
    assert to_config(torch.tensor([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]


def test_what_has_no_configuration_is_refused():
    with pytest.raises(TypeError, match="Generator cannot be written to a configuration: make it"):
        to_config(torch.Generator())


@dataclass(frozen=True)
class Foreign:
    """A user's own part."""

    command: str = "rm"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (to_config(Foreign()), "Foreign is not part of markovbridge, and a file may not name"),
        (to_config(mb.SurvivalSchedule(squared)), "problems.squared is not part of markovbridge"),
        ({"class_path": "os.system", "init_args": {"command": "true"}}, "os.system is not part"),
        ({"class_path": "markovbridge_evil.Part"}, "is not part of markovbridge"),
        (
            {"class_path": "markovbridge.processes.schedules.Sine"},
            "Sine does not exist in this version",
        ),
        ({"class_path": "markovbridge.clocks.LinearSchedule"}, "does not exist in this version"),
        ({"class_path": "markovbridge.storage.config.from_config"}, "from_config is not a class"),
        # Classes that a module of the package merely uses.
        ({"class_path": "markovbridge.storage.config.Path"}, "Path is not part of markovbridge"),
        ({"class_path": "markovbridge.transport.saved.shutil.Error"}, "does not exist"),
        (
            {
                "class_path": "markovbridge.processes.schedules.LinearSchedule",
                "init_args": {"speed": 2},
            },
            "there is no option '.*speed'; LinearSchedule has none",
        ),
        (
            {
                "class_path": "markovbridge.processes.schedules.LogisticSchedule",
                "init_args": {"t_end": 0.1},
            },
            "t_end must exceed log 2",
        ),
    ],
)
def test_files_name_classes_of_the_package_only(config, message):
    for nested in (config, [config], {"a": {"b": config}}):
        with pytest.raises(ValueError, match=message):
            from_config(nested)


@pytest.mark.parametrize("path", sorted(parts.classes()))
def test_a_users_class_is_imported_only_where_one_is_wanted(path):
    """Of every option that is no class: what looks like the name of one stays a text."""

    def load():
        raise AssertionError("imported")

    cls = parts.classes()[path]
    for name, hint in parts.arguments(cls).items():
        if not parts.kinds(hint):
            try:
                found = parts.options(
                    {name: "mouse.h5ad"}, cls, "", {name: parts.Named("cells.csv", load)}
                )
            except ValueError:
                continue  # no text is wanted there
            assert found == {name: "mouse.h5ad"}


def test_files_call_every_class_by_a_public_name_and_older_ones_are_understood():
    """No file says in which module of a namespace a class is, so that it can move."""
    for cls in set(parts.classes().values()):
        if inspect.isabstract(cls):
            continue
        name = public_names.name_of(cls)
        space, _, own = name.rpartition(".")
        assert space.count(".") < 2 and own == cls.__name__, name
        assert getattr(importlib.import_module(space), own) is cls
        old = {"class_path": f"{cls.__module__}.{own}", "init_args": {}}
        assert public_names.renamed({"a": [old]}) == {"a": [{"class_path": name, "init_args": {}}]}
        assert parts.find(old["class_path"]) is cls


@pytest.mark.parametrize(
    ("path", "cls"),
    [
        ("markovbridge.Mean", mb.MeanHead),
        ("markovbridge.heads.gaussian.Endpoint", mb.EndpointHead),
        ("markovbridge.Cosine", mb.CosineSchedule),
        ("markovbridge.schedules.Linear", mb.LinearSchedule),
        ("markovbridge.processes.schedules.Mirrored", mb.processes.MirroredSchedule),
        ("markovbridge.processes.supports.Rounded", mb.processes.RoundedSupport),
    ],
)
def test_names_that_were_shorter_are_understood(path, cls):
    assert parts.find(path) is cls
    today = {"class_path": public_names.name_of(cls), "init_args": {}}
    assert public_names.renamed({"class_path": path, "init_args": {}}) == today


def test_a_law_keeps_the_name_that_a_support_had():
    assert public_names.today("markovbridge.laws.Rounded") == "markovbridge.laws.Rounded"


@pytest.mark.parametrize(
    "text, told",
    [
        (
            "HandOver(until=0.5, then=Trapezoidal(theta=0.4, thetas=[]), plans=[])",
            "HandOver(until=0.5, Trapezoidal(theta=0.4))",
        ),
        ("Corrected(sampler=Bridge(), moves=1)", "Corrected(Bridge, moves=1)"),
        (
            "Corrected(sampler=HandOver(then=Heun(), plans=[[1.0]]), moves=1)",
            "Corrected(HandOver (planned), moves=1)",
        ),
        ("Trapezoidal(theta=0.4, thetas=[], powers=[0.5])", "Trapezoidal (planned)"),
        ("my net (v2) with EMA, 10 steps", None),
        ("HandOver(then=Heun(), plans=[[1.0], [0.4, 1.0]], thetas=[0.4])", "HandOver (planned)"),
        (
            "HandOver(until=0.5, plans=[[1.0]]), JointHead()",
            "HandOver (planned), JointHead",
        ),
        ("Trapezoidal(theta=0.25), MeanHead(kernel=poisson)", None),
        ("Bridge, base Table(means=..., rank=2) 0a1b", "Bridge, base Table(rank=2)"),
        ("Trapezoidal(theta=0.4), steps 10", None),
        ("ours (by hand), 100 steps", None),
        ("", None),
    ],
)
def test_what_is_read_at_a_glance_has_plain_options_only(text, told):
    assert at_a_glance(text) == (text if told is None else told)


def test_what_a_sampler_is_called_goes_into_a_line():
    planned = mb.HandOver(plans=tuple((*(k / 90 for k in range(1, n)), 1.0) for n in range(1, 30)))
    whole = short(to_config(planned))
    assert len(whole) > 1000 and len(at_a_glance(whole)) < 40
    leaps = mb.Trapezoidal(thetas=(0.25, 0.3), powers=(1.0, 0.75))
    assert at_a_glance(short(to_config(leaps))) == "Trapezoidal (planned)"
