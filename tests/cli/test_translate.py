import json

import numpy as np
import pytest
import torch

from markovbridge import Transport
from markovbridge.cli import main
from markovbridge.data import Digits, Selected

SMALL = ["--network.width", "16", "--network.depth", "1", "--trainer.threads", "1"]
SMALL += ["--trainer.warmup", "5", "--trainer.steps", "20", "--trainer.log_every", "10"]
SMALL += ["--trainer.sample_steps", "5"]
SOURCE = Selected(Digits(), (1, 2, 3, 4)).load("all").x


@pytest.fixture(scope="module", params=["digits-translate", "digits-translate-counts"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    assert main(["train", request.param, "--output", str(folder), *SMALL]) == 0
    return folder


def translate(run, *options):
    words = ["translate", str(run), "--block", "16", "--steps", "4", "--threads", "1", *options]
    return main(words)


def result(run):
    with np.load(run / "translated.npz", allow_pickle=False) as file:
        return file["source"], file["samples"], json.loads(str(file["meta"]))


def error(capsys):
    lines = [s for s in capsys.readouterr().err.splitlines() if s.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_what_is_written_is_what_python_gives(run):
    assert translate(run, "--n", "40", "--seed", "7") == 0
    source, samples, meta = result(run)
    assert np.array_equal(source, SOURCE[:40])
    assert samples.dtype == np.uint8
    model = Transport.from_pretrained(run / "model")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = model.translate(
            SOURCE[:40], steps=4, block=16, generator=torch.Generator().manual_seed(7)
        )
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(samples, expected.numpy())
    evaluations = model.default_sampler().evaluations(4)
    assert (meta["n"], meta["steps"], meta["seed"]) == (40, 4, 7)
    assert meta["evaluations"] == evaluations
    assert meta["sampler"] in ("Midpoint, EndpointHead", "Bridge, CategoricalHead")
    assert (run / "translated.png").read_bytes().startswith(b"\x89PNG")
    assert not (run / "translated.parts").exists()
    # Each row goes its own way, however many there are.
    assert translate(run, "--n", "21", "--seed", "7") == 0
    assert np.array_equal(result(run)[1], samples[:21])


def test_an_interrupted_call_is_continued(run, monkeypatch):
    assert translate(run, "--n", "50") == 0
    whole = result(run)[1]
    (run / "translated.npz").unlink()
    begun, original = [], Transport.translate_block

    def watched(limit):
        def block(self, index, x0, **options):
            begun.append(index)
            if len(begun) > limit:
                raise KeyboardInterrupt
            return original(self, index, x0, **options)

        return block

    with monkeypatch.context() as patch:
        patch.setattr(Transport, "translate_block", watched(2))
        assert translate(run, "--n", "50") == 130
    assert not (run / "translated.npz").exists()
    begun.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Transport, "translate_block", watched(99))
        assert translate(run, "--n", "50") == 0
    assert begun == [2, 3]
    assert np.array_equal(result(run)[1], whole)


def test_rows_of_a_file(run, tmp_path):
    file = tmp_path / "rows.npz"
    np.savez(file, mine=SOURCE[5:25].numpy(), other=np.zeros(3))
    assert translate(run, "--input", str(file), "--key", "mine") == 0
    source, samples, _ = result(run)
    assert np.array_equal(source, SOURCE[5:25])
    assert len(samples) == 20
    # The result of one run is the source of the next.
    words = ["--input", str(run / "translated.npz"), "--key", "samples"]
    assert translate(run, *words) == 0
    assert np.array_equal(result(run)[0], samples)


def test_another_source_starts_afresh(run, tmp_path, monkeypatch, capsys):
    file = tmp_path / "rows.npy"
    np.save(file, SOURCE[:40].numpy())
    original = Transport.translate_block
    begun = []

    def once(self, index, x0, **options):
        begun.append(index)
        if len(begun) > 1:
            raise KeyboardInterrupt
        return original(self, index, x0, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Transport, "translate_block", once)
        assert translate(run, "--input", str(file)) == 130
    np.save(file, SOURCE[1:41].numpy())
    assert translate(run, "--input", str(file)) == 0
    assert "source is not what an interrupted call was given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (["--n", "0"], 2, "n is 0; it must be at least 1"),
        (["--n", "99999"], 2, "there are 723 rows to carry"),
        (["--input", "none.npy"], 1, "no file none.npy"),
        (["--splt", "test"], 2, "did you mean 'split'?"),
    ],
)
def test_translate_refuses(run, capsys, options, status, expected):
    assert translate(run, *options) == status
    assert expected in error(capsys)
    assert not (run / "translated.npz").exists()


def test_wrong_rows_are_refused(run, tmp_path, capsys):
    file = tmp_path / "rows.npy"
    np.save(file, np.full((3, 1, 8, 8), 17))
    assert translate(run, "--input", str(file)) == 1
    assert "holds 17" in error(capsys)
    np.save(file, np.zeros((3, 1, 4, 4), dtype=int))
    assert translate(run, "--input", str(file)) == 1
    assert "but this transport carries (batch, 1, 8, 8)" in error(capsys)


def test_a_run_without_a_source(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "digits", "--output", str(run), *SMALL]) == 0
    capsys.readouterr()
    assert translate(run) == 2
    assert "does not start from a data set" in error(capsys)


def test_a_class_is_asked_for(tmp_path, capsys):
    run = tmp_path / "run"
    words = ["digits-translate-counts", "--output", str(run), "--condition", "labels"]
    assert main(["train", *words, *SMALL]) == 0
    assert translate(run, "--n", "20", "--condition.label", "*", "--guidance", "2") == 0
    _, samples, meta = result(run)
    assert meta["condition"] == {"label": "*"} and meta["guidance"] == 2
    model = Transport.from_pretrained(run / "model")
    expected = model.translate(
        SOURCE[:20],
        steps=4,
        condition=torch.eye(10)[torch.arange(20) % 10],
        guidance=2.0,
        block=16,
        generator=torch.Generator().manual_seed(0),
    )
    assert np.array_equal(samples, expected.numpy())
    assert translate(run, "--n", "20", "--condition.label", "8") == 0
    assert not np.array_equal(result(run)[1], samples)
    assert translate(run, "--guidance", "2") == 2
    assert "guidance needs a condition to follow" in error(capsys)


def test_translate_block_checks():
    from markovbridge import LinearDiffusion, exact

    data = torch.tensor([[0.0], [1.0]])
    law = exact.Empirical(LinearDiffusion(), data)
    model = Transport(LinearDiffusion(), law, shape=(1,))
    with pytest.raises(ValueError, match="block must be at least 1, not 0"):
        model.translate_block(0, data, key=1, block=0)
    parts = [model.translate_block(k, data[:1].repeat(5, 1), key=3, block=2) for k in range(3)]
    assert [len(part) for part in parts] == [2, 2, 2]
