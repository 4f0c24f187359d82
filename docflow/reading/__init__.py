"""Page -> words, and words -> lines, cells, blocks and tables."""

from __future__ import annotations

from docflow.reading.ocr import READABLE, Reader, is_readable

__all__ = ["READABLE", "Reader", "is_readable"]
