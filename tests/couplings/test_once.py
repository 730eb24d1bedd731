"""A model's coupling is given once, and older files that say it twice are understood."""

import json
from dataclasses import asdict

import pytest
import torch
import yaml

from markovbridge import (
    CategoricalHead,
    Dirac,
    EndpointHead,
    Independent,
    LinearDiffusion,
    Noised,
    Paired,
    PureDeath,
    SubVP,
    Transport,
    exact,
    recipes,
)
from markovbridge.cli import main
from markovbridge.couplings import Gaussian
from markovbridge.couplings.base import same
from markovbridge.networks import MLP
from markovbridge.storage import public_names
from markovbridge.storage.config import to_config
from markovbridge.training import TrainingConfig, resume
from runs import error


def headed(coupling, head, process=None):
    process = LinearDiffusion() if process is None else process
    network = MLP((2,), 1, 1, width=8)
    return Transport(process, network, head, shape=(2,), coupling=coupling)


def test_the_coupling_is_given_once():
    coupling = Independent(Gaussian(torch.tensor([1.0, -2.0]), 0.5))
    assert headed(coupling, EndpointHead("residual")).setting.coupling is coupling
    assert isinstance(headed(None, EndpointHead("residual")).setting.coupling, Noised)
    law = exact.Empirical(LinearDiffusion(), torch.zeros(4, 2), coupling=coupling)
    assert Transport(LinearDiffusion(), law, shape=(2,)).coupling is coupling
    same = Independent(Gaussian(torch.tensor([1.0, -2.0]), 0.5))
    Transport(LinearDiffusion(), law, shape=(2,), coupling=same)


@pytest.mark.parametrize(
    ("own", "given", "message"),
    [
        (Independent(), Noised(), "Independent, but .* is Noised: give"),
        (Independent(), Independent(Gaussian(std=2.0)), "another Independent"),
        (Independent(), Independent(Gaussian(torch.ones(2))), "another Independent"),
        (Dirac(torch.tensor([0.0, 1.0])), Dirac(torch.tensor([0.0, 2.0])), "another Dirac"),
    ],
)
def test_two_couplings_are_refused(own, given, message):
    law = exact.Empirical(LinearDiffusion(), torch.zeros(4, 2), coupling=own)
    with pytest.raises(ValueError, match="the exact law is for " + message):
        Transport(LinearDiffusion(), law, shape=(2,), coupling=given)


def test_a_saved_model_says_its_coupling_once_and_may_say_it_twice(tmp_path):
    coupling = Independent(Gaussian(torch.tensor([1.0, -2.0]), 0.5))
    model = headed(coupling, EndpointHead("residual"))
    model.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    assert "coupling" not in config["head"]["init_args"]
    config["head"]["init_args"]["coupling"] = config["coupling"]  # as once was written,
    del config["sha256"]  # before configurations had a hash of their own
    other = Independent(Gaussian(torch.tensor([3.0, 4.0]), 0.5))
    for text in (path.read_text(), json.dumps(config)):
        path.write_text(text)
        found = Transport.from_pretrained(tmp_path / "model")
        assert to_config(found.head) == to_config(model.head)
        replaced = Transport.from_pretrained(tmp_path / "model", coupling=other)
        assert replaced.setting.coupling is other
    config["head"]["init_args"]["coupling"] = to_config(other)
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="EndpointHead has no option 'head.coupling': give the"):
        Transport.from_pretrained(tmp_path / "model")
    rows = Independent(torch.ones(4, 2))
    headed(rows, EndpointHead()).save_pretrained(tmp_path / "rows")
    assert Transport.from_pretrained(tmp_path / "rows", coupling=rows).coupling is rows


@pytest.mark.parametrize(
    ("coupling", "head", "process", "message"),
    [
        (Independent(preserve=True), EndpointHead("start"), LinearDiffusion(), "preserve=True"),
        (Paired(), EndpointHead("noise"), LinearDiffusion(), "predict the residual, the end"),
        (Noised(), EndpointHead("drift"), LinearDiffusion(SubVP()), "no noise at the source"),
        (Noised(), CategoricalHead(), PureDeath(), "needs a bounded number of states"),
    ],
)
def test_heads_that_say_nothing_are_refused(coupling, head, process, message):
    with pytest.raises(ValueError, match=message):
        headed(coupling, head, process)


def recipe(tmp_path, **coupling):
    """A recipe as a run folder holds it, whose head states a coupling, or None, or nothing."""
    options = yaml.safe_load(recipes.find("digits-bridge").read_text())
    options["head"]["init_args"].update(coupling)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(options))
    return path, options


@pytest.mark.parametrize("twice", [False, True])
def test_older_recipes_mean_the_same(tmp_path, twice):
    path, options = recipe(tmp_path)
    plain = recipes.load(path)
    path, older = recipe(tmp_path, coupling=options["coupling"] if twice else None)
    found = recipes.load(path)
    assert found.head == plain.head and same(found.coupling, plain.coupling)
    training = {"training": asdict(TrainingConfig(steps=8))}
    resume.check(older | training, public_names.renamed(options) | training, 4)


def test_recipes_and_words_say_the_coupling_once(tmp_path, capsys):
    path, _ = recipe(tmp_path, coupling={"class_path": "markovbridge.Noised"})
    said = "EndpointHead has no option 'head.coupling': give the coupling once, beside the head"
    for words in ([str(path)], ["digits-bridge", "--head.coupling", "Noised"]):
        assert main(["train", *words, "--output", str(tmp_path / "run")]) == 2
        assert said in error(capsys)


@pytest.mark.parametrize("beside", [{}, {"coupling": None}])
def test_a_coupling_that_an_older_head_alone_states_is_that_of_the_model(beside):
    dirac = {"class_path": "markovbridge.Dirac", "init_args": {"value": 0.5}}
    head = {"class_path": "markovbridge.EndpointHead", "init_args": {"coupling": dirac}}
    found = public_names.renamed({"head": head, **beside})
    assert found["coupling"] == dirac and found["head"]["init_args"] == {}
