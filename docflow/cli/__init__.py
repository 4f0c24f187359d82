"""The command line."""

from __future__ import annotations


def main() -> None:
    """Run the command line (filled in by the commands' modules)."""
