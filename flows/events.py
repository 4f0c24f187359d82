"""What Prefect's client tells its server of tasks: given up once the server is, so that the process can end.

Prefect waits at the end of a process until every event is sent, and tries each for 7 s: with a server that is gone,
that is minutes.
"""

from __future__ import annotations

import threading

from prefect.events import Event
from prefect.events.clients import PrefectEventsClient
from prefect.events.worker import EventsWorker, emit_events_to_cloud

given_up = threading.Event()
"""Nothing more is sent while it is set."""


class EventsWhileThere(PrefectEventsClient):
    """Sends events as Prefect does, until they are given up."""

    async def _emit(self, event: Event) -> None:
        if not given_up.is_set():
            await super()._emit(event)


def use() -> None:
    """From now on, in this process. Prefect's cloud has a way of its own, which is left as it is."""
    given_up.clear()
    if not emit_events_to_cloud():
        EventsWorker.set_client_override(EventsWhileThere)
