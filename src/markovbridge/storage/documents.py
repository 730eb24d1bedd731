"""YAML and JSON that come from a file, read in one way: as plain data, within bounds.

A recipe or a run folder may be somebody else's. So whatever is read here ends at once, and is
dictionaries with names, lists, texts, numbers, booleans and None, nothing else:

- no tags, so that nothing is built (`!!python/object/apply:os.system`),
- no aliases, so that a short text is a small value (nine levels of `*a` are 10^9 items),
- no key twice, of which each reader takes another one,
- `SIZES` bytes and `DEPTH` levels at most,
- no numbers to the base of 60: `12:30:00` is a text, not 45,000, as it is in YAML 1.2.

What is wrong is a `ValueError` that names the file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from markovbridge.storage.files import read_bytes

DEPTH = 64  # levels of lists and dictionaries in each other; ours have about 12
SIZES = {"YAML": 2**22, "JSON": 2**26}  # bytes; a matrix of 1024 x 1024 numbers takes 2^24
NUMBER, TEXT, FLAG = "a number", "a text", "true or false"  # forms of `conforming`
MERGE, VALUE = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"
INT, FLOAT, STR = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "str"))
UNUSED = {INT, FLOAT, MERGE, VALUE, "tag:yaml.org,2002:timestamp"}
WHOLE = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|[0-9][0-9_]*)$")
REAL = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
)
Fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Refused(yaml.YAMLError):
    """Well-formed YAML that is not read here, and why."""


class PlainDumper(yaml.SafeDumper):
    """A writer of plain values, each written out, that `PlainLoader` reads again."""

    def ignore_aliases(self, data: Any) -> bool:
        """Whatever is there twice is written twice."""
        return True


class PlainLoader(Fast):
    """A loader of plain values, for `yaml.load`; it raises `yaml.YAMLError` at all else."""

    def __init__(self, stream: str) -> None:
        _look(stream)
        super().__init__(stream)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        """A dictionary, with names as keys and each of them once."""
        found: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag != STR:
                raise Refused(f"a key must be a name, not {_shown(key.value)}")
            if key.value in found:
                raise Refused(f"{_shown(key.value)} is there twice")
            found[key.value] = self.construct_object(value, deep=True)
        return found

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """A whole number; a 0 in front does not make it octal."""
        text = node.value.replace("_", "").lower()
        try:
            return int(text, 16 if "x" in text else 10)
        except ValueError as error:
            raise Refused(f"{_shown(node.value)} is no whole number that fits") from error

    def construct_real(self, node: yaml.ScalarNode) -> float:
        """A number."""
        text = node.value.replace("_", "").lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    def construct_plain_mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        """As `construct_mapping`, which is another thing to PyYAML."""
        return self.construct_mapping(node)


def _resolvers() -> dict[Any, list[Any]]:
    """By first character, what a text without quotes may be: null, true, false, a number."""
    kept = {
        first: [(tag, pattern) for tag, pattern in known if tag not in UNUSED]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+0123456789.":
        kept[first] = [*kept.get(first, []), (INT, WHOLE), (FLOAT, REAL)]
    return kept


PlainLoader.yaml_implicit_resolvers = _resolvers()
PlainLoader.add_constructor(INT, PlainLoader.construct_whole)
PlainLoader.add_constructor(FLOAT, PlainLoader.construct_real)
PlainLoader.add_constructor("tag:yaml.org,2002:map", PlainLoader.construct_plain_mapping)


def _look(text: str) -> None:
    """Refuse what cannot be read safely, one event at a time, before anything is built."""
    if len(text) > SIZES["YAML"]:
        raise Refused(f"it has more than {SIZES['YAML']:,} characters")
    level = documents = 0
    for event in yaml.parse(text, Loader=Fast):
        if isinstance(event, yaml.AliasEvent):
            raise Refused(f"it has an alias, *{event.anchor}: write the value out")
        if getattr(event, "tag", None) is not None and event.tag not in (STR, "!"):
            raise Refused(f"it has a tag, {_shown(event.tag)}, and holds plain values only")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise Refused("it holds two documents, --- between them")
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
            if level > DEPTH:
                raise Refused(f"it has more than {DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1


def read_yaml(path: Path, remedy: str = "") -> dict[str, Any]:
    """The options that a YAML file holds; none if it is empty.

    Args:
        path: The file.
        remedy: What to do if it is damaged, as a clause.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If it is damaged or not plain, naming it.
    """
    try:
        value = yaml.load(_text(path, "YAML"), Loader=PlainLoader)
        value = _checked({} if value is None else value)
        if not isinstance(value, dict):
            raise ValueError("it must hold named options")
    except (ValueError, yaml.YAMLError) as error:
        raise _damaged(path, error, remedy) from error
    return value


def read_json(path: Path, remedy: str = "") -> dict[str, Any]:
    """The dictionary that a JSON file holds.

    Args:
        path: The file.
        remedy: What to do if it is damaged, as a clause.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If it is damaged, naming it and the remedy.
    """
    try:
        return load_json(path)
    except ValueError as error:
        raise _damaged(path, error, remedy) from error


def load_json(path: Path) -> dict[str, Any]:
    """As `read_json`, where whoever asks names the file."""
    return parse_json(_text(path, "JSON"))


def parse_json(text: str) -> dict[str, Any]:
    """The dictionary that a text in JSON holds.

    Raises:
        ValueError: If it is something else, has a name twice or is too deep.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError(f"it has more than {DEPTH} levels") from error
    if not isinstance(value, dict):
        raise ValueError(f"it must hold named values, not {_shown(value)}")
    return _checked(value)


def conforming(value: Any, form: Any, place: str) -> Any:
    """A value that has the form that its reader relies on.

    Args:
        value: As `parse_json` gives it.
        form: `NUMBER`, `TEXT` or `FLAG`; a list of one form, for a list of values of that form;
            a dictionary of forms, for a dictionary, whose names may be missing if they end in
            "?". What it has beside the names is left alone. Every value may be None, but lists
            and dictionaries.
        place: What to call the value.

    Raises:
        ValueError: If it has another form, naming the place in it.
    """
    if isinstance(form, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{place} must hold named values, not {_shown(value)}")
        for name, inner in form.items():
            key = name.removesuffix("?")
            if key in value:
                conforming(value[key], inner, f"{place}.{key}")
            elif key == name:
                raise ValueError(f"{place} has no {key}")
    elif isinstance(form, list):
        if not isinstance(value, list):
            raise ValueError(f"{place} must be a list, not {_shown(value)}")
        for item in value:
            conforming(item, form[0], place)
    elif value is not None and not _is(value, form):
        raise ValueError(f"{place} must be {form}, not {_shown(value)}")
    return value


def _is(value: Any, form: str) -> bool:
    if form == NUMBER:
        # No whole number of ours has more than 64 bits, and the largest do not fit a float.
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64
        return whole or isinstance(value, float)
    return isinstance(value, bool if form == FLAG else str)


def _text(path: Path, form: str) -> str:
    """The text of a file.

    Raises:
        ValueError: If it is too long, or no text.
    """
    content = read_bytes(path, SIZES[form] + 1)
    if len(content) > SIZES[form]:
        raise ValueError(f"it has more than {SIZES[form]:,} bytes")
    return content.decode("utf-8")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{_shown(next(n for n in names if names.count(n) > 1))} is there twice")
    return found


def _checked(value: Any) -> Any:
    """The value, if it is no deeper than `DEPTH` and its texts can be written again."""
    left = [(value, 1)]
    while left:
        inside, level = left.pop()
        if level > DEPTH:
            raise ValueError(f"it has more than {DEPTH} levels")
        items: list[Any] = [*inside, *inside.values()] if isinstance(inside, dict) else inside
        for item in items:
            if isinstance(item, (dict, list)):
                left.append((item, level + 1))
            elif isinstance(item, str) and any("\ud800" <= letter <= "\udfff" for letter in item):
                raise ValueError(f"{_shown(item)} is no text")
    return value


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _damaged(path: Path, error: Exception, remedy: str) -> ValueError:
    reason = " ".join(str(error).replace('in "<unicode string>", ', "").split())
    return ValueError(f"{path} is damaged: {reason}" + (f"; {remedy}" if remedy else ""))
