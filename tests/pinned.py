"""Known values of the code, which a change of its structure must leave as they are.

`AREAS` computes them, and `tests/fixtures/pinned/values.json` holds them as they were when

    python tests/pinned.py

was last called; what that writes, and when, is told in the README.md beside the file.
"""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import Given
from markovbridge.doors import randomness
from markovbridge.training.examples import Batches
from pinned_cases import SAMPLERS, Case
from pinned_integers import CASES as INTEGERS
from pinned_reals import CASES as REALS
from pinned_runs import RUNS, make_run, use_run

FOLDER = Path(__file__).parent / "fixtures" / "pinned"
CASES = INTEGERS | REALS  # functions that make a `Case`
FILE, MODELS, MADE = FOLDER / "values.json", FOLDER / "models", FOLDER / "used"


def made_with() -> dict[str, str]:
    """What floats may depend on beside the code."""
    return {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}


# Batch order and randomness

BATCHES = {
    "small": {"n": 10, "size": 4, "seed": 0},
    "larger than the data": {"n": 5, "size": 12, "seed": 1},
    "by one": {"n": 300, "size": 32, "seed": 2, "chunk": 1},
    "by two": {"n": 300, "size": 32, "seed": 2, "chunk": 2},
    "by three": {"n": 1000, "size": 48, "seed": 3, "chunk": 3},
    "by seven": {"n": 1000, "size": 100, "seed": 4, "chunk": 7},
    "one chunk": {"n": 50, "size": 8, "seed": 5, "chunk": 64},
}


def batch_values(name: str) -> dict[str, Any]:
    """Batches at the start, in the middle and over the end of an epoch, and a hash of more."""
    how = BATCHES[name]
    batches, last = Batches(**how), how["n"] // how["size"]
    steps = {"first": 0, "middle": last // 2, "over the end": last, "later": 7 * last + 3}
    found: dict[str, Any] = {word: batches[step] for word, step in steps.items()}
    many = torch.cat([batches[step] for step in range(3 * last + 3)])
    found["hash"] = hashlib.sha256(many.numpy().tobytes()).hexdigest()
    return found


KEYS = [(), (0,), (1,), ("1",), (0, "noise", 17), ("sample", 2**40, 3), (-5, "ä")]


def random_values(name: str) -> dict[str, Any]:
    """Seeds and numbers of some keys."""
    keys = KEYS[int(name)]
    source = randomness.generator("cpu", *keys)
    return {
        "seed": randomness.derive(*keys),
        "fresh": randomness.fresh_key(source),
        "integers": torch.randint(1000, (5,), generator=source),
        "uniform": torch.rand(5, generator=source),
        "normal": torch.randn(5, generator=source),
        "order": torch.randperm(9, generator=source),
    }


# Models

REFUSED = "refused"
ERRORS = (TypeError, ValueError, NotImplementedError)
FEW = ("loss", "mean", "draws")  # what a model that was read is asked


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def answers(case: Case, words: Sequence[str] = ()) -> dict[str, Any]:
    """What a model of a case answers, to some or all questions; "refused" if it refuses."""
    asked, found = questions(case), {}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for word in words or asked:
            torch.manual_seed(0)  # of dropout
            case.model.train(word in ("loss", "gradient"))
            try:
                found[word] = asked[word]()
            except ERRORS:
                found[word] = REFUSED
    return found


def questions(case: Case) -> dict[str, Callable[[], Any]]:
    """What a model of a case is asked."""
    model, x, told = case.model, case.x, {"condition": case.condition}
    process, support = model.process, model.process.support
    start = case.x0
    if start is None:
        start = model.coupling.pair(process, process.check(x), generator=seeded(0))

    def loss() -> Tensor:
        return model.loss(x, x0=case.x0, generator=seeded(1), **told)

    def gradient() -> Tensor | None:
        weights = [weight for _, weight in sorted(model.named_parameters())]
        if not weights:
            return None
        slopes = torch.autograd.grad(loss().mean(), weights, allow_unused=True)
        return torch.stack([slope.norm() for slope in slopes if slope is not None]).norm()

    def mean(guidance: float = 1.0) -> Tensor:
        return model.law(case.state, 0.6, Given(case.condition, guidance, start)).mean

    def data(states: Tensor) -> Tensor:
        return states if support is None else support.decode(states)

    def how(seed: int, n: int, **options: Any) -> dict[str, Any]:
        options = {"steps": 2, "block": 3, "generator": seeded(seed)} | options
        if case.condition is None:
            return options
        return options | {"condition": case.condition[:n], "guidance": case.guidance}

    def draw(n: int, **options: Any) -> Tensor:
        options = how(2, n, **options)
        return model.sample(n, **options) if case.x0 is None else translate(n, **options)

    def translate(n: int, **options: Any) -> Tensor:
        return model.translate(data(start[:n]), **options)

    return {
        "loss": loss,
        "gradient": gradient,
        "mean": mean,
        "mean, guided": lambda: mean(guidance=1.5),
        "draws": lambda: draw(3),
        "translated": lambda: translate(3, **how(3, 3)),
        "restored": lambda: model.restore(data(case.state[:3]), 0.5, **how(4, 3)),
        "imputed": lambda: model.impute(x[:3], case.known, rounds=1, **how(5, 3)),
        "imputed, in rounds": lambda: model.impute(x[:3], case.known, rounds=3, **how(6, 3)),
        "likelihood": lambda: (
            model.log_likelihood(
                x, x0=case.x0, draws=2, block=400, generator=seeded(7), **told
            ).nats
        ),
    } | {
        f"draws, {word}": partial(draw, 3, sampler=sampler, steps=steps)
        for word, (sampler, steps) in SAMPLERS.items()
    }


# All of it


def run_values(name: str) -> dict[str, Any]:
    """What comes of a stored run folder."""
    with tempfile.TemporaryDirectory() as into, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return use_run(name, MADE, Path(into))


AREAS: dict[str, tuple[Callable[[str], dict[str, Any]], Sequence[str]]] = {
    "batches": (batch_values, list(BATCHES)),
    "randomness": (random_values, [str(place) for place in range(len(KEYS))]),
    "models": (lambda name: answers(CASES[name]()), list(CASES)),
    "used": (run_values, list(RUNS)),
}


def recorded(values: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON holds them, exactly."""
    return {word: _plain(value) for word, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.tensor(value)
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return {"type": kind, "values": value.detach().tolist()}
    return value


def read() -> dict[str, Any]:
    """The file: what it was made with, and values by area, name and word."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def write() -> None:
    """Write the models and run folders that are missing, and then all values."""
    for name, make in CASES.items():
        case, folder = make(), MODELS / name
        if case.saved and not folder.exists():
            case.model.save_pretrained(folder)
            (folder / "README.md").unlink()
    MADE.mkdir(parents=True, exist_ok=True)
    for name in RUNS:
        if not (MADE / name).exists():
            make_run(name, MADE)
    values = {
        area: {name: recorded(compute(name)) for name in names}
        for area, (compute, names) in AREAS.items()
    }
    text = f'{{"made with": {json.dumps(made_with())},\n"values": {_text(values, 3)}}}\n'
    FILE.write_text(text, encoding="utf-8")


def _text(value: Any, levels: int) -> str:
    """JSON with a line for each value, some levels down."""
    if levels == 0:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    lines = [f"{_text(key, 0)}: {_text(inner, levels - 1)}" for key, inner in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    write()
