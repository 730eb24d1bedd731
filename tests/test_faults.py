"""Some of the failures and kills that `benchmarks/interruption.py` makes one by one.

All failures, and five pairs, with `pytest --whole`, which takes hours.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TABLES = {"train table", "overwrite table", "sample table", "tables"}  # which other packages write
WHOLE = pytest.mark.whole
KILLS = ["--kills", "2", "--steps", "16"]  # beside, as it takes long to begin
# Much of how a file, a folder and a log are written; of all else a share.
SOME = [
    (["--faults", "0.06", "--pairs", "1"], {"report", "save_pretrained"}),
    (
        ["--faults", "0.003", *KILLS],
        {"sample", "train", "CountModel.save", "train table", "tables"},
    ),
    pytest.param(
        [],
        {"inspect", "overwrite", "restore", "impute", "translate", "evaluate"}
        | {"overwrite table", "sample table"},
        marks=WHOLE,
    ),
]


@pytest.mark.parametrize(("options", "jobs"), SOME)
def test_failing_operations_leave_what_goes_on_as_if_nothing_had_been(options, jobs, pytestconfig):
    if sys.platform != "linux":
        pytest.skip("processes are forked, and seen through /proc")
    for package in ("pandas", "pyarrow") if jobs & TABLES else ():
        pytest.importorskip(package)
    if whole := pytestconfig.getoption("whole"):
        options = ["--faults", "1", "--pairs", "5", *(KILLS if KILLS[0] in options else [])]
    script = [sys.executable, str(BENCHMARKS / "interruption.py"), "--kills", "0", "--seed", "1"]
    done = subprocess.run(
        [*script, *options, "--jobs", *sorted(jobs)],
        capture_output=True,
        text=True,
        timeout=None if whole else 500,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("2 of 2 killed runs ended bit-equal" in done.stdout) == (KILLS[0] in options)
    for job in jobs:
        assert f"\n{job}: " in f"\n{done.stdout}"
