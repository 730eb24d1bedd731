"""Data sets of other libraries: what is read by position becomes a `Dataset`.

`len(items)` and `items[i]` are all that is asked: `torch.utils.data.Dataset` has them, data sets
of torchvision and of Hugging Face, and lists. An item is a sample, a tuple (sample, label), or a
dictionary. All are read once, into memory, in their order, so that transforms that draw at random
draw once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.arrays import channels_first, to_counts, to_reals
from markovbridge.data.base import Dataset
from markovbridge.data.folders import turned, upright
from markovbridge.doors import checks

SAMPLE = ("image", "img", "x", "pixel_values", "sample", "data")  # usual names in dictionaries
COLLECTED = "data.collect(..., channels={})"  # which a trainer has no argument for
LABEL = ("label", "labels", "y", "target", "fine_label")
BYTES = 255  # the largest value of a pixel of eight bits
DEEP = ("I", "I;16", "F")  # of images of more than eight bits
MODES = ("L", "RGB", *DEEP)  # of images whose pixels are taken as they are


def collect(
    items: Any,
    *,
    sample: str | None = None,
    label: str | None = None,
    channels: Literal["first", "last"] | None = None,
    name: str = "data",
) -> Dataset:
    """Read a data set of another library.

    Whole numbers of any type are counts, others reals. Images of Pillow become (channels, height,
    width), counts up to 255 where they have eight bits.

    Args:
        items: What is read by position; an array (N, *event) is its samples.
        sample: Name of the sample where items are dictionaries; by default "image", "x" or
            another usual one.
        label: Name of the label, likewise. Labels are whole numbers or texts.
        channels: As of `Arrays`, for images that are no images of Pillow.
        name: What the data set is to be called.

    Raises:
        TypeError: If it is not read by position, or holds no numbers.
        ValueError: If it is empty, an item has no such name, or samples differ in shape.
    """
    if isinstance(items, Mapping):
        raise TypeError(
            f"a {type(items).__name__} has parts {', '.join(map(str, items))}; give one of them"
        )
    if isinstance(items, Tensor):
        items = items.detach().cpu().numpy()
    elif hasattr(items, "__array__"):
        items = np.asarray(checks.unmasked(items, name))
    if isinstance(items, np.ndarray):
        samples, labels, pictures = items, [], False
    else:
        samples, labels, pictures = _read(items, sample, label)
    if samples.ndim < 2 or samples.size == 0:
        raise ValueError(
            f"{name} has samples of shape {samples.shape}; give at least one, as (N, *event) with "
            "at least one axis after the first"
        )
    samples = samples.astype(np.uint8) if samples.dtype.kind == "b" else samples
    samples = channels_first(samples, "last" if pictures else channels, name, COLLECTED)
    whole = samples.dtype.kind in "iu"
    numbers, names = _labels(labels, name) if labels else (None, None)
    return Dataset(
        x=to_counts(samples, None, name) if whole else to_reals(samples),
        labels=numbers,
        name=name,
        split="all",
        source=f"{type(items).__module__}.{type(items).__qualname__}",
        licence="unknown",
        maximum=BYTES if pictures and samples.dtype == np.uint8 else None,
        label_names=names or _class_names(items, label, numbers),
    )


def _read(items: Any, sample: str | None, label: str | None) -> tuple[np.ndarray, list[Any], bool]:
    """Samples (N, ...), labels if there are any, and whether they were images of Pillow."""
    loaded = getattr(items, "dataset", None)
    if hasattr(items, "batch_size") and loaded is not None:
        raise TypeError(
            f"a {type(items).__name__} makes batches of its own; give its data set, "
            "loader.dataset, of which training makes batches that can be repeated"
        )
    try:
        text = isinstance(items, str | bytes)
        n = len(items) if hasattr(items, "__getitem__") and not text else None
    except TypeError:
        n = None
    if n is None:
        raise TypeError(
            f"data are an array (N, *event), or read by position, len(data) and data[i]; one of "
            f"type {type(items).__name__} is not: collect what it gives into an array"
        )
    samples, labels, pictures = [], [], False
    for i in range(n):
        found, told = _parts(items[i], sample, label)
        pictures = hasattr(found, "getbands")
        value = _pixels(found) if pictures else _array(found)
        if samples and value.shape != samples[0].shape:
            raise ValueError(
                f"sample {i} has shape {value.shape} and sample 0 {samples[0].shape}; give all "
                "one shape, by a transform of the data set"
            )
        samples.append(value)
        labels += told
    if labels and len(labels) != len(samples):
        raise ValueError(f"{len(labels)} of {len(samples)} samples have a label; give all one")
    return np.stack(samples) if samples else np.empty((0, 1)), labels, pictures


def _parts(item: Any, sample: str | None, label: str | None) -> tuple[Any, list[Any]]:
    """The sample of an item, and its label if it has one."""
    if isinstance(item, Mapping):
        place = _key(item, sample, SAMPLE, "sample")
        if place is None:
            raise ValueError(
                f"an item has {', '.join(map(str, item))}; say which of these is the sample, by "
                "sample="
            )
        told = _key(item, label, LABEL, "label")
        return item[place], [] if told is None else [item[told]]
    if isinstance(item, tuple):
        if len(item) not in (1, 2):
            raise ValueError(f"an item has {len(item)} parts; give a sample, or (sample, label)")
        return item[0], list(item[1:])
    return item, []


def _key(item: Mapping[str, Any], given: str | None, usual: tuple[str, ...], what: str) -> Any:
    """The name of a part of an item: the one given, or a usual one if there is one."""
    if given is None:
        return next((key for key in usual if key in item), None)
    if given not in item:
        raise ValueError(
            f"{what} is {given!r}, and an item has {', '.join(map(str, item))}; take one of these"
        )
    return given


def _pixels(image: Any) -> np.ndarray:
    """An image of Pillow, (height, width, channels), as `ImageFolder` turns and lays it."""
    image = turned(image) if image.mode in DEEP else upright(image)
    pixels = np.asarray(image if image.mode in MODES else image.convert("RGB"))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _array(value: Any) -> np.ndarray:
    """A sample as an array of numbers."""
    checks.unmasked(value, "a sample")
    try:
        found = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except ValueError as error:
        raise TypeError(
            f"an item is a {type(value).__name__} whose parts differ in shape; give a sample with "
            "its label as a tuple, (sample, label)"
        ) from error
    if found.dtype.kind not in "biuf":
        raise TypeError(
            f"a sample is a {type(value).__name__}, and no array of numbers; name the right part "
            "by sample=, or give the data set a transform"
        )
    return found


def _labels(labels: list[Any], name: str) -> tuple[Tensor, tuple[str, ...] | None]:
    """Labels as whole numbers, and their names where they are texts."""
    if all(isinstance(label, str) for label in labels):
        names = tuple(sorted(set(labels)))
        return torch.tensor([names.index(label) for label in labels]), names
    odd = next((k for k, label in enumerate(labels) if _is_no_number(label)), None)
    if odd is not None:
        raise TypeError(
            f"the label of sample {odd} is {str(labels[odd])[:40]!r}, of type "
            f"{type(labels[odd]).__name__}; labels are all whole numbers, or all texts"
        )
    values = np.array([_array(label) for label in labels])
    if values.ndim != 1:
        raise ValueError(f"labels of {name} have shape {values.shape}; give one number a sample")
    return to_counts(values, None, f"labels of {name}").long(), None


def _is_no_number(label: Any) -> bool:
    return label is None or isinstance(label, str | bytes)


def _class_names(items: Any, label: str | None, numbers: Tensor | None) -> tuple[str, ...] | None:
    """What a data set of torchvision or Hugging Face calls its classes."""
    features = getattr(items, "features", None)
    found = getattr(items, "classes", None)
    if isinstance(features, Mapping):
        place = _key(features, label, LABEL, "label")
        found = getattr(features.get(place), "names", None)
    if numbers is None or not isinstance(found, list | tuple) or int(numbers.max()) >= len(found):
        return None
    return tuple(map(str, found))


doors.guard(__name__)
