"""From words on the command line to the arguments of a verb's function.

The value of an option is, in rising order, that of the function's signature, of
a configuration file (the recipe, see `recipe`), and of the command line. An option that is a
class is given by name, and its own options with a dot:

    --process.schedule Linear --head.kernel stochastic
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse import _loaders_dumpers as loaders
from jsonargparse._actions import _ActionConfigLoad

from markovbridge.cli import console, hints
from markovbridge.cli.errors import MISSING, UsageError, classless, explain
from markovbridge.cli.recipe import read
from markovbridge.cli.usage import render
from markovbridge.documents import PlainDumper, PlainLoader

__all__ = ["Options", "parse", "split_target"]


class Options(NamedTuple):
    """What the options of a verb came to.

    Attributes:
        values: Arguments for the verb's function, classes instantiated.
        config: The same as plain values, as YAML can hold them.
    """

    values: dict[str, Any]
    config: dict[str, Any]


def parse(
    function: Callable[..., Any],
    words: list[str],
    *,
    usage: str,
    own: tuple[str, ...] = (),
    recipe: Path | None = None,
    defaults: dict[str, Any] | None = None,
) -> Options:
    """Read the options of a verb. `--help` and `--print_config` print and leave.

    Args:
        function: The verb's function. Its first parameter is the target and no option.
        words: The command line after the verb and its target.
        usage: The verb and its target, for the help.
        own: Options of the command itself, which are left out of its configuration.
        recipe: A YAML file of options.
        defaults: Options, as YAML holds them, that replace the function's defaults.

    Raises:
        UsageError: If an option does not exist or cannot be what was given.
        ValueError: If a class refuses its options.
    """
    hints.resolve()
    given = read(recipe, function, words, own) if recipe else {}
    loaders.yaml_default_loader = PlainLoader  # of all texts that the parser reads as YAML
    parser = ArgumentParser(prog="markovbridge", exit_on_error=False)
    parser.add_function_arguments(function, as_group=False, sub_configs=False, skip={1})
    try:
        if defaults:
            parser.set_defaults(defaults)
        values = parser.parse_object(given, _skip_required=True) if given else None
        known = parser.get_defaults() if values is None else values
    except (ArgumentError, TypeError, ValueError) as error:
        where = f"{recipe}: " if recipe else ""
        raise UsageError(f"{where}{explain(str(error), function)}") from error
    if {"-h", "--help"} & set(words):
        console.say(render(function, usage, _plain(known)))
        raise SystemExit(0)
    if problem := classless(words, _plain(known), function):
        raise UsageError(problem)
    _refuse_files(words, parser)
    show = "--print_config" in words
    try:
        rest = [word for word in words if word != "--print_config"]
        values = parser.parse_args(rest, namespace=values)
    except (ArgumentError, TypeError, ValueError) as error:
        where = f"{recipe}: " if recipe and MISSING.search(str(error)) else ""
        raise UsageError(f"{where}{explain(str(error), function)}") from error
    config = {key: value for key, value in _plain(values).items() if key not in own}
    if show:
        console.say(to_yaml(config))
        raise SystemExit(0)
    return Options(parser.instantiate(values).as_dict(), config)


def _refuse_files(words: list[str], parser: ArgumentParser) -> None:
    """Refuse a file where options are wanted: the parser would read it, whatever it names.

    Raises:
        UsageError: Naming the option.
    """
    groups = {action.dest for action in parser._actions if isinstance(action, _ActionConfigLoad)}
    for word, following in zip(words, [*words, ""][1:], strict=True):
        name, equals, value = word.removeprefix("--").partition("=")
        value = value if equals else following
        if word.startswith("--") and name in groups and not value.lstrip().startswith("{"):
            raise UsageError(
                f"{name} is {value!r}; it is given as options, --{name}.NAME value, and read from "
                "no file"
            )


def split_target(words: list[str], usage: str, example: str) -> tuple[str | None, list[str]]:
    """The target, which comes first, and the rest; None if only help is asked for.

    Raises:
        UsageError: If there is none, showing the usage and an example.
    """
    if words and not words[0].startswith("-"):
        return words[0], words[1:]
    if {"-h", "--help"} & set(words):
        return None, words
    raise UsageError(f"{usage} comes first: markovbridge {example}")


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
