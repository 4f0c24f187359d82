"""Runs that are killed, starved and cut off, and what is left of them."""
