"""Data: sources that recipes can name, and what they load.

| source | data |
|---|---|
| `Digits` | the UCI 8x8 digits, inside this package |
| `IDX` | MNIST, Fashion-MNIST and other IDX files |
| `CIFAR10` | the official python batches |
| `ImageFolder` | PNG and JPEG files, CelebA |
| `Arrays` | `.npy` and `.npz` files |
| `Pairs` | two folders of images, or two arrays, whose items belong to each other |
| `CountTable` | `.h5ad`, 10x, `.mtx`, `.csv`, `.parquet`, `.npz` tables with covariates |
| `Synthetic` | made-up counts of any shape |
| `Binarised` | another source, made binary |
| `Selected` | some classes of another source |

`collect` reads data sets of torch and Hugging Face. `available()` says which known data sets are
on this machine and what brings the others. Nothing is downloaded.
"""

from typing import TYPE_CHECKING, Any

from markovbridge.storage.lazily import offered

if TYPE_CHECKING:
    from markovbridge.data.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return offered(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *offered(__name__, "__all__")})
