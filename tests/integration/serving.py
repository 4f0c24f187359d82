"""A service on a socket in this process, for whoever needs a real one: browsers, and clients that go away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import uvicorn

from docflow.server.service.app import service_app
from docflow.settings import load_settings


@contextmanager
def serving(data: Path, **settings: Any) -> Iterator[str]:
    """A service that keeps its files in ``data``; gives its address. ``settings`` go by key, with __ for the dots."""
    given = {key.replace("__", "."): value for key, value in settings.items()}
    app = service_app(load_settings({"telemetry.log": "off", "serve.data_dir": data, **given}))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(cast("Any", app), log_config=None, ws="none", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
