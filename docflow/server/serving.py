"""Running the review page: a socket on this machine, a token, a server that ends with Ctrl-C."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from docflow.buckets import Place
from docflow.errors import UsageError
from docflow.fields import Locale
from docflow.server.app import review_app
from docflow.server.index import Index
from docflow.server.originals import Originals
from docflow.settings import Settings

ADDRESS = "127.0.0.1"


def serve(
    out: Place,
    *,
    port: int,
    folder: Path | None,
    who: str,
    settings: Settings,
    locale: Locale | None,
    started: Callable[[str, int], None],
) -> None:
    """Serve the review page of a dataset until Ctrl-C. ``port`` 0 takes a free one.

    ``started`` gets the link and the number of documents once the page can be opened. Raises UsageError when the port
    is taken, StorageError when the dataset cannot be read.
    """
    index = Index(out)
    token = secrets.token_urlsafe(24)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening, Originals(out, settings, folder) as originals:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((ADDRESS, port))
        except OSError as error:
            raise UsageError(f"port {port} cannot be used: {error.strerror}", hint="Leave out --port.") from error
        listening.listen()
        port = listening.getsockname()[1]
        hosts = frozenset({f"{ADDRESS}:{port}", f"localhost:{port}"})
        app = review_app(index, originals, token=token, hosts=hosts, who=who, locale=locale)
        # Without an access log: its lines would hold the token.
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        started(f"http://{ADDRESS}:{port}/{token}/", len(index))
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            uvicorn.Server(config).run(sockets=[listening])
