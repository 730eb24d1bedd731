"""Environments of rivals: what other libraries need is installed apart from this package's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def install(folder: Path, pins: Sequence[str]) -> None:
    """Make an environment of pinned versions: all of it or nothing.

    Args:
        folder: Where.
        pins: What is installed, in this order: torch first, lest another package choose its build.
    """
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        for k in range(len(pins)):
            command = [python_of(folder), "-m", "pip", "install", "--quiet", *pins[: k + 1]]
            subprocess.run(command, check=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def absent(name: str, folder: Path, pins: Sequence[str]) -> str | None:
    """Why a rival cannot run here, or None."""
    if python_of(folder).exists():
        return None
    return f"{name} is left out: {folder} is not there; --install makes it, with {', '.join(pins)}"
