"""Where results go, what is replaced, JSON on standard output, and pipes that are closed."""

import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest

from markovbridge import recipes
from markovbridge.cli import Data, Recipes, main
from markovbridge.data.catalogue import CATALOGUE
from markovbridge.evaluation.metrics import reference
from runs import error, sample, samples, train

FEW = ["--steps", "2", "--threads", "1"]


def strict(text):
    """Strict JSON: no NaN, no infinity, one document."""

    def refuse(word):
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# Where results go


def test_output_is_a_folder_or_a_file(run, tmp_path, capsys):
    before, other = files(run), tmp_path / "deep" / "other"
    assert sample(run, "--n", "20", "--output", str(other)) == 0
    told = capsys.readouterr()
    assert f"wrote {other / 'samples.npz'}, {other / 'path.npz'}, {other}" in told.out
    assert f"markovbridge evaluate {run} --samples {other / 'samples.npz'}" in told.out
    assert told.err == ""
    assert files(other) == {"samples.npz", "samples.png", "path.npz"}
    assert sample(run, "--n", "20", "--output", str(tmp_path / "twenty.npz")) == 0
    assert {f"twenty{end}" for end in (".npz", ".png", "-path.npz")} < files(tmp_path)
    assert files(run) == before
    assert sample(run, "--n", "20") == 0
    found, meta = samples(run)
    for file in (other / "samples.npz", tmp_path / "twenty.npz"):
        with np.load(file) as arrays:
            assert np.array_equal(arrays["samples"], found)
            assert json.loads(str(arrays["meta"])) | {"seconds": 0} == meta | {"seconds": 0}


CALLS = {
    "restore": ["--survival", "0.3", "--n", "2", "--draws", "19", "--split", "test"],
    "impute": ["--observed", "top", "--n", "2", "--draws", "3", "--rounds", "1"],
    "translate": ["--n", "2"],
}


@pytest.mark.parametrize("verb", CALLS)
def test_every_verb_that_draws_takes_output(run, tmp_path, capsys, verb):
    np.save(tmp_path / "rows.npy", np.zeros((3, 1, 8, 8), dtype=np.int64))
    more = ["--input", str(tmp_path / "rows.npy")] if verb == "translate" else []
    words = [verb, str(run), *CALLS[verb], *more, *FEW]
    before = files(run)
    assert main([*words, "--output", str(tmp_path / "mine.npz")]) == 0
    assert files(run) == before
    assert {"mine.npz", "mine.png"} <= files(tmp_path)
    assert "replaced" not in capsys.readouterr().err
    assert main([*words, "--output", str(tmp_path / "mine.npz"), "--seed", "1"]) == 0
    assert f"{tmp_path / 'mine.npz'}, {tmp_path / 'mine.png'}: replaced" in capsys.readouterr().err


def test_what_is_replaced_is_said(run, capsys):
    assert sample(run, "--n", "20") == 0
    assert "replaced" not in capsys.readouterr().err
    assert sample(run, "--n", "4", "--seed", "5") == 0
    kept = ", ".join(str(run / name) for name in ("samples.npz", "path.npz", "samples.png"))
    assert f"{kept}: replaced 20 samples, seed 0; another --output keeps both" in (
        capsys.readouterr().err
    )
    words = ["evaluate", str(run), "--split", "test"]
    for again in ("", ", in place of what was there"):
        assert main(words) == 0
        assert f"wrote {run / 'evaluation.json'}{again}; for a page" in capsys.readouterr().out
    for again in ("", ", in place of what was there"):
        assert main(["report", str(run)]) == 0
        assert capsys.readouterr().out == f"wrote {run / 'report.html'}{again}\n"


def test_what_is_not_of_the_program_is_not_replaced(run, tmp_path, capsys):
    (tmp_path / "mine.png").write_bytes(b"a picture")
    assert sample(run, "--n", "4", "--output", str(tmp_path / "mine.npz")) == 1
    assert "mine.png is there and holds no results of this program" in error(capsys)
    np.savez(tmp_path / "input.npz", x=np.zeros((2, 1, 8, 8), dtype=np.int64))
    whole = (tmp_path / "input.npz").read_bytes()
    words = ["restore", str(run), "--survival", "0.5", "--input", str(tmp_path / "input.npz")]
    assert main([*words, *FEW, "--output", str(tmp_path / "input.npz")]) == 1
    assert "input.npz is there and holds no results" in error(capsys)
    assert (tmp_path / "input.npz").read_bytes() == whole
    assert files(tmp_path) >= {"mine.png", "input.npz"} and not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize(
    ("output", "status", "message"),
    [
        ("x.h5ad", 2, "are written as .npz: name a folder, or a file that ends so"),
        ("x.npy", 2, "name a folder, or a file that ends so"),
        (".npz", 2, "give the file a name before .npz"),
        ("restored.npz", 2, "and files called restored are those of another verb"),
        ("path.npz", 2, "give the file another name"),
        ("threes-path.npz", 2, "are the paths of other samples"),
        ("file/deep", 1, "file"),
        ("another", 1, "is the folder of another run than"),
    ],
)
def test_output_that_cannot_be(run, tmp_path, capsys, output, status, message):
    (tmp_path / "file").write_text("in the way")
    if output == "another":
        shutil.copytree(run, tmp_path / "another")
    assert sample(run, "--n", "4", "--output", str(tmp_path / output)) == status
    assert message in error(capsys)


def test_every_file_of_the_user_is_looked_at_before_drawing(run, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("path.npz", "nine-path.npz"):
        np.savez(folder / name, x=np.zeros(3))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for output in (folder, folder / "nine.npz"):
        assert sample(run, "--n", "4", "--output", str(output)) == 1
        assert "path.npz is there and holds no results of this program" in error(capsys)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sample(run, "--n", "4", "--output", str(folder / "four.npz")) == 0
    (folder / "four-evaluation.json").write_text('{"mine": 1}')
    words = ["evaluate", str(run), "--split", "test", "--samples", str(folder / "four.npz")]
    assert main(words) == 1
    assert "four-evaluation.json is there and holds no results" in error(capsys)
    assert (folder / "four-evaluation.json").read_text() == '{"mine": 1}'
    assert sample(run, "--n", "4", "--output", str(folder / "four.npz")) == 0
    assert (folder / "four-evaluation.json").read_text() == '{"mine": 1}'


def test_nothing_is_left_of_the_results_before(run, tmp_path, capsys):
    file = tmp_path / "four.npz"
    words = ["evaluate", str(run), "--split", "test", "--json", "--samples", str(file)]
    assert sample(run, "--n", "4", "--output", str(file)) == 0
    capsys.readouterr()
    for replaced in (False, True):
        assert main(words) == 0
        assert ("in place of what was there" in capsys.readouterr().err) == replaced
    (tmp_path / "four.csv").write_text("exported, by the user")
    assert sample(run, "--n", "5", "--output", str(file)) == 0
    told = capsys.readouterr().err
    assert f"{tmp_path / 'four-evaluation.json'}: deleted, of the samples before" in told
    assert (tmp_path / "four.csv").exists() and "other weights" not in told
    assert sample(run, "--n", "4", "--weights", "raw", "--output", str(file)) == 0
    told = capsys.readouterr().err
    assert "replaced 5 samples, seed 0, drawn with other weights; another" in told
    assert "deleted" not in told and (tmp_path / "four.csv").exists()
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("four")} == {
        *("four.npz", "four.png", "four-path.npz", "four.csv")
    }


@pytest.mark.parametrize("inner", ["model", "checkpoints/new.npz", "threes/deep"])
def test_output_inside_a_run_is_refused(run, tmp_path, capsys, inner):
    before = files(run)
    (tmp_path / "link").symlink_to(run / "checkpoints")
    for place in (run / inner, tmp_path / "link"):
        assert sample(run, "--n", "4", "--output", str(place)) == 1
        assert f"is inside the run {run.resolve()}; name another folder" in error(capsys)
    assert files(run) == before and not (run / "threes").exists()
    assert sample(run, "--n", "4", "--output", str(run / "four.npz")) == 0
    assert sample(run, "--n", "4", "--output", str(run / "model" / ".." / "five.npz")) == 0


def test_an_interrupted_call_goes_on_where_it_writes(run, tmp_path, monkeypatch, capsys):
    from markovbridge import Transport

    original, begun = Transport.sample_block, []

    def watched(self, index, **options):
        begun.append(index)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return original(self, index, **options)

    words = ["--n", "40", "--output", str(tmp_path / "forty.npz")]
    with monkeypatch.context() as patch:
        patch.setattr(Transport, "sample_block", watched)
        assert sample(run, *words) == 130
        assert (tmp_path / "forty.parts").is_dir() and not (run / "samples.parts").exists()
        assert sample(run, *words) == 0
    assert begun == [0, 1, 2, 2]
    assert not (tmp_path / "forty.parts").exists()


def test_samples_elsewhere_are_scored(run, tmp_path, capsys):
    assert sample(run, "--n", "30", "--output", str(tmp_path / "thirty.npz")) == 0
    assert sample(run, "--n", "30") == 0
    assert main(["evaluate", str(run), "--split", "test"]) == 0
    assert (
        main(["evaluate", str(run), "--split", "test", "--samples", str(tmp_path / "thirty.npz")])
        == 0
    )
    records = [
        json.loads(path.read_text())["records"]
        for path in (run / "evaluation.json", tmp_path / "thirty-evaluation.json")
    ]
    assert records[0] == records[1]
    assert sample(run, "--n", "30", "--output", str(tmp_path / "folder")) == 0
    assert (
        main(["evaluate", str(run), "--split", "test", "--samples", str(tmp_path / "folder")]) == 0
    )
    assert (tmp_path / "folder" / "evaluation.json").is_file()
    assert (
        main(["evaluate", str(run), "--split", "test", "--samples", str(tmp_path / "none.npz")])
        == 1
    )
    assert f"there are no samples at {tmp_path / 'none.npz'}" in error(capsys)


def test_samples_of_another_model_are_not_scored_as_those_of_the_run(run, tmp_path, capsys):
    again = shutil.copytree(run, tmp_path / "again")
    for weights in ("ema", "raw"):
        words = ["--n", "10", "--weights", weights, "--output", str(tmp_path / f"{weights}.npz")]
        assert sample(run, *words) == 0
    assert sample(again, "--n", "10") == 0
    score = ["evaluate", str(again), "--split", "test"]
    capsys.readouterr()
    for weights in ("ema", "raw"):  # the same model, elsewhere
        assert main([*score, "--samples", str(tmp_path / f"{weights}.npz")]) == 0
    assert main(score) == 0
    assert "weights than" not in capsys.readouterr().err
    assert train(again, "--resume", "--trainer.steps", "31") == 0
    capsys.readouterr()
    for weights in ("ema", "raw"):
        file = tmp_path / f"{weights}.npz"
        assert main([*score, "--samples", str(file)]) == 1
        told = error(capsys)
        assert f"{file} was drawn with other weights than {again} has; name the run" in told
    assert main(score) == 0
    told = f"warning: {again / 'samples.npz'} was drawn with other weights than {again} has now"
    assert told in capsys.readouterr().err


def test_large_data_leave_statistics_in_the_cache(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MARKOVBRIDGE_CACHE", str(tmp_path / "cache"))
    assert sample(run, "--n", "10") == 0
    assert main(["evaluate", str(run), "--split", "test"]) == 0
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(reference, "LARGE", 0)
    told = []
    for _ in range(2):
        capsys.readouterr()
        assert main(["evaluate", str(run), "--split", "test", "--json"]) == 0
        told.append(capsys.readouterr())
        assert list((tmp_path / "cache" / "references").glob("*.npz"))
    assert told[0] == told[1]
    assert told[0].err == f"wrote {run / 'evaluation.json'}, in place of what was there\n"
    for path in (tmp_path / "cache" / "references").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:200])
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # which tests make errors
        assert main(["evaluate", str(run), "--split", "test", "--json"]) == 0
    damaged = capsys.readouterr()
    assert damaged.out == told[0].out
    assert "warning: moments is computed again: " in damaged.err


# JSON


def test_evaluate_and_diagnose_print_json_alone(run, capsys):
    assert sample(run, "--n", "20") == 0
    capsys.readouterr()
    assert (
        main(
            [
                "evaluate",
                str(run),
                "--split",
                "test",
                "--json",
                "--likelihood",
                "2",
                "--looks",
                "2",
            ]
        )
        == 0
    )
    found = strict(capsys.readouterr().out)
    assert found == {
        name: strict((run / f"{name}.json").read_text()) for name in ("evaluation", "likelihood")
    }
    assert main(["evaluate", str(run), "--split", "test", "--json"]) == 0
    assert strict(capsys.readouterr().out).keys() == {"evaluation"}
    assert main(["diagnose", str(run), "--json", "--n", "4", "--pieces", "2"]) == 0
    assert strict(capsys.readouterr().out) == strict((run / "diagnostics.json").read_text())


def test_lists_are_json(capsys):
    assert main(["recipes", "--json"]) == 0
    found = strict(capsys.readouterr().out)
    assert found == [{"name": n, "about": recipes.describe(n)} for n in recipes.names()]
    assert main(["recipes", "--json", "digits"]) == 0
    recipe = strict(capsys.readouterr().out)
    assert recipe["process"]["init_args"]["maximum"] == 16
    Recipes("digits", json=True).run()
    assert strict(capsys.readouterr().out) == recipe
    assert main(["data", "--json"]) == 0
    found = strict(capsys.readouterr().out)
    assert [one["name"] for one in found] == [entry.name for entry in CATALOGUE]
    digits = next(one for one in found if one["name"] == "digits")
    assert digits["here"] is True and digits["remedy"] is None and digits["path"] is None
    assert all(one["here"] or one["remedy"] for one in found)
    Data(json=True).run()
    assert strict(capsys.readouterr().out) == found


def test_wrong_words_beside_json(capsys):
    assert main(["data", "--json", "more"]) == 2
    assert "data takes `unpack` or --json alone, and was given 'more'" in error(capsys)
    assert main(["recipes", "--json", "digit"]) == 2
    assert "did you mean 'digits'?" in error(capsys)


# Closed pipes


@pytest.mark.parametrize("words", [["recipes"], ["recipes", "--json"], ["--help"], ["data"]])
def test_a_closed_pipe_is_no_failure(words):
    readable, writable = os.pipe()
    os.close(readable)
    child = subprocess.run(
        [sys.executable, "-m", "markovbridge", *words],
        stdout=writable,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writable)
    assert (child.returncode, child.stderr) == (0, "")


def test_work_goes_on_behind_a_closed_pipe(run, monkeypatch, capsys):
    class Closed:
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

        def flush(self):
            raise BrokenPipeError(32, "Broken pipe")

    assert sample(run, "--n", "10") == 0
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        assert main(["evaluate", str(run), "--split", "test"]) == 0
    assert (run / "evaluation.json").is_file()
