"""Small pieces of HTML that several sections share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from markovbridge.evaluation.metrics.evaluation import DASH


def document(title: str, body: str) -> str:
    """A whole page, with the style sheet inside; `body` is HTML."""
    style = (files("markovbridge.evaluation.report") / "style.css").read_text(encoding="utf-8")
    made = f"markovbridge {version('markovbridge')}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="{made}"><link rel="icon" href="data:,">'
        f"<title>{escape(title)} · markovbridge</title><style>{style}</style></head><body><main>"
        f"{body}<footer>Written by {made}.</footer></main></body></html>\n"
    )


def number(value: Any, form: str = "#.4g") -> str:
    """A number for people: `12,345`, `18.00`, `0.1075`, `-146.7`; a dash if it is undefined.

    Args:
        value: The number; None or NaN if it is undefined. What is no number is escaped.
        form: How to format what is no whole number and below 1000.
    """
    if value is None:
        return DASH
    if not isinstance(value, (int, float)):
        return escape(str(value))
    if math.isnan(value):
        return DASH
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:{form}}" if value else "0"


def duration(seconds: float) -> str:
    """Seconds for people: `0.8 s`, `42 s`, `12 min 5 s`, `3 h 20 min`."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def describe(config: Any) -> str:
    """A configuration as one would write it in Python: `PureDeath(maximum=16)`."""
    if isinstance(config, Mapping) and "class_path" in config:
        arguments = config.get("init_args") or {}
        inside = ", ".join(f"{key}={describe(value)}" for key, value in arguments.items())
        return f"{str(config['class_path']).rpartition('.')[2]}({inside})"
    if isinstance(config, (list, tuple)):
        return "(" + ", ".join(describe(value) for value in config) + ")"
    return repr(config)


def keys_table(rows: Mapping[str, str]) -> str:
    """Names and values (already HTML) as a table of two columns."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{value}</td></tr>'
        for name, value in rows.items()
    )
    return f'<table class="keys"><tbody>{body}</tbody></table>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table whose first column names the rows; cells are HTML."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def command(lines: Sequence[str]) -> str:
    """Lines to type into a terminal."""
    return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"


def missing(what: str, *lines: str) -> str:
    """What is not there yet, and the command that makes it."""
    made = f"{command(lines)}" if lines else ""
    return f'<div class="missing"><p>{escape(what)}</p>{made}</div>'


def figure_of(body: str, caption: str) -> str:
    """A figure with a caption (text)."""
    return f"<figure>{body}<figcaption>{escape(caption)}</figcaption></figure>"


def heading(text: str) -> str:
    """The heading of a part of a section."""
    return f'<h3 style="margin-top:28px">{escape(text)}</h3>'


def pairwise(charts: str) -> str:
    """Charts (HTML) beside each other, two in a row where there is room."""
    return f'<div class="charts pairwise">{charts}</div>'
