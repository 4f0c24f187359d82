"""Running the service: a socket, uvicorn, and an orderly end."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import Any, cast

import uvicorn

from docflow.errors import ConfigError, DocflowError, UsageError
from docflow.server.service.app import service_app
from docflow.server.service.protocol import BoundedProtocol
from docflow.settings import Settings

END_SECONDS = 30
"""How long requests in work may take to end once the service is told to."""
KEEP_SECONDS = 75
"""How long a connection may stand idle: longer than clients and proxies keep theirs (nginx a minute), or they would
send requests down one that is just being closed, and never hear of them again."""


def serve_service(settings: Settings, started: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM. ``started`` gets the URL once connections are taken.

    Raises ConfigError where it would listen to other machines without keys, UsageError when the port is taken, and
    whatever DocflowError keeps it from starting.
    """
    host, port = settings.serve.host, settings.serve.port
    if settings.serve.keys is None and not _is_local(host):
        raise ConfigError(
            f"docflow serve listens on {host} only with keys: anybody there could use it",
            hint="Set DOCFLOW_SERVE_KEYS to NAME=KEY, or listen on 127.0.0.1.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"{host} port {port} cannot be used: {error.strerror}", hint="Give --port another."
            ) from error
        listening.listen(1024)
        port = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        hosts = tuple(f"{name}{end}" for name in (shown, "localhost", "127.0.0.1") for end in (f":{port}", ""))
        failures: list[DocflowError] = []
        app = service_app(
            settings, hosts=hosts, started=lambda: started(f"http://{shown}:{port}"), failed=failures.append
        )
        config = uvicorn.Config(
            cast("Any", app),
            lifespan="on",
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_keep_alive=KEEP_SECONDS,
            timeout_graceful_shutdown=END_SECONDS,
        )

        def is_news(record: logging.LogRecord) -> bool:
            return not failures  # what keeps it from starting is told by the error alone

        log = logging.getLogger("uvicorn.error")
        log.addFilter(is_news)
        try:
            with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
                uvicorn.Server(config).run(sockets=[listening])
        except SystemExit:  # uvicorn's way to say that it did not start
            if failures:
                raise failures[0] from None
            raise
        finally:
            log.removeFilter(is_news)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
