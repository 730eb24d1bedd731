"""Runs that benchmarks train: each once, and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def trained(run: Path, recipe: str, *words: str) -> Path:
    """The folder of a run, which `markovbridge train` makes unless its model is there."""
    if not (run / "model" / "config.json").is_file():
        command = [sys.executable, "-m", "markovbridge", "train", recipe, "--output", str(run)]
        subprocess.run([*command, "--overwrite", "true", *words], check=True, stdout=sys.stderr)
    return run
