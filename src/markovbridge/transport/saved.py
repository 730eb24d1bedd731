"""A saved transport: `model.safetensors`, `config.json`, and a model card.

The configuration rebuilds every part without guessing and carries the hash of
the weights and of itself, so that a damaged or mismatched file is noticed. The
directory is written beside its destination and moved into place as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from markovbridge import doors
from markovbridge.storage.config import apart, from_config, to_config, together
from markovbridge.storage.documents import load_json
from markovbridge.storage.files import make_folder, put, sealed, standing, unsealed, written_folder
from markovbridge.storage.locks import locked
from markovbridge.storage.parts import arguments
from markovbridge.storage.public_names import renamed
from markovbridge.storage.reading import reading, tensors
from markovbridge.transport.draws import Sampling

FORMAT = 1
WEIGHTS = "model.safetensors"
SEEN = "seen"  # the extremes of the training data, beside the weights
# Not in older files.
NEW = {
    "base": None,
    "covariates": None,
    "condition_dropout": 0.0,
    "masking": None,
    "error_curve": None,
    "sampler": None,
}
LAWS = ("network", "base")  # parts that may be laws of data, which hold tensors
LAW = "law/"  # what their names begin with
PARTS = ("process", "network", "head", "coupling", "objective", *NEW)

T = TypeVar("T", bound=Sampling)


def save(transport: Sampling, directory: Path, card: dict[str, Any]) -> None:
    """Write a transport; see `Transport.save_pretrained`."""
    tensors = transport.state_dict()
    if transport.seen is not None:
        tensors[SEEN] = transport.seen
    written = {part: to_config(getattr(transport, part)) for part in PARTS if part not in LAWS}
    for part in LAWS:  # whose tensors are kept as such
        written[part], own = apart(getattr(transport, part), f"{LAW}{part}")
        tensors |= own
    # Copies, because tied weights share memory, which safetensors refuses.
    weights = save_tensors(
        {
            k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
            for k, v in tensors.items()
        }
    )
    config = {
        "format": FORMAT,
        "markovbridge": version("markovbridge"),
        "shape": list(transport.shape),
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(weights).hexdigest()},
        **{part: written[part] for part in PARTS},
    }
    if directory == Path():
        raise ValueError(f"the folder of a model is {str(directory)!r}; give it a name")
    if directory.is_dir() and (other := _foreign(directory)):
        raise FileExistsError(f"{other} is no file of a model; choose another folder for this one")
    make_folder(directory.parent)
    with locked(directory.parent, directory.name), written_folder(directory) as fresh:
        put(fresh / WEIGHTS, weights)
        put(fresh / "config.json", sealed(config).encode())
        put(fresh / "README.md", _card(transport, config, card).encode())


def load(cls: type[T], directory: Path, parts: dict[str, Any]) -> T:
    """Read a transport; see `Transport.from_pretrained`."""
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise TypeError(f"unknown part {sorted(unknown)[0]!r}: parts are {', '.join(PARTS)}")
    path, config = configuration(_model(directory))
    with reading(path, "is damaged", "train again, or fetch it again"):
        shape = _shape(config["shape"])
        saved = {part: {**NEW, **config}[part] for part in PARTS}
    state = _weights(path, config)
    seen = state.get(SEEN)  # not in older files
    kinds = arguments(cls)
    with reading(path):
        saved |= {part: together(saved[part], state) for part in LAWS}
        own = {p: from_config(saved[p], kinds[p], p) for p in PARTS if p not in parts}
    statistics = {"mean": state["mean"], "variance": state["variance"], "seen": seen}
    # A part of the user's own may be what does not fit; without any it is the file.
    fits = reading(path, f"and {WEIGHTS} beside it do not fit one another", "train again")
    with contextlib.nullcontext() if parts else fits:
        transport = cls(**parts, **own, shape=shape, **statistics)
    fill(transport, state, path.with_name(WEIGHTS))
    return transport.eval()


def stored(directory: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration of a saved transport, and its weights, mean and variance.

    Args:
        directory: What `save_pretrained` wrote, or a run folder.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If they are damaged, naming the file.
    """
    path, config = configuration(_model(directory))
    with reading(path, "is damaged", "train again, or fetch it again"):
        parts = {part: {**NEW, **config}[part] for part in PARTS}
    state = _weights(path, config)
    with reading(path):
        parts |= {part: together(parts[part], state, plain=True) for part in LAWS}
    return parts, state


def _weights(path: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    """The weights beside a configuration that was read from `path`."""
    with reading(path, "is damaged", "train again, or fetch it again"):
        expected = config["weights"]["sha256"]
    file = path.with_name(WEIGHTS)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(
            f"{file} is damaged: its hash is not the one in config.json. "
            "Take the weights from a checkpoint of the run, or train again"
        )
    state = tensors(file, content)
    missing = {"mean", "variance"} - set(state)
    if missing:
        raise ValueError(f"{file} is damaged: it lacks {', '.join(sorted(missing))}")
    return state


def fill(transport: torch.nn.Module, state: dict[str, Tensor], origin: Path) -> None:
    """Give a transport the weights, mean and variance of another, as of `stored`.

    Raises:
        ValueError: If they do not fit, naming where they are from.
    """
    own = {name: value for name, value in state.items() if _is_weight(name)}
    try:
        transport.load_state_dict(own)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"the weights in {origin} do not fit this network: {reason}") from error


def _model(directory: Path) -> Path:
    """The folder of a model: the one given or, of a run folder, the one in it."""
    inside = directory / "model"
    alone = (standing(directory) / "config.json").is_file() or not standing(inside).is_dir()
    return directory if alone else inside


def configuration(directory: Path) -> tuple[Path, dict[str, Any]]:
    """The configuration of a saved transport as it was written, and its file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it has changed since, or is of another format, naming the file.
    """
    path = standing(directory) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no model in {directory}: {path.name} is missing")
    try:
        found = load_json(path)
        # Files of before there was such a hash have none.
        if found.get("format") == FORMAT and "sha256" in found:
            found = unsealed(found)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}). Write the model again: `markovbridge train RUN "
            "--resume true` takes it from a checkpoint. Parts to be changed are given by name, "
            "as in Transport.from_pretrained(directory, head=...)"
        ) from error
    if found.get("format") != FORMAT:
        raise ValueError(f"{path} has format {found.get('format')}; this version reads {FORMAT}")
    return path, renamed(found)


def hash_weights(module: torch.nn.Module) -> str:
    """The sha256 of names, types, shapes and bytes of a module's weights, in hexadecimal.

    Tensors of laws of data that are no modules are among those of a transport.
    """
    state = module.state_dict()
    for part in LAWS if isinstance(module, Sampling) else ():
        state |= apart(getattr(module, part), f"{LAW}{part}")[1]
    return hash_tensors(state)


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """As `hash_weights`, of tensors by name; extremes of the data, `SEEN`, do not count."""
    digest = hashlib.sha256()
    for name, value in sorted((k, v) for k, v in state.items() if k != SEEN):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_weight(name: str) -> bool:
    """Whether a tensor beside a configuration is of the weights, mean and variance."""
    return name != SEEN and not name.startswith(LAW)


def _shape(found: Any) -> list[int]:
    """The event shape that a file states."""
    if not isinstance(found, list) or not all(type(n) is int and n > 0 for n in found):
        raise ValueError(f"its shape is {found!r}, no list of sizes"[:200])
    return found


def _foreign(directory: Path) -> Path | None:
    """A file in a folder that no model has, if there is one."""
    known = {WEIGHTS, "config.json", "README.md", ".DS_Store"}
    return next((path for path in sorted(directory.iterdir()) if path.name not in known), None)


def _card(transport: Sampling, config: dict[str, Any], facts: dict[str, Any]) -> str:
    parameters = sum(
        p.numel() for p in transport.parameters() if isinstance(p, torch.nn.Parameter)
    )
    rows = {
        "process": _short(config["process"]),
        "head": _short(config["head"]),
        "network": _short(config["network"]),
        "parameters": f"{parameters:,}",
        "coupling": _short(config["coupling"]),
        "objective": _short(config["objective"]),
        **{part.replace("_", " "): _short(config[part]) for part in NEW if config[part]},
        "event shape": " x ".join(map(str, transport.shape)),
        **{str(k): v for k, v in facts.items()},
    }
    table = "\n".join(f"| {k} | {v} |" for k, v in rows.items())
    return (
        "# A markovbridge transport\n\n"
        f"Written by markovbridge {config['markovbridge']}.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "```python\nfrom markovbridge import Transport\n\n"
        'transport = Transport.from_pretrained("path/to/this/directory")\n'
        "samples = transport.sample(16, steps=50)\n```\n"
    )


def _short(config: Any) -> str:
    """A configuration as one would write it in Python."""
    if isinstance(config, dict) and "class_path" in config:
        arguments = ", ".join(f"{k}={_short(v)}" for k, v in config.get("init_args", {}).items())
        return f"{config['class_path'].rpartition('.')[2]}({arguments})"
    if isinstance(config, list):
        if len(config) > 16:  # a rate matrix; config.json has it in full
            return f"({_short(config[0])}, ... {len(config)} in all)"
        return "(" + ", ".join(_short(v) for v in config) + ")"
    return repr(config)


doors.guard(__name__)
