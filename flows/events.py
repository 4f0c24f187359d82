"""What Prefect's client tells its server of tasks: given up once the server is, so that the process can end.

Prefect waits at the end of a process until every event is sent, and tries each for 7 s: with a server that is gone,
that is minutes.
"""

from __future__ import annotations

import threading

from prefect.events import Event
from prefect.events.clients import PrefectEventsClient

given_up = threading.Event()
"""Nothing more is sent while it is set."""
_send = PrefectEventsClient._emit


async def _send_while_there(self: PrefectEventsClient, event: Event) -> None:
    if not given_up.is_set():
        await _send(self, event)


def use() -> None:
    """From now on, in this process.

    Prefect sends nothing at all by a client of another class than its own, so its own is changed.
    """
    given_up.clear()
    PrefectEventsClient._emit = _send_while_there  # type: ignore[method-assign]
