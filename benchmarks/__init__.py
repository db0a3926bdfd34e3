"""Measurements, one script each, run by hand from the project's root: ``python -m benchmarks.<name>``.

Importing this package puts this checkout's ``src/`` first on the path: nothing needs to be installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
