import json

import pytest
import torch

from markovbridge.training.checkpoint import latest, prune, read, set_aside, steps, write


def tensors(value):
    shared = torch.full((3, 2), float(value))
    return {
        "model": {"a": shared, "tied": shared, "view": shared.t(), "n": torch.tensor(value)},
        "optimizer": {},
        "ema": {"half": torch.tensor([value, 0.1], dtype=torch.bfloat16)},
    }


def save(folder, *numbers):
    for number in numbers:
        write(folder, number, tensors(number), {"step": number, "loss": 0.1 + 0.2})


def test_what_is_written_is_read_bit_by_bit(tmp_path):
    path = write(tmp_path, 12, tensors(12), {"step": 12, "loss": 0.1 + 0.2, "list": [1, None]})
    assert path.name == "step-00000012"
    found = read(path)
    assert found.state == {"step": 12, "loss": 0.1 + 0.2, "list": [1, None]}
    for file, group in tensors(12).items():
        assert found.tensors[file].keys() == group.keys()
        for name, value in group.items():
            assert torch.equal(found.tensors[file][name], value)
            assert found.tensors[file][name].dtype == value.dtype


def test_latest_is_the_newest_and_none_where_there_is_none(tmp_path):
    assert latest(tmp_path / "absent") == (None, [])
    save(tmp_path, 9, 100, 20)
    (tmp_path / ".step-00000200.new").mkdir()
    (tmp_path / "step-notes").mkdir()
    assert steps(tmp_path) == [9, 20, 100]
    found, complaints = latest(tmp_path)
    assert found.state["step"] == 100
    assert complaints == []


def truncate(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip(path):
    file = path / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def lose_file(path):
    (path / "ema.safetensors").unlink()


def lose_state(path):
    (path / "state.json").unlink()


def cut_state(path):
    file = path / "state.json"
    file.write_text(file.read_text()[:-20])


def change_state(path):
    file = path / "state.json"
    record = json.loads(file.read_text())
    record["state"]["step"] += 1
    file.write_text(json.dumps(record))


def other_format(path):
    file = path / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))


def no_object(path):
    (path / "state.json").write_text("[]")


DAMAGES = [truncate, flip, lose_file, lose_state, cut_state, change_state, other_format, no_object]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, damage):
    save(tmp_path, 5, 10)
    damage(tmp_path / "step-00000010")
    found, complaints = latest(tmp_path)
    assert found.state["step"] == 5
    assert len(complaints) == 1
    assert "step-00000010 is damaged" in complaints[0]


def test_an_error_says_so_if_none_is_intact(tmp_path):
    save(tmp_path, 5, 10)
    flip(tmp_path / "step-00000005")
    truncate(tmp_path / "step-00000010")
    with pytest.raises(ValueError, match="No checkpoint in .* is intact") as error:
        latest(tmp_path)
    assert "step-00000005 is damaged (the SHA-256 of optimizer" in str(error.value)
    assert "step-00000010 is damaged (model.safetensors has" in str(error.value)


def test_writing_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 5)
    flip(tmp_path / "step-00000005")
    save(tmp_path, 5)
    assert latest(tmp_path)[1] == []


def test_prune_keeps_the_newest_and_clears_what_was_left_behind(tmp_path):
    save(tmp_path, 1, 2, 3)
    (tmp_path / ".step-00000004.new").mkdir()
    prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_damaged_checkpoints_are_set_aside_once_an_older_one_is_used(tmp_path):
    save(tmp_path, 1, 2, 3)
    set_aside(tmp_path, after=1)
    assert steps(tmp_path) == [1]
    assert (tmp_path / "damaged-step-00000003").is_dir()
    save(tmp_path, 3)
    set_aside(tmp_path, after=1)  # a second time: the older damaged one makes room
    assert steps(tmp_path) == [1]
