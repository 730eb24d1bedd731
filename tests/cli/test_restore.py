import json

import numpy as np
import pytest
import torch

from markovbridge import Transport
from markovbridge.cli import main
from markovbridge.data import Digits
from markovbridge.evaluation.restoration import restore, thin

SMALL = ["--network.width", "16", "--network.depth", "1", "--trainer.threads", "1"]
SMALL += ["--trainer.warmup", "5", "--trainer.steps", "20", "--trainer.log_every", "10"]
SMALL += ["--trainer.sample_steps", "5"]
TEST = Digits().load("test").x


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--output", str(folder), "--split", "train", *SMALL]) == 0
    return folder


def call(run, *options):
    words = ["restore", str(run), "--survival", "0.3", "--steps", "2", "--threads", "1"]
    return main([*words, *options])


def result(run):
    with np.load(run / "restored.npz", allow_pickle=False) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("meta")))


def error(capsys):
    lines = [s for s in capsys.readouterr().err.splitlines() if s.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_own_data_are_thinned_restored_and_scored(run, capsys):
    assert call(run, "--n", "5", "--seed", "3") == 0
    arrays, meta = result(run)
    assert np.array_equal(arrays["truth"], TEST[:5])
    assert (arrays["input"] <= arrays["truth"]).all()
    assert 0.2 < arrays["input"].sum() / arrays["truth"].sum() < 0.4
    draws = arrays["draws"]
    assert draws.shape == (19, 5, 1, 8, 8) and draws.dtype == np.uint8
    assert (draws >= arrays["input"]).all()
    assert np.allclose(arrays["mean"], draws.astype(float).mean(0), rtol=1e-6)
    assert np.allclose(arrays["sd"], draws.astype(float).std(0, ddof=1), atol=1e-5)
    assert arrays["levels"].tolist() == [0.5, 0.9]
    # 19 draws: all of them for 90 %, all but four at each end for 50 %.
    assert np.array_equal(arrays["low"], np.stack([np.sort(draws, 0)[4], draws.min(0)]))
    assert np.array_equal(arrays["high"], np.stack([np.sort(draws, 0)[14], draws.max(0)]))
    assert meta["survival"] == 0.3 and meta["draws"] == 19 and meta["rows"] == 5
    assert meta["evaluations"] == 4
    methods = [one["method"] for one in meta["scores"]]
    assert methods[0] == "draws and their mean" and "best linear, Anscombe" in methods
    scaled = float(((arrays["input"] / 0.3 - arrays["truth"]) ** 2).mean())
    assert meta["scores"][-1]["mse"] == pytest.approx(scaled)
    assert f"{meta['scores'][0]['mse']:.4g}" in capsys.readouterr().out
    assert (run / "restored.png").read_bytes().startswith(b"\x89PNG")
    assert not (run / "restored.parts").exists()


def test_what_is_written_is_what_python_gives(run):
    assert call(run, "--n", "3", "--seed", "3", "--block", "16") == 0
    arrays, _ = result(run)
    model = Transport.from_pretrained(run / "model")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = restore(
            model,
            torch.from_numpy(arrays["input"]),
            survival=0.3,
            steps=2,
            block=16,
            generator=torch.Generator().manual_seed(3),
        )
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(arrays["draws"], expected.draws.numpy())


def test_an_interrupted_call_is_continued(run, monkeypatch):
    assert call(run, "--n", "5", "--block", "32") == 0
    whole = result(run)[0]["draws"]
    (run / "restored.npz").unlink()
    begun, original = [], Transport.restore_block

    def watched(limit):
        def block(self, index, *rest, **options):
            begun.append(index)
            if len(begun) > limit:
                raise KeyboardInterrupt
            return original(self, index, *rest, **options)

        return block

    with monkeypatch.context() as patch:
        patch.setattr(Transport, "restore_block", watched(1))
        assert call(run, "--n", "5", "--block", "32") == 130
    assert not (run / "restored.npz").exists()
    begun.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Transport, "restore_block", watched(99))
        assert call(run, "--n", "5", "--block", "32") == 0
    assert begun == [1, 2]
    assert np.array_equal(result(run)[0]["draws"], whole)


def test_counts_of_a_file(run, tmp_path, capsys):
    file = tmp_path / "thinned.npz"
    thinned = thin(TEST[:6], 0.3, 0)
    np.savez(file, mine=thinned.double().numpy(), other=np.zeros(3))
    assert call(run, "--input", str(file), "--key", "mine", "--draws", "20") == 0
    arrays, meta = result(run)
    assert np.array_equal(arrays["input"], thinned)
    assert arrays["draws"].shape == (20, 6, 1, 8, 8)
    assert "truth" not in arrays and "scores" not in meta
    assert "MSE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--n", "0"], "n is 0; it must be at least 1"),
        (["--n", "99999"], "there are 180 rows to restore"),
        (["--draws", "18"], "draws is 18; intervals of 90% take at least 19"),
        (["--survival", "5"], "survival is 5.0; it must lie in (0, 1)"),
    ],
)
def test_restore_refuses(run, capsys, options, expected):
    assert call(run, *options) == 2
    assert expected in error(capsys)
    assert not (run / "restored.npz").exists()


def test_survival_must_be_told(run, capsys):
    assert main(["restore", str(run)]) == 2
    assert "--survival 0.05" in error(capsys)


def test_wrong_counts_are_refused(run, tmp_path, capsys):
    file = tmp_path / "rows.npy"
    np.save(file, np.full((3, 1, 8, 8), 17))
    assert call(run, "--input", str(file)) == 1
    assert "holds 17" in error(capsys)
    np.save(file, np.full((3, 1, 8, 8), 0.5))
    assert call(run, "--input", str(file)) == 1
    assert "0.5" in error(capsys)
    np.save(file, np.zeros((3, 1, 4, 4), dtype=int))
    assert call(run, "--input", str(file)) == 1
    assert "but this transport carries (batch, 1, 8, 8)" in error(capsys)


def test_only_counts_that_were_thinned(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "digits-translate", "--output", str(run), *SMALL]) == 0
    capsys.readouterr()
    assert call(run) == 2
    assert "LinearDiffusion" in error(capsys)
