"""From words on the command line, and a file, to the fields of a class.

The value of an option is, in rising order, that of the class, of a configuration file (the
recipe, see `from_file`), and of the words. An option that is a class is given by name, and its
own options with a dot:

    --process.schedule LinearSchedule --head.kernel stochastic
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse import _loaders_dumpers as loaders
from jsonargparse._actions import _ActionConfigLoad

from markovbridge.recipes.options import hints
from markovbridge.recipes.options.explain import classless, explain, missing, reason
from markovbridge.recipes.options.from_file import read
from markovbridge.recipes.options.words import of_mapping, pairs, spelled
from markovbridge.storage.documents import PlainDumper, PlainLoader
from markovbridge.storage.errors import UsageError


class ParsedOptions(NamedTuple):
    """What options came to.

    Attributes:
        config: Fields of the class as plain values, as YAML can hold them.
        build: Gives the fields with their classes instantiated.
    """

    config: dict[str, Any]
    build: Callable[[], dict[str, Any]]


def parse(
    owner: type,
    words: Sequence[str],
    *,
    own: Sequence[str] = (),
    recipe: Path | None = None,
    defaults: dict[str, Any] | None = None,
    before: Callable[[dict[str, Any]], None] | None = None,
) -> ParsedOptions:
    """Read options.

    Args:
        owner: The class whose fields they are; that which its `TARGET` names is none.
        words: Names and values, as on a command line.
        own: Options of the command line alone, which no file may hold.
        recipe: A YAML file of options.
        defaults: Options, as YAML holds them, that replace the defaults of the class.
        before: Called with the options as plain values, before the words are read.

    Raises:
        UsageError: If an option does not exist or cannot be what was given.
    """
    hints.resolve()
    words = spelled(words, owner)
    given = read(recipe, owner, words, own) if recipe else {}
    loaders.yaml_default_loader = PlainLoader  # of all texts that the parser reads as YAML
    parser = ArgumentParser(prog="markovbridge", exit_on_error=False)
    target = getattr(owner, "TARGET", None)
    parser.add_class_arguments(owner, as_group=False, skip={target} if target else None)
    where = f"{recipe}: " if recipe else ""
    try:
        if defaults:
            parser.set_defaults(defaults)
        values = parser.parse_object(given, _skip_required=True) if given else None
        known = _plain(parser.get_defaults() if values is None else values)
    except (ArgumentError, TypeError, ValueError) as error:
        raise UsageError(f"{where}{explain(str(error), (), given, owner)}") from error
    if before is not None:
        before(known)
    if problem := classless(words, known, owner):
        raise UsageError(problem)
    _refuse_files(words, parser)
    words = [*_restated(words, values, known, owner), *words]
    try:
        values = parser.parse_args(words, namespace=values)
    except (ArgumentError, TypeError, ValueError) as error:
        absent = missing(
            {**known, **{name.split(".")[0]: True for name, _ in pairs(words)}}, owner
        )
        if absent is not None:
            raise UsageError(f"{where}{absent}") from error
        raise UsageError(explain(str(error), words, known, owner)) from error
    config = {key: value for key, value in _plain(values).items() if key not in own}

    def build() -> dict[str, Any]:
        try:
            return parser.instantiate(values).as_dict()
        except (ArgumentError, TypeError, ValueError) as error:
            if len(lines := str(error).splitlines()) == 1:
                raise
            raise UsageError(reason(lines)) from error

    return ParsedOptions(config, build)


def _restated(
    words: Sequence[str], values: Namespace | None, known: Mapping[str, Any], owner: type
) -> list[str]:
    """Words for what a file says of dataclasses that may be null, where words change them.

    The parser does not put words into such a value that is there: it is taken out of `values`.
    """
    names = [name for name, _ in pairs(words)]
    found: list[str] = []
    for option in hints.options(owner):
        fields = known.get(option)
        if values is None or not (hints.is_group(owner, option) and isinstance(fields, Mapping)):
            continue
        if hints.default(owner, option) is None and any(n.split(".")[0] == option for n in names):
            values[option] = None
            if option not in names:
                said = {f"{option}.{name}": value for name, value in fields.items()}
                found += of_mapping(said, lambda v: v if isinstance(v, str) else json.dumps(v))
    return found


def _refuse_files(words: Sequence[str], parser: ArgumentParser) -> None:
    """Refuse a file where options are wanted: the parser would read it, whatever it names.

    Raises:
        UsageError: Naming the option.
    """
    groups = {action.dest for action in parser._actions if isinstance(action, _ActionConfigLoad)}
    for name, value in pairs(words):
        if name in groups and not (value or "").lstrip().startswith("{"):
            raise UsageError(
                f"{name} is {value!r}; it is given as options, --{name}.NAME value, and read from "
                "no file"
            )


def to_yaml(config: dict[str, Any]) -> str:
    """Options as a configuration file."""
    return yaml.dump(config, Dumper=PlainDumper, sort_keys=False, allow_unicode=True).rstrip()


def _plain(value: Any) -> Any:
    """Options as dictionaries, lists, numbers and texts."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k != "__default_config__"}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
