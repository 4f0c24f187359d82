"""The page that shows the API (/docs), whole in the package: a browser loads nothing from elsewhere."""

from __future__ import annotations

from contextlib import AsyncExitStack
from importlib import resources

from fastapi import APIRouter, Response

from docflow.server.service.refusals import Refusal
from docflow.server.service.state import Service

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>docflow: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/api/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/static/api/swagger-ui-bundle.js"></script>
<script src="/static/api/begin.js"></script>
</body>
</html>
"""
_BEGIN = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: false,
  validatorUrl: null,
  persistAuthorization: false,
});
"""
_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
_CACHED = {"Cache-Control": "max-age=3600"}


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Nothing needs to be readied."""


@router.get("/docs")
def docs() -> Response:
    """The page itself."""
    return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": _POLICY})


@router.get("/static/api/{name}")
def asset(name: str) -> Response:
    """What the page is made of."""
    if name == "begin.js":
        return Response(_BEGIN, media_type=_SCRIPT, headers=_CACHED)
    if name not in ("swagger-ui-bundle.js", "swagger-ui.css"):
        raise Refusal(404, "there is no such file")
    content = resources.files("fastapi_swagger.resources").joinpath(name).read_bytes()
    return Response(content, media_type=_SCRIPT if name.endswith(".js") else _STYLE, headers=_CACHED)
