"""The samples' maker is no package of docflow: it is imported from its folder."""

from __future__ import annotations

import sys
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
sys.path.insert(0, str(SAMPLES))
sys.path.insert(0, str(SAMPLES / "models" / "docflow-tiny"))
