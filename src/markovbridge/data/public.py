"""What `markovbridge.data` offers by name; see `markovbridge.storage.lazily`."""

from markovbridge.data.arrays import Arrays
from markovbridge.data.availability import Availability, available
from markovbridge.data.base import Dataset, Source
from markovbridge.data.binarised import Binarised
from markovbridge.data.cifar import CIFAR10
from markovbridge.data.collected import collect
from markovbridge.data.counts import check_counts
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.digits import Digits
from markovbridge.data.folders import ImageFolder
from markovbridge.data.idx import IDX
from markovbridge.data.pairs import Pairs
from markovbridge.data.rows import Rows
from markovbridge.data.selected import Selected
from markovbridge.data.sparse import BackedRows, SparseRows
from markovbridge.data.splits import partition
from markovbridge.data.synthetic import Synthetic
from markovbridge.data.tables import CountTable, write_results, write_table

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
    "Pairs",
    "Rows",
    "Selected",
    "Source",
    "SparseRows",
    "Synthetic",
    "available",
    "check_counts",
    "collect",
    "partition",
    "write_results",
    "write_table",
]
