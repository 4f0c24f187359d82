"""What Prometheus reads."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter, Request, Response

from docflow.server.service.state import Service, service_of
from docflow.server.service.telemetry import Telemetry
from docflow.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["monitoring"])


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Begin to observe every request."""
    telemetry = Telemetry(service.settings.telemetry)
    stack.callback(telemetry.close)
    service.parts[Telemetry] = telemetry
    service.observers.append(telemetry.observe)


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """The metrics of this service, in Prometheus' text format."""
    telemetry = service_of(request).part(Telemetry)
    return Response(telemetry.metrics.text(), media_type=CONTENT_TYPE)
