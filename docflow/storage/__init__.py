"""The dataset: record models as Arrow types, whole parts, what is done already, reading back."""

from __future__ import annotations

from docflow.storage.dataset import Dataset

__all__ = ["Dataset"]
