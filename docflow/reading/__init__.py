"""Page -> words, and words -> lines, cells, blocks and tables."""

from __future__ import annotations

from docflow.reading.ocr import Reader, usable_cores

__all__ = ["Reader", "usable_cores"]
