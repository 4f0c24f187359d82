"""A few sample documents with their truth; ``docflow.samples`` writes them."""
