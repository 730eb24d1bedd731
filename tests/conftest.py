"""Makes `tests/problems.py` importable: pytest's importlib mode adds no folder to the path.

`pytest --whole` runs all probes, failures of files and pairs of the grid, of which the suite
takes a share.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hostile import places, probe  # noqa: E402, F401 (fixtures)


def pytest_addoption(parser):
    parser.addoption(
        "--whole",
        action="store_true",
        help="run all probes, faults and pairs, not a share of them",
    )
