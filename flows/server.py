"""docflow's own Prefect server, as a process: ``python -m docflow.flows.server``.

It listens on a free port of this machine, which it prints, and ends when its standard input does: with the run that
started it, however that ends.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def main() -> None:
    """Serve until standard input ends. Prefect's settings come from the environment."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 (the one who started this process reads it)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    import uvicorn

    config = uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # an orderly shut-down takes seconds, and the database does not need it


if __name__ == "__main__":
    main()
