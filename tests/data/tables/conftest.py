import numpy as np
import pytest

ROWS = tuple(f"cell {k}" for k in range(40))
COLUMNS = tuple(f"gene{k}" for k in range(7))


@pytest.fixture
def counts():
    """Counts, mostly zeros, with an empty row, an empty column and a large count."""
    rng = np.random.default_rng(0)
    x = rng.poisson(0.4, (40, 7)) * rng.integers(1, 9, (40, 7))
    x[3], x[:, 5], x[7, 1] = 0, 0, 40_000
    return x
