"""The pages of the reference, from what the package makes public and says of it.

    python docs/site/reference.py FOLDER

writes a page of Markdown for each room of the package, and one that lists all names. What is
public is what `__all__` of `markovbridge` and of its folders says; a folder that offers modules
and no names, such as `markovbridge.evaluation`, offers what these define. So a new public class
has its place here without a line being written, and one that says nothing of itself is an error.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import markovbridge

PACKAGE = Path(markovbridge.__file__).parent
MODULES = (  # that guides name, beside the folders
    *("data.covariates", "processes.clock", "samplers.grids", "samplers.known_sites"),
    *("transport.options", "transport.planning"),
)
PRIVATE = ("storage", "recipes.options")  # what is behind files and options
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Warns):$")
ITEM = re.compile(r"^\*{0,2}([A-Za-z_][\w., *]*):\s+(.*)$")
NAME = re.compile(r"(?<![`\w])`([A-Za-z_][\w.]*)(\(\))?`(?!`)")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A public object: where it is documented, and the shortest name that it has."""

    room: str
    name: str
    path: str
    object: Any

    @property
    def doc(self) -> str:
        """What it says of itself; a dataclass without a docstring says nothing."""
        if not callable(self.object):
            return remark(self.room, self.name)
        text = inspect.getdoc(self.object) or ""
        generated = dataclasses.is_dataclass(self.object) and text.startswith(f"{self.name}(")
        return "" if generated else text


def remark(room: str, name: str) -> str:
    """What the comment beside a constant says, in the modules of a room."""
    said = re.compile(rf"^{name}\b.* = .*?  # (.*)$|^{name} = .*?  # (.*)$", re.M)
    folder = PACKAGE.joinpath(*room.split("."))
    for path in sorted(folder.glob("*.py")):
        if found := said.search(path.read_text(encoding="utf-8")):
            text = (found[1] or found[2]).strip()
            return f"{text[0].upper()}{text[1:]}."
    return ""


def rooms() -> list[str]:
    """The folders of the package that offer names, or modules that define some; in order."""
    found = []
    for path in sorted(PACKAGE.rglob("__init__.py")):
        room = ".".join(path.parent.relative_to(PACKAGE).parts)
        if room and not room.startswith(PRIVATE):
            names = getattr(import_module(f"markovbridge.{room}"), "__all__", [])
            if names:
                found.append(room)
            else:
                found += [f"{room}.{p.stem}" for p in sorted(path.parent.glob("[a-z]*.py"))]
    return [*found, *MODULES]


def _names(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, found in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(found) or inspect.isfunction(found))
        and found.__module__ == module.__name__
    ]


def entries() -> list[Entry]:
    """All that is public and no module, each once, by the shortest of its names."""
    top = {name: getattr(markovbridge, name) for name in markovbridge.__all__}
    found: list[Entry] = []
    seen: set[int] = set()
    for room in rooms():
        module = import_module(f"markovbridge.{room}")
        for name in sorted(_names(module)):
            thing = getattr(module, name)
            if inspect.ismodule(thing) or id(thing) in seen:
                continue
            seen.add(id(thing))
            short = top.get(name) is thing
            path = f"markovbridge.{name}" if short else f"markovbridge.{room}.{name}"
            found.append(Entry(room, name, path, thing))
    return found


def stated(thing: type, public: set[int]) -> dict[str, Any]:
    """What a class states, itself or by bases that are not public and have no place elsewhere."""
    found: dict[str, Any] = {}
    for owner in reversed(thing.__mro__):
        ours = owner.__module__.startswith("markovbridge") and id(owner) not in public
        if owner is thing or ours:
            found |= {name: one for name, one in vars(owner).items() if name[0] != "_"}
    return found


def members(thing: type, public: set[int]) -> Iterator[tuple[str, str, Any]]:
    """Kind, name and object of the public methods and properties that a class states."""
    for name, found in stated(thing, public).items():
        if isinstance(found, property):
            yield "property", name, found.fget
        elif isinstance(found, classmethod):
            yield "classmethod", name, found.__func__
        elif isinstance(found, staticmethod):
            yield "staticmethod", name, found.__func__
        elif inspect.isfunction(found):
            yield "method", name, found


def described(thing: type, name: str) -> str:
    """The docstring of a member, which may be that of what it implements."""
    for owner in thing.__mro__:
        found = vars(owner).get(name)
        if found is not None and getattr(found, "__doc__", None):
            return inspect.cleandoc(found.__doc__)
    return ""


def undocumented() -> list[str]:
    """Public names, and members of public classes, that say nothing of themselves."""
    found = []
    everything = entries()
    public = {id(entry.object) for entry in everything}
    for entry in everything:
        if not entry.doc.strip():
            found.append(entry.path)
        if inspect.isclass(entry.object):
            found += [
                f"{entry.path}.{name}"
                for _, name, _ in members(entry.object, public)
                if not described(entry.object, name).strip()
            ]
    return found


def _default(value: Any) -> str:
    text = repr(value)
    if "<factory>" in text or " at 0x" in text or "<" in text:
        return "..."
    return text if len(text) < 40 else "..."


def signature(thing: Any, *, bound: bool = False) -> str:
    """Arguments with their defaults; their types stand beside what is said of them."""
    try:
        known = inspect.signature(thing)
    except (TypeError, ValueError):
        return "()"
    factories = {}
    if dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            if field.default_factory is not dataclasses.MISSING:
                made = getattr(field.default_factory, "__name__", "")
                factories[field.name] = f"{made}()" if made.isidentifier() else "..."
    parts, starred, before = [], False, None
    for index, one in enumerate(known.parameters.values()):
        if bound and index == 0:
            continue
        if before is one.POSITIONAL_ONLY and one.kind is not one.POSITIONAL_ONLY:
            parts.append("/")
        if one.kind is one.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        text = one.name
        if one.kind is one.VAR_POSITIONAL:
            text, starred = f"*{one.name}", True
        elif one.kind is one.VAR_KEYWORD:
            text = f"**{one.name}"
        elif one.name in factories:
            text += f"={factories[one.name]}"
        elif one.default is not one.empty:
            text += f"={_default(one.default)}"
        parts.append(text)
        before = one.kind
    return f"({', '.join(parts)})"


def _types(thing: Any) -> dict[str, str]:
    """What the annotations of arguments and fields say, as they are written."""
    found = {}
    owners = reversed(thing.__mro__) if inspect.isclass(thing) else []
    for owner in owners:
        found |= owner.__dict__.get("__annotations__", {})
        found |= getattr(owner.__dict__.get("__init__"), "__annotations__", {})
    if not inspect.isclass(thing):
        found |= getattr(thing, "__annotations__", {})
    return {name: kind for name, kind in found.items() if isinstance(kind, str)}


class Links:
    """Names in backticks that lead to the reference, where there is one thing of that name."""

    def __init__(self, found: list[Entry]) -> None:
        self.public = {id(entry.object) for entry in found}
        self.paths: dict[str, set[str]] = {}
        for entry in found:
            longer = f"markovbridge.{entry.room}.{entry.name}"
            for name in {entry.name, entry.path, longer, f"mb.{entry.name}"}:
                if not name.startswith("mb.") or entry.path.count(".") == 1:
                    self.paths.setdefault(name, set()).add(entry.path)

    def __call__(self, text: str) -> str:
        def link(match: re.Match[str]) -> str:
            there = self.paths.get(match[1], set())
            if len(there) != 1:
                return match[0]
            return f"{{py:obj}}`{match[1]}{match[2] or ''} <{next(iter(there))}>`"

        return NAME.sub(link, text)


def markdown(doc: str, types: dict[str, str], links: Links) -> str:
    """A docstring as Markdown: its sections become lists, arguments with their types."""
    lines, out = doc.splitlines(), []
    index = 0
    while index < len(lines):
        head = SECTION.match(lines[index])
        if lines[index].startswith("    >>> "):
            out.append("```pycon")
            while index < len(lines) and lines[index].startswith("    "):
                out.append(lines[index][4:])
                index += 1
            out.append("```")
            continue
        if not head:
            if lines[index].startswith(">>> "):
                out += ["```pycon"]
                while index < len(lines) and lines[index].strip():
                    out.append(lines[index])
                    index += 1
                out.append("```")
                continue
            code = lines[index].startswith("    ")
            out.append(lines[index] if code else links(lines[index]))
            index += 1
            continue
        index += 1
        block = []
        while index < len(lines) and (not lines[index].strip() or lines[index].startswith(" ")):
            block.append(lines[index][4:])
            index += 1
        named = head[1] not in ("Returns", "Yields")
        out += ["", f"**{head[1]}**", "", *_items(block, types, named, links), ""]
    return "\n".join(out).strip()


def _items(block: list[str], types: dict[str, str], named: bool, links: Links) -> list[str]:
    items: list[str] = []
    for line in block:
        found = ITEM.match(line) if named else None
        if found:
            kind = types.get(found[1].strip("* "))
            said = f" (`{kind}`)" if kind and "`" not in kind else ""
            items.append(f"- **{found[1]}**{said}: {links(found[2])}")
        elif not items and line.strip():
            items.append(f"- {links(line.strip())}")
        elif items:
            text = line.strip()
            items.append(f"  {links(text)}" if text else "")
    return items


def _directive(kind: str, head: str, body: str, colons: int) -> str:
    fence = ":" * colons
    return f"{fence}{{py:{kind}}} {head}\n\n{body}\n\n{fence}\n"


def entry_text(entry: Entry, links: Links) -> str:
    """An object, and the members that it states, as directives of the Python domain."""
    thing, types = entry.object, _types(entry.object)
    if not inspect.isclass(thing):
        if not callable(thing):
            shown = sorted(thing) if isinstance(thing, frozenset) else thing
            return _directive("data", entry.path, f"{entry.doc} It is `{shown!r}`.", 4)
        body = markdown(entry.doc, types, links)
        return _directive("function", entry.path + signature(thing), body, 4)
    parts = [markdown(entry.doc, types, links)]
    bases = [base.__name__ for base in thing.__mro__[1:] if id(base) in links.public]
    if bases:
        parts.append(links("Is a " + ", ".join(f"`{name}`" for name in bases) + "."))
    for kind, name, function in members(thing, links.public):
        body = markdown(described(thing, name), _types(function), links)
        head = name if kind == "property" else name + signature(function, bound=kind[0] != "s")
        parts.append(_directive(kind, head, body, 4))
    return _directive("class", entry.path + signature(thing), "\n\n".join(parts), 5)


def first_sentence(doc: str) -> str:
    """Of a docstring, its first sentence, for a table."""
    paragraph = " ".join(doc.strip().partition("\n\n")[0].split())
    return re.split(r"(?<=[.:]) (?=[A-Z`])", paragraph)[0].replace("|", "\\|")


def pages() -> dict[str, str]:
    """Text by file name: a page for each room, and `index.md`."""
    found = entries()
    links = Links(found)
    texts: dict[str, str] = {}
    for room in dict.fromkeys(entry.room for entry in found):
        module = import_module(f"markovbridge.{room}")
        parts = [
            f"# {room}\n\n`markovbridge.{room}`",
            markdown(inspect.getdoc(module) or "", {}, links),
        ]
        parts += [entry_text(entry, links) for entry in found if entry.room == room]
        texts[f"{room}.md"] = "\n\n".join(parts) + "\n"
    rows = [
        f"| {{py:obj}}`{entry.path.removeprefix('markovbridge.')} <{entry.path}>` "
        f"| {links(first_sentence(entry.doc))} |"
        for entry in sorted(found, key=lambda e: (e.path.count("."), e.path.lower()))
    ]
    listed = [name.removesuffix(".md") for name in texts]
    toc = "\n".join(["```{toctree}", ":hidden:", "", *listed, "```"])
    intro = (
        "# Reference\n\nAll that is public, by the names to write after `import markovbridge`: "
        f"{len(found)} names. Made from the package itself.\n\n"
    )
    texts["index.md"] = f"{intro}{toc}\n\n| name | |\n|---|---|\n" + "\n".join(rows) + "\n"
    return texts


def write(folder: Path) -> int:
    """Write all pages to a folder, where they have changed.

    Raises:
        ValueError: If a public name says nothing of itself.
    """
    if silent := undocumented():
        raise ValueError(f"public, and without a docstring: {', '.join(silent)}")
    folder.mkdir(parents=True, exist_ok=True)
    texts = pages()
    for path in folder.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return len(texts)


if __name__ == "__main__":
    print(write(Path(sys.argv[1])), "pages")
