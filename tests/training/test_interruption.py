import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "interruption.py"


def test_killed_runs_end_as_if_they_had_not_been():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "2", "--steps", "16", "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 killed runs ended bit-equal" in done.stdout
