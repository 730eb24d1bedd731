"""Extractors by name, as the command line gives them: "mobilenet:weights.pt"."""

from __future__ import annotations

from markovbridge import doors
from markovbridge.evaluation.metrics.extractors import Extractor, Pixels
from markovbridge.evaluation.metrics.inception import Inception
from markovbridge.evaluation.metrics.mobilenet import MobileNetV2
from markovbridge.storage.errors import UsageError, closest

NETWORKS = {"mobilenet": MobileNetV2, "inception": Inception}


def extractor_of(word: str, *, maximum: int = 255) -> Extractor:
    """The extractor of a word such as "mobilenet:weights.pt".

    Args:
        word: pixels, mobilenet:PATH or inception:PATH, PATH being the file of weights.
        maximum: The largest count of the images.

    Raises:
        ValueError: If there is no such extractor, or the file is not the one it should be.
        FileNotFoundError: If the file of weights is missing.
    """
    name, _, path = word.strip().partition(":")
    if name == "pixels" and not path:
        return Pixels()
    if name not in NETWORKS or not path:
        raise UsageError(
            f"extractor is {word!r}{closest(name, ['pixels', *NETWORKS])}; it must be pixels, "
            "mobilenet:PATH or inception:PATH"
        )
    return NETWORKS[name](path, maximum=maximum)


doors.guard(__name__)
