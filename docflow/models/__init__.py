"""Models by name: one manager loads them, chooses who runs each, and answers for all of them."""

from __future__ import annotations

from docflow.models.manager import UnifiedModelManager

__all__ = ["UnifiedModelManager"]
