"""JSON without NaN, and files that are whole."""

import json
import math

import pytest

from markovbridge.storage.files import to_json, write_json


def test_numbers_that_are_not_finite_are_null():
    value = {"a": math.nan, "b": [1.5, math.inf, (2, -math.inf)], "é": None}
    text = to_json(value)
    assert text == '{"a": null, "b": [1.5, null, [2, null]], "é": null}'
    assert json.loads(text) == {"a": None, "b": [1.5, None, [2, None]], "é": None}


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"a": object()})
    assert path.read_text(encoding="utf-8") == '{\n  "a": 1\n}'
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
