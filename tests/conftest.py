"""Makes `tests/problems.py` importable: pytest's importlib mode adds no folder to the path.

`pytest --whole` runs all probes, failures of files and pairs of the grid, of which the suite
takes a share, and what is marked `whole`: members of a family that others stand for.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hostile import places, probe  # noqa: E402, F401 (fixtures)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """One thread, whatever a test left: a fork waits for ever for threads that it has not got."""
    import torch  # not above: this is read before the workers start

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _few_measured():
    """Errors over time are measured of few samples: most of the time of a short run goes there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("markovbridge.training.selection.MEASURED", 16)
        yield


def pytest_addoption(parser):
    parser.addoption(
        "--whole",
        action="store_true",
        help="run all probes, faults and pairs, not a share of them",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "whole: others of its family stand for it without --whole")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--whole"):
        left = [item for item in items if item.get_closest_marker("whole")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("whole")]
