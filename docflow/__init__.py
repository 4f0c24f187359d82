"""The public Python API of docflow."""
