"""The campaign's package is imported as it is when it runs by itself: by its name alone."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
