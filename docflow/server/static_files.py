"""The files that the review page and the service's page are made of, as they lie in the package."""

from __future__ import annotations

from importlib import resources

SCRIPTS = ("page.js", "record.js", "review.js")
MEDIA_TYPES = {"review.css": "text/css", **dict.fromkeys(SCRIPTS, "text/javascript")}


SERVICE_FILES = {
    "review.css": "text/css",
    "serve.css": "text/css",
    **dict.fromkeys(("page.js", "record.js", "serve.js"), "text/javascript"),
}
"""What the service's page is made of, by media type: it shares parts with the review page."""


def static_file(name: str) -> str:
    """The text of one of these files."""
    return resources.files("docflow.server.static").joinpath(name).read_text(encoding="utf-8")
