"""Makes `tests/problems.py` importable: pytest's importlib mode adds no folder to the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hostile import places, probe  # noqa: E402, F401 (fixtures)
