"""What belongs to a run folder, and how one run makes room for the next.

Only what a run writes is ever moved or deleted, and only in a folder that holds a run: one
with a config.yaml that `markovbridge train` wrote, or checkpoints of it. A run is replaced in
steps that each are one rename, so that whoever is killed in between leaves the old run or the
new one (`recover`):

    RUN/.replaced/    what the old run wrote, until the new one has its config.yaml
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from markovbridge.storage.errors import closest
from markovbridge.storage.files import clear, leftover, make_folder, move, naming
from markovbridge.storage.locks import InUseError, is_lock, locked, unused
from markovbridge.training.run_folder import RunFolder

ASIDE = ".replaced"
CONFIG = "config.yaml"
MADE = r"(samples|translated|restored|imputed)"
TABLE = r"(h5ad|csv|tsv|parquet|mtx\.gz)"
BESIDE = r"(barcodes|features|obs)\.tsv\.gz"
FILES = re.compile(
    rf"config\.yaml|data\.json|count_model\.json|metrics\.jsonl|log\.txt|path\.npz|{MADE}\.(npz|png)"
    rf"|samples\.{TABLE}|samples_{BESIDE}|(restored|imputed)\.h5ad"
    r"|(evaluation|likelihood|diagnostics|calibration)\.json|report\.html|inspect\.(html|json)"
)
# Behind the name of the run's table: what has become of its rows.
RESULTS = rf"_(thinned|observed|(restored|imputed)_(mean|low|high))(\.{TABLE}|_{BESIDE})"
FOLDERS = {
    r"model": r"model\.safetensors|config\.json|README\.md",
    r"checkpoints": r"(damaged-)?step-\d{8,}",
    r"samples": r"step-\d{8,}\.png",
    r"tensorboard|wandb": r".+",  # of trackers, which name their files
    rf"({MADE}|calibration)\.parts": r"settings\.json|block-\d{6,}\.npz",
}
# Of every configuration that `train` writes.
KEYS = {"data", "process", "network", "head", "objective", "split", "trainer"}


def existing(name: str | Path) -> RunFolder:
    """The run folder of this name, put in order if a process was killed while replacing it.

    Raises:
        FileNotFoundError: If there is none, with the nearest one beside it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        recover(path)
        return RunFolder(path)
    beside = [str(other) for other in path.parent.glob("*/") if (other / CONFIG).is_file()]
    raise FileNotFoundError(
        f"there is no run folder {name}{closest(str(name), beside)}; `markovbridge train` writes "
        "one"
    )


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run of ours.

    A configuration may be missing, or empty, where there are checkpoints; a file of that name
    that says something else is somebody else's.
    """
    try:
        config = RunFolder(folder).configuration()
    except FileNotFoundError:
        config = None
    except ValueError:
        if (folder / CONFIG).stat().st_size:
            return False
        config = None
    if config is None:
        return any((folder / "checkpoints").glob("step-*/state.json"))
    trainer = config.get("trainer")
    return KEYS <= config.keys() and isinstance(trainer, dict) and {"steps", "seed"} <= {*trainer}


def check(output: Path, *, allowed: bool) -> None:
    """Refuse a folder that would lose something.

    Args:
        output: Where a run is to be.
        allowed: Whether it may hold one already.

    Raises:
        FileExistsError: If it may not, or holds what is no run.
        NotADirectoryError: If it is a file.
    """
    if not os.path.lexists(output):
        return
    if not output.is_dir():
        raise NotADirectoryError(f"{output} is a file; choose another --output")
    if all(is_lock(path) or leftover(path) for path in output.iterdir()):
        return
    if not is_run(output):
        about = f"{output / CONFIG}, which no run wrote" if (output / CONFIG).exists() else "files"
        more = "" if about == "files" else ", or move that file away"
        raise FileExistsError(
            f"{output} holds {about}, but no run; choose another --output, such as runs/NAME{more}"
        )
    if not allowed:
        raise FileExistsError(
            f"{output} holds a run already: --resume true continues it, --overwrite true "
            "replaces it, --output runs/NAME writes another"
        )


def recover(run: Path) -> None:
    """Finish or undo a replacement that was killed; not while another process is at it."""
    if not (run / ASIDE).is_dir():
        return
    try:
        with locked(run, "training"):
            _settle(run)
    except InUseError:
        return


@contextmanager
def replaced(run: Path, config: dict[str, Any]) -> Iterator[None]:
    """Move the run in a folder aside, for the block to write the config.yaml of the next.

    After the block the old run is deleted; if the block fails it is back.

    Args:
        run: The folder, checked before, and locked for training.
        config: The configuration of the next run, whose data must not be among what goes.

    Raises:
        FileExistsError: If files would go that no run wrote, or that the next run reads.
        InUseError: If another process is at work in the folder.
    """
    _settle(run)
    old = list(_written(run))
    read = {path.resolve() for path in _paths([config.get("data"), config.get("coupling")])}
    for path in old:
        if found := next((p for p in read if p.is_relative_to(path.resolve())), None):
            raise FileExistsError(
                f"{found} is data of the new run and has the name of a file of the old one, "
                "which --overwrite true deletes; move it away, or choose another --output"
            )
    unused(run)
    try:
        make_folder(run / ASIDE)
        for path in old:
            move(path, run / ASIDE / path.name)
        yield
    finally:
        _settle(run)


def _settle(run: Path) -> None:
    """The new run, if it has its configuration; else the old one."""
    aside = run / ASIDE
    with naming(aside):
        if aside.is_dir() and not (run / CONFIG).exists():
            # Its configuration last, as it went first: without, this is done again.
            for path in sorted(aside.iterdir(), key=_config_last):
                move(path, run / path.name)
        clear(aside)


def _config_last(path: Path) -> bool:
    return path.name == CONFIG


def _written(run: Path) -> Iterator[Path]:
    """What the run in a folder wrote, its configuration first.

    Raises:
        FileExistsError: If there is something in one of its folders that it did not write.
    """
    table = table_name(run)
    for path in sorted(run.iterdir(), key=_config_last, reverse=True):
        name = leftover(path) or path.name
        inside = next((known for key, known in FOLDERS.items() if re.fullmatch(key, name)), None)
        known = FILES.fullmatch(name) or (table and re.fullmatch(re.escape(table) + RESULTS, name))
        if not (known if inside is None or path.is_file() else inside):
            continue
        # What is behind a link stays where it is; only the link goes.
        for item in sorted(path.iterdir()) if inside and not path.is_symlink() else ():
            if inside and not re.fullmatch(inside, leftover(item) or item.name):
                raise FileExistsError(
                    f"{item} is no file of the run that --overwrite true would delete; move it "
                    "away, or choose another --output"
                )
        yield path


def table_name(run: Path) -> str | None:
    """What files of results begin with: the name of the run's table, if it has one."""
    try:
        data = RunFolder(run).configuration().get("data")
    except (OSError, ValueError):
        return None
    options = data.get("init_args") if isinstance(data, dict) else None
    path = options.get("path") if isinstance(options, dict) else None
    return Path(path).name.split(".")[0] if isinstance(path, str) else None


def _paths(config: Any) -> Iterator[Path]:
    """All that may be a path in a configuration."""
    if isinstance(config, dict):
        config = list(config.values())
    if isinstance(config, list):
        for item in config:
            yield from _paths(item)
    elif isinstance(config, str) and config:
        yield Path(config).expanduser()
