"""Engines on this machine: an environment of their own, flags that suit them, and processes that end as a whole."""
