"""The page of a run: whole, self-contained, and honest about what is missing."""

import json

import numpy as np
import pytest
import torch

from markovbridge.data import IDX, Arrays, Digits
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import evaluate, nearest
from markovbridge.evaluation.report import write_report
from markovbridge.evaluation.report.html import describe, duration, number
from markovbridge.evaluation.report.run import read_run
from markovbridge.storage.png import grid_png
from pages import META, Page, make_run, write_samples


def write_history(run):
    lines = [
        {"step": k, "loss": 80.0 / k, "samples_per_s": 500.0, "elapsed_s": 2.0 * k}
        for k in range(1, 41)
    ]
    lines.append({"step": 40, "validation_loss": 2.25})
    lines.append({"step": 20, "loss": 4.5})
    text = "\n".join(map(json.dumps, lines)) + '\n{"step": 41, "lo'
    (run / "metrics.jsonl").write_text(text)
    (run / "log.txt").write_text("training on <cpu>\n")


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "a <run>", Digits())
    data = Digits().load("train").x
    samples = data[torch.randperm(len(data), generator=generator("cpu", "page"))[:80]].clone()
    samples[1:] = (samples[1:].long() + 1).clamp(max=16).to(samples.dtype)
    states = (samples[:4].double() * torch.linspace(0, 1, 21)[:, None, None, None, None]).long()
    write_samples(run, samples, states)
    write_history(run)
    (run / "samples").mkdir()
    for step in range(5, 41, 5):
        (run / "samples" / f"step-{step:08d}.png").write_bytes(grid_png(samples[:4], 16))
    records = evaluate(samples, data, meta=META | {"split": "train"}, repeats=1)
    (run / "evaluation.json").write_text(json.dumps({"records": [r.to_dict() for r in records]}))
    return run, data, samples, records, Page(write_report(run))


def test_page_is_self_contained(image_run):
    run, *_, page = image_run
    assert (run / "report.html").is_file()
    assert page.sources and all(source.startswith("data:") for source in page.sources)
    assert "<script" not in page.source and "@import" not in page.source
    assert "a <run>" in page.text  # and escaped, or the tags would not balance
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []


def test_page_shows_every_figure_with_its_circumstances(image_run):
    *_, records, page = image_run
    for record in records:
        for value in (record.value, record.floor):
            assert number(value) in page.text
    assert "80 samples (EMA weights, Bridge, 50 evaluations, seed 4)" in page.text
    assert "split: 80 reference items against the other" in page.text
    assert "split “train”" in page.text


def test_page_pairs_samples_with_their_neighbours(image_run):
    _, data, samples, _, page = image_run
    found = nearest(samples, data)
    assert found.copies == pytest.approx(1 / 80)
    assert "1.2% of the samples equal a training item exactly" in page.text
    assert f"training item is {number(float(found.distance.median()))}" in page.text
    assert page.images.count("Training image nearest to sample 1") == 1
    assert f"distance {number(found.distance[1, 0].item())}" in page.text


def test_page_walks_the_path_from_black(image_run):
    *_, page = image_run
    walk = [alt for alt in page.images if " at time " in alt]
    assert len(walk) == 4 * 11
    assert walk[0] == "Sample 1 at time 0.00" and walk[-1] == "Sample 4 at time 1.00"


def test_page_tells_training_time_and_losses(image_run):
    *_, page = image_run
    assert "Training time1 min 20 s" in page.text
    assert "Held-out loss2.250" in page.text
    assert "500 samples per second" in page.text
    assert "37.50 ms per sample" in page.text
    assert "training on <cpu>" in page.text
    steps = [alt for alt in page.images if "steps of training" in alt]
    assert len(steps) == 6
    assert "after 5 steps" in steps[0].replace("Samples ", "") and "40 steps" in steps[-1]


def test_history_takes_the_later_line_and_survives_half_a_line(image_run):
    run, *_ = image_run
    history = read_run(run).history
    assert [entry["step"] for entry in history] == list(range(1, 41))
    assert history[19]["loss"] == 4.5
    assert history[39]["loss"] == 2.0 and history[39]["validation_loss"] == 2.25


def test_training_data_are_those_of_the_split(tmp_path):
    for split, count in (("all", 1797), ("test", len(Digits().load("test")))):
        run = read_run(make_run(tmp_path / split, Digits(), split=split))
        assert run.training is not None and len(run.training) == count
    assert len(read_run(make_run(tmp_path / "none", Digits())).training) == len(Digits().load())


def test_what_is_missing_is_said_with_its_command(tmp_path):
    run = make_run(tmp_path / "bare", IDX(root=tmp_path / "nowhere"))
    page = Page(write_report(run))
    for line in (f"markovbridge sample {run}", f"markovbridge evaluate {run}", "--resume true"):
        assert line in page.text
    assert "Nothing has been evaluated yet." in page.text
    assert "No step has been logged yet." in page.text
    assert "nowhere" in page.text  # why the data could not be loaded
    assert "<b>&" in page.text  # the configuration, escaped


def test_table_data_are_compared_feature_by_feature(tmp_path):
    rng = generator("cpu", "table")
    x = torch.poisson(torch.rand(120, 30, generator=rng) * 9, generator=rng).long()
    np.save(tmp_path / "counts.npy", x.numpy())
    run = make_run(tmp_path / "table", Arrays(path=tmp_path / "counts.npy"))
    write_samples(run, x[:50], torch.stack([0 * x[:3], x[:3] // 2, x[:3]]))
    page = Page(write_report(run))
    assert not page.images
    assert page.source.count('class="point"') == 4 * 30
    assert "one of the 30 features" in page.text
    assert page.source.count('class="line') == 3 + 2 * 2  # paths, and two histograms of two
    assert "sample 7" in page.text


def test_real_data_have_no_share_of_zeros(tmp_path):
    x = torch.randn(60, 5, generator=generator("cpu", "reals"))
    np.save(tmp_path / "reals.npy", x.numpy())
    run = make_run(tmp_path / "reals", Arrays(path=tmp_path / "reals.npy", counts=False))
    write_samples(run, x[:20], torch.stack([0 * x[:2], x[:2]]))
    assert Page(write_report(run)).source.count('class="point"') == 2 * 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "samples.npz",
            b"PK\x03\x04 half a file",
            r"samples\.npz is damaged.*markovbridge sample",
        ),
        ("evaluation.json", b'{"records": [{}]}', r"evaluation\.json.*markovbridge evaluate"),
        ("metrics.jsonl", b'{"st\n{"step": 1}\n', r"metrics\.jsonl, line 1 is damaged"),
        ("model/config.json", b"{", r"config\.json is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    run = make_run(tmp_path / "damaged", Digits())
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        write_report(run)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run folder.*config\.yaml"):
        write_report(tmp_path)


def test_small_words():
    assert [number(v) for v in (12345, 0.10754, 18.0, -146.71, 0.0, 20000.4)] == [
        "12,345",
        "0.1075",
        "18.00",
        "-146.7",
        "0",
        "20,000",
    ]
    assert [duration(s) for s in (0.84, 42, 725, 12000)] == [
        "0.8 s",
        "42 s",
        "12 min 5 s",
        "3 h 20 min",
    ]
    schedule = {"class_path": "markovbridge.processes.schedules.CosineSchedule", "init_args": {}}
    process = {"class_path": "m.PureDeath", "init_args": {"maximum": 16, "schedule": schedule}}
    assert describe(process) == "PureDeath(maximum=16, schedule=CosineSchedule())"
