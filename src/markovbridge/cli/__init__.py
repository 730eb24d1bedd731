"""The command line: `markovbridge VERB [TARGET] [options]`.

Every verb is a class in a module of its own. Its fields are the options, the text of the class
their help, and `run` does it, from the command line as from Python:

    from markovbridge.cli import Sample
    Sample("runs/digits", n=3).run()        # markovbridge sample runs/digits --n 3

Nothing is imported before a verb needs it.

Wrong options end with status 2, anything that fails while running with status 1,
each with one line that says what and what to do about it. MARKOVBRIDGE_DEBUG=1
shows where it failed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from markovbridge.cli import console
from markovbridge.storage.errors import UsageError, closest

if TYPE_CHECKING:
    from markovbridge.cli.calibrate import Calibrate
    from markovbridge.cli.diagnose import Diagnose
    from markovbridge.cli.evaluate import Evaluate
    from markovbridge.cli.impute import Impute
    from markovbridge.cli.inspect import Inspect
    from markovbridge.cli.listing import Data, Recipes
    from markovbridge.cli.report import Report
    from markovbridge.cli.restore import Restore
    from markovbridge.cli.sample import Sample
    from markovbridge.cli.train import Train
    from markovbridge.cli.translate import Translate

__all__ = [
    "Calibrate",
    "Data",
    "Diagnose",
    "Evaluate",
    "Impute",
    "Inspect",
    "Recipes",
    "Report",
    "Restore",
    "Sample",
    "Train",
    "Translate",
    "main",
]

DEBUG = "MARKOVBRIDGE_DEBUG"


@dataclass(frozen=True)
class VerbEntry:
    """What the list of verbs says of one; its module has a class of its name."""

    module: str
    target: str
    about: str


VERBS = {
    "train": VerbEntry("train", "RECIPE", "Train a transport from a recipe, into a run folder."),
    "sample": VerbEntry("sample", "RUN", "Draw samples from a trained run."),
    "translate": VerbEntry(
        "translate", "RUN", "Carry one data set into another with a trained run."
    ),
    "restore": VerbEntry("restore", "RUN", "Draw full-depth counts from thinned ones."),
    "impute": VerbEntry("impute", "RUN", "Draw the unknown part of data given the known part."),
    "evaluate": VerbEntry("evaluate", "RUN", "Score the samples of a run against real data."),
    "calibrate": VerbEntry(
        "calibrate", "RUN", "Check intervals of a run against known rows, and correct them."
    ),
    "diagnose": VerbEntry("diagnose", "RUN", "Check a trained model of counts against itself."),
    "report": VerbEntry("report", "RUN", "Write a run's report, one self-contained HTML page."),
    "inspect": VerbEntry("inspect", "RUN|DATA", "Show what a model or a data set does inside."),
    "recipes": VerbEntry("listing", "[NAME]", "List the recipes, or print one."),
    "data": VerbEntry("listing", "", "List the data sets, and what brings those not here."),
}


def __getattr__(name: str) -> Any:
    """The class of a verb, at its first use."""
    if name != name.capitalize() or name.lower() not in VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{VERBS[name.lower()].module}"), name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: What follows `markovbridge` on the command line; that by default.

    Returns:
        The exit status: 0, or 1 for a failure, 2 for wrong options, 130 for Ctrl-C, or
        that of a training run that was told to stop.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with console.attached():
        try:
            _run(words)
        except SystemExit as leaving:
            return leaving.code if isinstance(leaving.code, int) else 1
        except UsageError as error:
            console.fail(str(error))
            return 2
        except KeyboardInterrupt:
            console.fail("interrupted")
            return 130
        except Exception as error:
            if os.environ.get(DEBUG):
                raise
            console.fail(_sentence(error))
            return 1
    return 0


def _run(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        console.say(_overview())
        if not words:
            raise SystemExit(2)
    elif words[0] == "--version":
        console.say(f"markovbridge {version('markovbridge')}")
    elif words[0] not in VERBS:
        raise UsageError(
            f"there is no verb {words[0]!r}{closest(words[0], VERBS)}; "
            f"the verbs are {', '.join(VERBS)}"
        )
    else:
        __getattr__(words[0].capitalize()).main(words[1:])


def _overview() -> str:
    width = 2 + max(len(f"{name} {verb.target}") for name, verb in VERBS.items())
    verbs = "\n".join(
        f"  {f'{name} {verb.target}':<{width}}{verb.about}" for name, verb in VERBS.items()
    )
    return (
        "markovbridge: generative modelling with any Markov process.\n\n"
        f"usage: markovbridge VERB ...\n\n{verbs}\n\n"
        "`markovbridge VERB --help` explains a verb. A first run, in a few minutes:\n\n"
        "  markovbridge train digits\n"
        "  markovbridge sample runs/digits --n 1437\n"
        "  markovbridge evaluate runs/digits\n"
        "  markovbridge report runs/digits"
    )


def _sentence(error: Exception) -> str:
    """An error on one line; its type too, where that is not one we raise ourselves."""
    told = f"{error}"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        told = f"{error.filename}: {error.strerror}"
    told = ": ".join([*getattr(error, "__notes__", ()), told])
    text = " ".join(told.split()) or "no message"
    if isinstance(error, (ValueError, TypeError, OSError, ImportError, FloatingPointError)):
        return text
    return f"{type(error).__name__}: {text} ({DEBUG}=1 shows where)"
