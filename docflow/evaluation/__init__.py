"""Truth against a dataset: scores, places, what confidence is worth, a report; and confidence fitted to truth."""
