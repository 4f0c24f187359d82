"""The parts of ``tests/bench/engines.py``: one subject a file."""
