import pytest
import yaml

from markovbridge import recipes
from markovbridge.cli import main
from markovbridge.covariances import Cosine
from markovbridge.evaluation.bands import even_clocks

# Of the data, and their largest count, on which the recipe is rehearsed.
SHAPES = {
    "celeba64": "16 of 3x64x64, counts 0..255",
    "cifar10": "16 of 3x32x32, counts 0..255",
    "digits": "16 of 1x8x8, counts 0..16",
    "fashion-mnist": "16 of 1x28x28, counts 0..255",
    "fashion-mnist-translate": "16 of 1x28x28, counts 0..255",
    "mnist-binary": "16 of 1x28x28, counts 0..1",
    "table": "16 of 1000, counts 0..255",
}


def config(name):
    return yaml.safe_load(recipes.find(name).read_text())


def test_names():
    assert set(SHAPES) <= set(recipes.names())
    assert recipes.names() == sorted(recipes.names())


def test_list_and_print(capsys):
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    for name in recipes.names():
        assert f"  {name} " in text
        assert recipes.describe(name) in text
        assert main(["recipes", name]) == 0
        assert capsys.readouterr().out == recipes.find(name).read_text()


@pytest.mark.parametrize("name", recipes.names())
def test_headers_describe(name):
    lines = recipes.find(name).read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[1] == "#"
    assert lines[2].startswith("# ")
    assert len(recipes.describe(name)) > 20
    assert max(map(len, lines)) <= 99


@pytest.mark.parametrize("name", SHAPES)
def test_headers_say_from_where_and_at_what_cost(name):
    lines = recipes.find(name).read_text().splitlines()
    assert any(line.startswith("# Data: ") for line in lines)
    assert any(line.startswith("# Cost: ") for line in lines)


LARGE = ("celeba64", "cifar10", "cifar10-bridge", "cifar10-correlated", "cifar10-reversal")
# What these have, `fashion-mnist` has with pure death, and a recipe of the digits each.
ALIKE = (
    "absorbing",
    "bridge",
    "clocks",
    "correlated",
    "ehrenfest",
    "gaussian",
    "reversal",
    "uniform",
)
LOADED = (*LARGE, *(f"fashion-mnist-{name}" for name in ALIKE))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.whole) if name in LOADED else name
        for name in recipes.names()
    ],
)
def test_dry_run(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARKOVBRIDGE_DATA", str(tmp_path / "none"))
    monkeypatch.setattr("markovbridge.data.locations.SYSTEM", tmp_path / "none")
    assert main(["train", name, "--dry_run", "true"]) == 0
    text = capsys.readouterr().out
    assert f"{name}: the recipe works" in text
    assert SHAPES.get(name, "") in text
    if not name.startswith("digits"):
        assert "not on this machine: " in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", LOADED)
def test_recipes_that_are_not_rehearsed_are_objects(name):
    assert recipes.load(name).trainer.steps > 0


@pytest.mark.parametrize(
    ("name", "t_end"), [("cifar10", 15), ("celeba64", 15), ("mnist-binary", 10)]
)
def test_the_papers_settings(name, t_end):
    recipe = config(name)
    schedule = recipe["process"]["init_args"]["schedule"]
    assert schedule["class_path"] == "markovbridge.LogisticSchedule"
    assert schedule["init_args"] == {"t_end": t_end, "exact_ends": False}
    assert recipe["objective"] == {
        "class_path": "markovbridge.Instantaneous",
        "init_args": {"steps": 1000},
    }
    assert recipe["trainer"]["learning_rate"] == 2e-4
    assert recipe["trainer"]["batch_size"] == (100 if name == "celeba64" else 256)


@pytest.mark.parametrize("data", ["digits", "fashion-mnist"])
def test_recipes_with_clocks_differ_in_these_only(data):
    bridge, clocks = (config(f"{data}-{name}") for name in ("bridge", "clocks"))
    made = clocks["process"]["init_args"]
    assert made.pop("modes")["class_path"] == "markovbridge.covariances.Cosine"
    made.pop("clocks")
    assert clocks == bridge


def test_clocks_of_the_digits_are_theirs():
    recipe = recipes.load("digits-bridge")
    x = recipe.process.support.encode(recipe.data.load("train").x.float())
    found = even_clocks(recipe.process, recipe.coupling, Cosine(), x).between()
    for k, m in enumerate(recipes.load("digits-clocks").process.clocks.odds):
        held = float(Cosine().counts(x.shape[1:])[k]) > 0
        assert m == (pytest.approx(found.odds[k], rel=5e-3) if held else 1.0)


@pytest.mark.parametrize("data", ["digits", "fashion-mnist", "cifar10"])
def test_bridge_recipes_differ_in_what_they_compare_only(data):
    bridge, reversal, correlated = (
        config(f"{data}-{name}") for name in ("bridge", "reversal", "correlated")
    )
    assert reversal["coupling"] == {"class_path": "markovbridge.Noised"}
    assert correlated["process"]["init_args"].pop("covariance") != (
        bridge["process"]["init_args"].pop("covariance")
    )
    assert correlated == bridge
    del reversal["process"]["init_args"]["covariance"]
    for recipe in (bridge, reversal):
        del recipe["coupling"]
    assert reversal == bridge


def test_find(tmp_path):
    path = tmp_path / "mine.yaml"
    with pytest.raises(FileNotFoundError, match="no such file"):
        recipes.find(str(path))
    path.write_text("data: Digits\n")
    assert recipes.find(str(path)) == path
    with pytest.raises(FileNotFoundError, match="has no config.yaml"):
        recipes.find(str(tmp_path))
    (tmp_path / "config.yaml").write_text("data: Digits\n")
    assert recipes.find(str(tmp_path)) == tmp_path / "config.yaml"
    with pytest.raises(FileNotFoundError, match="did you mean 'cifar10'"):
        recipes.find("cifar")


@pytest.mark.parametrize("name", ["t.biom", "t.txt", "t.h5ad.gz", "t.loom", "t.zarr", "t.XLSX"])
def test_a_file_of_another_kind_is_no_recipe(name, capsys, tmp_path):
    path = tmp_path / name
    path.mkdir() if name.endswith("zarr") else path.write_bytes(b"\x89HDF")
    assert main(["train", str(path)]) == 2
    said = capsys.readouterr().err
    assert (
        f"{path} is of no known kind; tables of counts are .h5ad" in said and "utf-8" not in said
    )
