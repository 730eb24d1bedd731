"""Two processes that train one model.

By the launcher itself `tests/cli/test_sample.py` starts two, with `--whole`.
"""

import json

import pytest
import torch

import distributed
from markovbridge.doors.randomness import derive, generator
from markovbridge.training.examples import Batches
from twice import in_two_processes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of the runs and what each process found."""
    directory = tmp_path_factory.mktemp("distributed")
    in_two_processes(distributed.main, directory)
    found = [torch.load(directory / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    return directory, found


def test_both_processes_end_with_the_same_weights(run, small):
    _, (one, other) = run
    assert one["world"] == other["world"] == 2
    small.assert_same(one["weights"], other["weights"])
    assert one["held_out"] == other["held_out"]


def test_two_processes_take_the_steps_of_one_written_by_hand(run, small):
    x, config, transport = small.counts(), small.config(), small.transport().train()
    optimizer = torch.optim.AdamW(transport.parameters(), weight_decay=0.0)
    batches = Batches(len(x), 8, config.seed)
    for step in range(6):
        optimizer.param_groups[0]["lr"] = config.rate(step)
        optimizer.zero_grad()
        for number, part in enumerate(x[batches[step]].chunk(4)):
            key = (config.seed, step, number // 2, number % 2)  # process, micro-batch
            with torch.random.fork_rng():
                torch.manual_seed(derive("dropout", *key))
                noise = generator("cpu", "noise", *key)
                (transport.loss(part.long(), generator=noise).mean() / 4).backward()
        torch.nn.utils.clip_grad_norm_(transport.parameters(), config.clip)
        optimizer.step()
    weights = run[1][0]["weights"]
    for name, value in transport.state_dict().items():
        torch.testing.assert_close(weights[f"model/{name}"], value)


def test_one_process_writes_for_both(run):
    directory, found = run
    lines = (directory / "whole" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [3, 3, 6, 6]
    assert rows[-1]["validation_loss"] == pytest.approx(float(found[0]["held_out"]), rel=1e-12)
    lines = (directory / "cut" / "metrics.jsonl").read_text().splitlines()
    again = [json.loads(line) for line in lines]
    assert again[0]["loss"] == rows[0]["loss"]
    assert again[-1] == rows[-1]
    log = (directory / "whole" / "log.txt").read_text()
    assert log.count("on 2 processes (cpu, threads: 1)") == 1
