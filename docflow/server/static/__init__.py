"""The files of the review page: served as they are, and put into reports."""
