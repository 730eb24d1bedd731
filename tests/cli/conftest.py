"""A small trained run of the digits."""

import shutil

import pytest

from runs import train


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert train(folder) == 0
    return folder


@pytest.fixture
def run_of_digits(trained_digits, tmp_path):
    """A trained run of one's own, to write into."""
    return shutil.copytree(trained_digits, tmp_path / "run")
