"""Some of the failures that `benchmarks/interruption.py --faults 1` makes one by one."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "interruption.py"


def test_failing_operations_leave_what_goes_on_as_if_nothing_had_been():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--faults", "0.04", "--kills", "0", "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for job in ("train", "overwrite", "sample", "restore", "impute", "CountModel.save"):
        assert f"\n{job}: " in f"\n{done.stdout}"
