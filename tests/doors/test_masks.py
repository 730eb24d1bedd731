"""What a mask hides is never taken for what lies under it."""

import contextlib
import inspect
import typing

import numpy as np
import pytest
import torch

import markovbridge as mb
from fuzz_targets import targets
from markovbridge.covariances import Isotropic, fit
from markovbridge.data import collect
from markovbridge.doors.annotations import Names, evaluated
from markovbridge.doors.kinds import of_function
from markovbridge.evaluation.metrics import evaluate_counts
from markovbridge.networks import MLP
from markovbridge.training import Trainer

META = {"weights": "ema", "sampler": "Bridge", "evaluations": 1, "seed": 0, "split": "test"}
COUNTS = np.random.default_rng(0).poisson(3.0, (60, 4))


def masked():
    made = np.ma.array(COUNTS, mask=False)
    made[0, 0] = np.ma.masked
    made.data[0, 0] = 777
    return made


def trained(x):
    transport = mb.Transport(
        mb.PureDeath(), MLP((4,), 1, 1, width=4, depth=1), mb.MeanHead(), shape=(4,), mean=3.0
    )
    return Trainer(transport, x)


@pytest.mark.parametrize(
    "ask",
    [
        collect,
        trained,
        mb.statistics,
        lambda x: collect([(row, 0) for row in x]),
        lambda x: evaluate_counts(x, COUNTS, meta=META),
        lambda x: evaluate_counts(COUNTS, x, meta=META),
        lambda x: fit(Isotropic(), x.astype(float), method="likelihood"),
    ],
)
def test_hidden_entries_are_refused(ask):
    with pytest.raises(ValueError, match="hides 1 entries behind a mask"):
        ask(masked())


def kinds_in(hint):
    """The classes that an annotation names, those in unions and in what they hold included."""
    inner = [kind for part in typing.get_args(hint) for kind in kinds_in(part)]
    return [hint, *inner] if inspect.isclass(hint) else inner


def test_what_takes_arrays_takes_none_that_hides_entries():
    """But for those that say so, which write what is hidden as missing."""
    asked = 0
    for target in targets().values():
        function = inspect.unwrap(target.function)
        checks = of_function(function)
        for name, text in function.__annotations__.items():
            kinds = kinds_in(evaluated(text, Names(function.__module__)))
            if name not in checks or np.ndarray not in kinds or np.ma.MaskedArray in kinds:
                continue
            if any(getattr(kind, "_is_protocol", False) for kind in kinds):
                continue  # asked for what it can do
            with contextlib.suppress(TypeError, ValueError):
                checks[name](COUNTS, name)
                asked += 1
                with pytest.raises((TypeError, ValueError)):
                    checks[name](masked(), name)
    assert asked > 3


def test_a_mask_that_hides_nothing_is_taken():
    x = np.ma.array(COUNTS, mask=False)
    assert collect(x).x.tolist() == COUNTS.tolist()
    assert isinstance(collect(x).x, torch.Tensor)
