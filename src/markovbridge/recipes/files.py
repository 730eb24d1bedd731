"""The files of recipes, by name."""

from __future__ import annotations

from pathlib import Path

from markovbridge.storage.errors import closest

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The recipes of this package, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Path:
    """The file of a recipe.

    Args:
        name: Name of a recipe of this package, a YAML file, or a run folder, whose own
            configuration it then is.

    Raises:
        FileNotFoundError: If there is none, with the nearest name.
    """
    if name in names():
        return FOLDER / f"{name}.yaml"
    path = Path(name).expanduser()
    if path.is_dir() and (path / "config.yaml").is_file():
        return path / "config.yaml"
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        reason = "it has no config.yaml" if path.is_dir() else "there is no such file"
        raise FileNotFoundError(f"no recipe {name}: {reason}")
    raise FileNotFoundError(
        f"there is no recipe {name!r}{closest(name, names())}; choose one of "
        f"{', '.join(names())}, or give the path of a YAML file"
    )


def describe(name: str) -> str:
    """The first line of a recipe of this package."""
    first = find(name).read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip()
