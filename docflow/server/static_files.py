"""The files that the review page is made of, as they lie in the package."""

from __future__ import annotations

from importlib import resources

SCRIPTS = ("page.js", "record.js", "review.js")
MEDIA_TYPES = {"review.css": "text/css", **dict.fromkeys(SCRIPTS, "text/javascript")}


def static_file(name: str) -> str:
    """The text of a file of the review page."""
    return resources.files("docflow.server.static").joinpath(name).read_text(encoding="utf-8")
