"""The built-in programs, a file each: read them, copy them, change them."""

from docflow.loading import load_program, names

__all__ = ["load_program", "names"]
