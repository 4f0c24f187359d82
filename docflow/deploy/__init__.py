"""Bringing the service up in containers: the files for it, and writing them out."""
