"""Models by name: which backend loads which, what is loaded now, and what it takes."""
