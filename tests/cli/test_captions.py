"""What stands below the pictures of verbs."""

from types import SimpleNamespace

from markovbridge.cli.drawing import caption


def test_a_caption_names_the_sampler_and_not_all_that_it_holds(tmp_path):
    meta = {
        "sampler": "HandOver(then=Trapezoidal(theta=0.4), plans=[[1.0], []]), JointHead()",
        "evaluations": 18,
        "weights": "ema",
        "seed": 0,
    }
    run = SimpleNamespace(path=tmp_path / "demo")
    told = caption(run, "64 of 256 samples", meta)
    how = "HandOver (planned), JointHead, 18 evaluations, ema weights, seed 0"
    assert told == f"demo: 64 of 256 samples. {how}"
