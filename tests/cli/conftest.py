"""A small trained run of the digits."""

import contextlib
import shutil

import pytest

from runs import train


@contextlib.contextmanager
def few_measured():
    """Measure errors over time of few samples: most of the time of a short run goes there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("markovbridge.training.selection.MEASURED", 16)
        yield


@pytest.fixture(scope="module", autouse=True)
def _few_measured():
    with few_measured():
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    with few_measured():
        assert train(folder) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A trained run of one's own, to write into."""
    return shutil.copytree(trained, tmp_path / "run")
