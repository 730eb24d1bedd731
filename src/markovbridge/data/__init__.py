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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markovbridge.data.arrays import Arrays
    from markovbridge.data.base import Dataset, Source
    from markovbridge.data.binarised import Binarised
    from markovbridge.data.cifar import CIFAR10
    from markovbridge.data.counts import check_counts
    from markovbridge.data.covariates import Covariate, Covariates
    from markovbridge.data.digits import Digits
    from markovbridge.data.folders import ImageFolder
    from markovbridge.data.idx import IDX
    from markovbridge.data.known import Availability, available
    from markovbridge.data.rows import Rows
    from markovbridge.data.selected import Selected
    from markovbridge.data.sparse import BackedRows, SparseRows
    from markovbridge.data.splits import partition
    from markovbridge.data.synthetic import Synthetic
    from markovbridge.data.tables import CountTable, write_results, write_table

HOMES = (
    *("arrays", "base", "binarised", "cifar", "counts", "covariates", "digits", "folders"),
    *("idx", "known", "rows", "selected", "sparse", "splits", "synthetic", "tables"),
)

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
    if name in __all__:
        for home in HOMES:
            module = import_module(f"{__name__}.{home}")
            found = {one: getattr(module, one) for one in module.__all__ if one in __all__}
            globals().update(found)
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
