"""Options and recipes: what they come to, and what is said of wrong ones."""

import pytest
import yaml

from markovbridge import recipes
from markovbridge.cli import main
from markovbridge.recipes.options import hints
from markovbridge.recipes.recipe import Recipe
from runs import config, error

NULLABLE = [  # options that are a dataclass or nothing
    name
    for name in hints.options(Recipe)
    if hints.is_group(Recipe, name) and hints.default(Recipe, name) is None
]

# Configuration


def test_overrides_reach_into_classes(capsys):
    plain = config(capsys, "train", "digits")
    changed = config(
        capsys,
        *("train", "digits", "--trainer.steps", "500", "--head.law.kernel", "stochastic"),
        *("--process.schedule", "LinearSchedule", "--trainer.clip", "null"),
    )
    assert plain["process"]["init_args"]["schedule"]["class_path"] == "markovbridge.CosineSchedule"
    plain["trainer"].update(steps=500, clip=None)
    plain["head"]["init_args"]["law"]["init_args"]["kernel"] = "stochastic"
    plain["process"]["init_args"]["schedule"]["class_path"] = "markovbridge.LinearSchedule"
    assert changed == plain


def test_another_class_drops_the_options_of_the_first(capsys):
    changed = config(capsys, "train", "digits", "--objective", "Instantaneous")
    assert changed["objective"] == {
        "class_path": "markovbridge.Instantaneous",
        "init_args": {"steps": 1000},
    }


def test_printed_config_is_a_recipe(capsys, tmp_path):
    printed = config(capsys, "train", "digits", "--trainer.steps", "7", "--data.seed", "3")
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(printed))
    assert config(capsys, "train", str(path)) == printed
    assert not {"output", "resume", "overwrite", "dry_run", "recipe"} & set(printed)


def test_a_recipe_may_name_any_coupling(capsys, tmp_path):
    printed = config(capsys, "train", "digits")
    assert printed["coupling"] is None
    source = {"class_path": "markovbridge.couplings.Gaussian", "init_args": {"std": 2.0}}
    printed["coupling"] = {"class_path": "Independent", "init_args": {"source": source}}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(printed))
    found = config(capsys, "train", str(path))["coupling"]
    assert found["class_path"] == "markovbridge.Independent"
    assert found["init_args"]["source"]["init_args"]["std"] == 2.0


def test_sums_of_objectives(capsys):
    written = "{class_path: Sum, init_args: {terms: [PathKL, EndNLL], weights: [1, 0.1]}}"
    changed = config(capsys, "train", "digits", "--objective", written)
    terms = changed["objective"]["init_args"]["terms"]
    assert [term["class_path"] for term in terms] == [
        "markovbridge.PathKL",
        "markovbridge.EndNLL",
    ]


@pytest.mark.parametrize("recipe", recipes.names())
def test_fields_of_what_a_recipe_gives_and_may_be_null_can_be_changed(capsys, recipe):
    """As all other options can: the value of the recipe, said again, changes nothing."""
    plain = config(capsys, "train", recipe)
    assert "masking" in NULLABLE
    given = [name for name in NULLABLE if isinstance(plain.get(name), dict)]
    for option in given:
        for field, value in plain[option].items():
            assert config(capsys, "train", recipe, f"--{option}.{field}", str(value)) == plain
            assert config(capsys, "train", recipe, f"--{option}", "null")[option] is None
        whole = yaml.safe_dump(plain[option], default_flow_style=True).strip()
        assert config(capsys, "train", recipe, f"--{option}", whole) == plain


def test_a_field_of_a_mask_is_changed_alone(capsys):
    plain = config(capsys, "train", "digits-classes")
    changed = config(capsys, "train", "digits-classes", "--masking.low", "0.3")
    plain["masking"]["low"] = 0.3
    assert changed == plain


# Wrong options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "there is no verb 'trian' (did you mean 'train'?)"),
        (["train"], "RECIPE comes first: markovbridge train digits"),
        (["train", "digit"], "there is no recipe 'digit' (did you mean 'digits'?)"),
        (["train", "no/such.yaml"], "no recipe no/such.yaml: there is no such file"),
        (["train", "digits", "more"], "'more' is one word too many"),
        (["train", "digits", "--ouput", "x"], "no option --ouput (did you mean 'output'?)"),
        (["train", "digits", "--trainer.stepz", "3"], "(did you mean 'trainer.steps'?)"),
        (["train", "digits", "--trainer.steps", "x"], "trainer.steps is 'x'; it must be a whole"),
        (["train", "digits", "--trainer.steps", "2.5"], "trainer.steps is '2.5'; it must be a w"),
        (["train", "digits", "--trainer.clip", "x"], "trainer.clip is 'x'; it must be a number"),
        (["train", "digits", "--trainer.decay", "x"], "it must be one of constant, cosine"),
        (["train", "digits", "--resume", "maybe"], "resume is 'maybe'; it must be true or false"),
        (
            ["train", "digits", "--head", "Meen"],
            "head is 'Meen', which is none of CategoricalHead",
        ),
        (
            ["train", "digits-classes", "--head.kernal", "x"],
            "no option 'head.kernal' (did you mean 'ker",
        ),
        (
            ["train", "digits-classes", "--head.kernel", "x"],
            "it must be one of poisson, stochastic, near",
        ),
        (
            ["train", "digits", "--head", "json.JSONDecoder"],
            "not correspond to a subclass of Head",
        ),
        (["train", "digits", "--head", "no_such.Head"], "head: No module named 'no_such'"),
        (["train", "digits", "--process.schedule", "Linear"], "(did you mean 'LinearSchedule'?)"),
        (["train", "digits", "--process.maximum", "x"], "process.maximum is 'x'; it must be a wh"),
        (
            ["train", "digits", "--network.widht", "3"],
            "no option 'network.widht' (did you mean 'w",
        ),
        (["train", "digits", "--network", "no_such.Net"], "No module named 'no_such'"),
        (
            ["train", "digits", "--network", "MPL"],
            "network is 'MPL', which is none of Attention, ",
        ),
        (
            ["train", "digits", "--base", "mixture"],
            "base is 'mixture', which is none of moments, null, FitFrequencies, "
            "FitLinearCounts, FitMixture (did you mean 'FitMixture'?)",
        ),
        (["train", "digits", "--base", "FitMixtures"], "base is 'FitMixtures', which is none of"),
        (["train", "digits", "--base", "moment"], "(did you mean 'moments'?)"),
        (["train", "digits", "--base", "3"], "base is '3'; it must be one of moments, null, Fit"),
        (["train", "digits", "--base", "MLP"], "base is 'MLP', which is none of moments"),
        (
            ["train", "digits", "--base", "FitMixture", "--base.compnents", "3"],
            "no option 'base.compnents' (did you mean 'components'?)",
        ),
        (
            ["train", "digits", "--base.components", "3"],
            "--base names none: write, for example, --base FitMixture --base.components 3",
        ),
        (
            ["train", "digits", "--base", "moments", "--base.prior", "3"],
            "--base names none: write, for example, --base FitFrequencies --base.prior 3",
        ),
        (
            ["train", "digits-classes", "--head.kernel", "poisson", "--base", "[1]"],
            "base is '[1]'; it m",
        ),
        (
            ["train", "digits", "--base", "FitMixture", "--base.components", "x"],
            "error: base.components: Expected a <class 'tuple'>. Got value: x",
        ),
        (
            ["train", "digits-classes", "--masking.low", "2", "--dry_run"],
            "error: low and high must satisfy 0 <= low <= high <= 1, not 2.0, 1.0",
        ),
        (["train", "digits", "--resume", "true", "--overwrite", "true"], "give one of them"),
        (["sample"], "RUN comes first"),
        (["recipes", "digit"], "there is no recipe 'digit'"),
        (["recipes", "digits", "more"], "recipes takes one name"),
        (["data", "digits"], "data takes `unpack` or --json alone, and was given 'digits'"),
        (["data", "unpack", "reuters"], "data unpack takes three words: NAME ARCHIVE FILE"),
    ],
)
def test_wrong_options(capsys, words, expected):
    assert main(words) == 2
    assert expected in error(capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["sample", "RUN", "--sampler.theta", "0.4"],
            "--sampler.theta is an option of a class, and --sampler names none: write, for "
            "example, --sampler Adaptive --sampler.theta 0.4 "
            "(Adaptive, SecondOrderBridge, Trapezoidal have one)",
        ),
        (
            ["sample", "RUN", "--sampler", "HandOver", "--sampler.until", "2"],
            "error: until must be finite and at least 0 and at most 1, not 2.0",
        ),
        (["sample", "RUN", "--network.width=8"], "write, for example, --network Attention --netw"),
        (
            ["sample", "RUN", "--sampler.thetta", "0.4"],
            "no option --sampler.thetta (did you mean 'theta'?); --sampler names no class",
        ),
        (
            ["train", "digits", "--coupling.source.mean", "1"],
            "--coupling Independent --coupling.s",
        ),
        (
            ["train", "digits", "--data", "Binarised", "--data.source.n", "3"],
            "--data.source names none: write, for example, --data.source Synthetic --data.s",
        ),
    ],
)
def test_options_of_a_class_that_is_not_named(capsys, run, words, expected):
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    assert expected in error(capsys)


def test_no_options_at_all(capsys, run):
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()
    capsys.readouterr()


def test_options_of_a_class_that_has_a_default(capsys):
    words = ["--coupling", "Independent", "--coupling.source.mean", "1", "--print_config"]
    assert (
        main(["train", "digits-classes", *words, "--head.link=exp", "--network.width", "7"]) == 0
    )
    assert "mean: 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text + "bogus: 3\n", "own.yaml: there is no option 'bogus'"),
        (
            lambda text: text.replace("  steps", "  stepz"),
            "own.yaml: there is no option 'trainer.st",
        ),
        (
            lambda text: text.replace("data.Digits", "data.Digitz"),
            "own.yaml: data: markovbridge.data.Digitz does not exist",
        ),
        (lambda text: text.replace("head:", "data:\n  - ["), "own.yaml is damaged: while parsing"),
        (lambda text: "- 1\n", "own.yaml is damaged: it must hold named options"),
        (lambda text: "", "data, process, network, head, objective must be given"),
    ],
)
def test_wrong_recipes(capsys, tmp_path, change, expected):
    assert main(["recipes", "digits"]) == 0
    path = tmp_path / "own.yaml"
    path.write_text(change(capsys.readouterr().out))
    assert main(["train", str(path), "--output", str(tmp_path / "run")]) == 2
    assert expected in error(capsys)
    assert not (tmp_path / "run").exists()


def test_a_warm_up_that_nobody_asked_for_is_cut_to_a_tenth(capsys, tmp_path):
    def warmup(*words):
        return config(capsys, "train", "digits", *words)["trainer"]["warmup"]

    assert warmup() == warmup("--trainer.steps", "500") == warmup("--trainer.steps", "9000") == 50
    assert warmup("--trainer.steps", "70") == 7
    assert warmup("--trainer.steps=5") == 0
    assert warmup("--trainer.steps", "70", "--trainer.warmup", "30") == 30
    assert main(["train", "digits", "--trainer.steps", "5", "--trainer.warmup", "5"]) == 1
    assert "warmup is 5 of 5 steps" in error(capsys)
    # A run that is continued has the warm-up that it has.
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("trainer: {warmup: 30}\n")
    again = ["--output", str(run), "--trainer.steps", "70", "--resume"]
    assert warmup(*again) == 30
    assert warmup(*again[:-1], "--resume", "false") == 7
    # One that was cut for a short run is not the recipe's own.
    anew = ["train", str(run), "--output", str(tmp_path / "other"), "--trainer.steps", "9000"]
    for steps, expected in ((300, 100), (900, 30)):
        text = recipes.find("digits").read_text().splitlines()
        changed = [line for line in text if "steps:" not in line and "warmup:" not in line]
        changed.insert(changed.index("trainer:") + 1, f"  warmup: 30\n  steps: {steps}")
        (run / "config.yaml").write_text("\n".join(changed) + "\n")
        assert config(capsys, *anew)["trainer"]["warmup"] == expected


def test_a_recipe_without_a_warm_up(capsys, tmp_path, monkeypatch):
    lines = recipes.find("digits").read_text().splitlines()
    (tmp_path / "mine.yaml").write_text("\n".join(li for li in lines if "warmup" not in li) + "\n")
    monkeypatch.chdir(tmp_path)
    assert config(capsys, "train", "mine.yaml")["trainer"]["warmup"] == 100
    short = config(capsys, "train", "mine.yaml", "--trainer.steps", "400")
    assert short["trainer"]["warmup"] == 40
    assert recipes.load("mine.yaml", {"trainer.steps": 40}).trainer.warmup == 4
