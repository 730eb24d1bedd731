import anndata
import numpy as np
import pandas as pd
import pytest

from markovbridge.data import CountTable
from markovbridge.data.rows import dense

ROWS = tuple(f"cell {k}" for k in range(40))
COLUMNS = tuple(f"gene{k}" for k in range(7))


OBS = pd.DataFrame(
    {
        "batch": pd.Categorical(["b", "a"] * 20),
        "age": np.arange(40.0),
        "plate": np.arange(40) % 3,
    },
    index=ROWS,
)


def h5ad(path, x, **fields):
    data = anndata.AnnData(x, obs=OBS.copy(), var=pd.DataFrame(index=COLUMNS), **fields)
    data.write_h5ad(path)
    return path


def loaded(path, split="all", **fields):
    return CountTable(path, **fields).load(split)


def check(data, counts, named=True):
    assert dense(data.x).tolist() == counts.tolist()
    assert data.row_names == (ROWS if named else None)
    assert data.column_names == (COLUMNS if named else None)
    assert data.maximum is None


@pytest.fixture
def counts():
    """Counts, mostly zeros, with an empty row, an empty column and a large count."""
    rng = np.random.default_rng(0)
    x = rng.poisson(0.4, (40, 7)) * rng.integers(1, 9, (40, 7))
    x[3], x[:, 5], x[7, 1] = 0, 0, 40_000
    return x
