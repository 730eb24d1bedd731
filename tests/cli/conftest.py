"""A small trained run of the digits."""

import shutil

import pytest

from runs import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert train(folder) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A trained run of one's own, to write into."""
    return shutil.copytree(trained, tmp_path / "run")
