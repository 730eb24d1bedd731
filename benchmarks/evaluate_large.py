"""How long does it take to score a few samples against many images?

    python benchmarks/evaluate_large.py

Makes 50,000 images of 3x32x32 bytes and a run folder of 64 samples, and gives `markovbridge
evaluate` twice, each in a process of its own with a cache of its own: the first time it computes
what it needs of the images, the second time it finds that. Reported are processor seconds of the
process, torch and all, of which other programs of the machine take nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from markovbridge.storage.files import write_text
from markovbridge.training.run_folder import RunFolder

META = {"weights": "ema", "sampler": "Trapezoidal", "steps": 10, "evaluations": 20, "seed": 0}


def images(n: int, draw: np.random.Generator) -> np.ndarray:
    """Smooth colour images with noise, (n, 3, 32, 32) uint8."""
    coarse = draw.normal(size=(n, 3, 4, 4)).repeat(8, 2).repeat(8, 3)
    found = np.empty((n, 3, 32, 32), np.uint8)
    for start in range(0, n, 1000):
        part = coarse[start : start + 1000]
        fine = draw.normal(size=part.shape, scale=0.3)
        found[start : start + 1000] = np.clip(128 + 50 * (part + fine), 0, 255)
    return found


def evaluate(run: Path, cache: Path) -> tuple[float, float, list[dict[str, object]]]:
    """Processor and clock seconds of the command, and its records."""
    environment = {**os.environ, "MARKOVBRIDGE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    words = [sys.executable, "-m", "markovbridge", "evaluate", str(run), "--threads", "1"]
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    records = json.loads((run / "evaluation.json").read_text())["records"]
    return used, time.perf_counter() - started, records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--samples", type=int, default=64)
    arguments = parser.parse_args()
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", images(arguments.images, draw))
        run = RunFolder(folder / "run")
        run.path.mkdir()
        data = {"path": str(folder / "images.npy"), "maximum": 255, "validation": 0.0, "test": 0.0}
        source = {"class_path": "markovbridge.data.Arrays", "init_args": data}
        write_text(run.config, json.dumps({"data": source, "split": "all"}))
        samples = images(arguments.samples, draw)
        run.write_arrays("samples", {"samples": samples}, {**META, "n": len(samples)})
        found = [evaluate(run.path, folder / "cache") for _ in range(2)]
        size = sum(path.stat().st_size for path in (folder / "cache").rglob("*.npz"))
    assert found[0][2] == found[1][2], "what was kept is not what was computed"
    for when, (used, clock, _) in zip(("first", "second"), found, strict=True):
        print(f"{when} time: {used:.1f} processor seconds, {clock:.1f} by the clock")
    print(f"kept: {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
