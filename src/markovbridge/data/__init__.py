"""Data: sources that recipes can name, and what they load.

| source | data |
|---|---|
| `Digits` | the UCI 8x8 digits, inside this package |
| `IDX` | MNIST, Fashion-MNIST and other IDX files |
| `CIFAR10` | the official python batches |
| `ImageFolder` | PNG and JPEG files, CelebA |
| `Arrays` | `.npy` and `.npz` files |
| `CountTable` | `.h5ad`, 10x, `.mtx`, `.csv`, `.parquet`, `.npz` tables with covariates |
| `Synthetic` | made-up counts of any shape |
| `Binarised` | another source, made binary |
| `Selected` | some classes of another source |

`available()` says which known data sets are on this machine and what brings
the others. Nothing is downloaded.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markovbridge.data.public import *  # noqa: F403

__all__ = [
    "CIFAR10",
    "IDX",
    "Arrays",
    "Availability",
    "BackedRows",
    "Binarised",
    "CountTable",
    "Covariate",
    "Covariates",
    "Dataset",
    "Digits",
    "ImageFolder",
    "Rows",
    "Selected",
    "Source",
    "SparseRows",
    "Synthetic",
    "available",
    "check_counts",
    "partition",
    "write_results",
    "write_table",
]


def __getattr__(name: str) -> Any:
    """Import the readers when the first is asked for: what a model is made of needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from markovbridge.data import public

    globals().update({one: getattr(public, one) for one in __all__})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
