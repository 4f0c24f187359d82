"""The parts of ``tests/bench/models.py``."""
