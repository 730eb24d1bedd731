"""Annotations of functions, which are texts, and what they mean.

Names are looked up in the module of the function, those that it imports for type checkers alone
included; what cannot be looked up may be anything.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import sys
import typing
from pathlib import Path
from typing import Any


class Names(dict):
    """Names of a module, with those it imports for type checkers alone."""

    def __init__(self, module: str) -> None:
        super().__init__(vars(sys.modules.get(module, builtins)))
        self.module = module

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            return getattr(builtins, name)
        self[name] = value = self._later().get(name, Any)
        return value

    @functools.cached_property
    def _for_types(self) -> ast.AST:
        path = getattr(sys.modules[self.module], "__file__", None)
        return ast.parse(Path(path).read_text(encoding="utf-8") if path else "")

    def _later(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for node in ast.walk(self._for_types):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                for entry in node.body:
                    # A library that is not loaded has made no object that could be given.
                    if isinstance(entry, ast.ImportFrom) and entry.module:
                        ours = entry.module.startswith("markovbridge")
                        module = (
                            importlib.import_module(entry.module)
                            if ours
                            else sys.modules.get(entry.module)
                        )
                        for alias in entry.names:
                            found[alias.asname or alias.name] = getattr(module, alias.name, Any)
        return found


def evaluated(text: Any, space: Names) -> Any:
    """What an annotation means, Any if that cannot be said here."""
    if isinstance(text, typing.ForwardRef):
        text = text.__forward_arg__
    if not isinstance(text, str):
        return text
    if text.startswith("*"):
        return Any
    try:  # with all builtins, as packages import parts of themselves when these are asked for
        return eval(text, {"__builtins__": builtins}, space)  # noqa: S307  our own source
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any
